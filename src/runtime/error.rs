//! What can end a job early, and whose fault it is.

use thiserror::Error;

use crate::checkpoint;
use crate::decode::Malformed;
use crate::exit::Exit;
use crate::learner::BatchError;
use crate::position::Partition;
use crate::source::{Fault, SourceError};

#[derive(Debug, Error)]
pub enum JobError {
    #[error("could not read the log")]
    Source(#[source] SourceError),
    #[error("could not load the file into the topic")]
    Load(#[source] SourceError),
    #[error("could not keep the state")]
    Checkpoint(#[source] checkpoint::Error),
    #[error("could not restore checkpoint {sequence}: {problem}")]
    Restore { sequence: u64, problem: String },
    #[error("could not train")]
    Learner(#[source] BatchError),
    #[error(
        "{malformed} of the last {sample} records of partition {partition} are malformed, the last one: {last}; check the \
         mapping with `sluicebox check`, or raise dead_letters.max_malformed_share"
    )]
    Breaker { partition: Partition, malformed: u64, sample: u64, last: Malformed },
    #[error(
        "this state was made from another log: {difference}; offsets would point at other records; use another --state \
         directory, with --warm-start to take over the policy alone"
    )]
    AnotherLog { difference: String },
    #[error(
        "the topic has grown from {was} to {now} partitions: this state covers those that it began with, and users may have \
         moved to others; use another --state directory, with --warm-start to take over the policy alone"
    )]
    Grown { was: usize, now: usize },
    #[error(
        "settings that shape the state have changed: {}; put them back, or use another --state directory, with \
         --warm-start {checkpoint} to take over the policy alone",
        names.join(", ")
    )]
    SettingsChanged { names: Vec<String>, checkpoint: String },
    #[error("{0}")]
    Config(String),
    #[error("the range in {} is of another log or another command: {problem}", path.display())]
    Range { path: std::path::PathBuf, problem: String },
    #[error("could not honor the journal of idle decisions: {0}")]
    Journal(String),
    #[error("counts do not add up, something was lost or doubled: {0}")]
    Conservation(String),
    #[error(transparent)]
    UnknownPartition(#[from] crate::merge::UnknownPartition),
    #[error("the {thread} thread panicked: {message}")]
    Panicked { thread: String, message: String },
    #[error("could not start a thread")]
    Thread(#[source] std::io::Error),
}

impl JobError {
    pub fn exit(&self) -> Exit {
        match self {
            JobError::Source(error) | JobError::Load(error) => exit_of(error.fault()),
            JobError::Checkpoint(error) => Exit::from_code(error.exit_code()),
            JobError::Breaker { .. } | JobError::AnotherLog { .. } | JobError::Grown { .. } => Exit::Data,
            JobError::Restore { .. } | JobError::Range { .. } | JobError::Journal(_) => Exit::Data,
            JobError::SettingsChanged { .. } | JobError::Config(_) => Exit::Config,
            JobError::Learner(_)
            | JobError::Conservation(_)
            | JobError::UnknownPartition(_)
            | JobError::Panicked { .. }
            | JobError::Thread(_) => Exit::Bug,
        }
    }
}

/// The exit code of a source's failure.
pub fn exit_of(fault: Fault) -> Exit {
    match fault {
        Fault::Usage => Exit::Usage,
        Fault::Data => Exit::Data,
        Fault::Unavailable => Exit::Unavailable,
        Fault::Io => Exit::Io,
        Fault::Config => Exit::Config,
    }
}
