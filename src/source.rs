//! Where records come from: what a Kafka topic and a file have in common.
//!
//! A source hands out *runs*: neighboring records of one partition, copied once into one arena, because a message that is
//! borrowed from the Kafka client pins a whole fetch buffer. Positions are always the caller's own: a source is told
//! where to begin and never asks a consumer group.
//!
//! Invariant: a source knows bytes and places, nothing of what the bytes mean.

pub mod partitioner;
pub mod range;
pub mod record;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::files::FilesError;
use crate::kafka::KafkaError;
use crate::position::{NextOffset, Offset, Partition, Position};
pub use range::{Bounds, Range, RangeError};
pub use record::{Record, RecordRef, Run, Spares};

/// A log that can be read from any position, as often as one likes, with the same result.
///
/// First look around (`start_offsets`, `fetch_one`, ...), then [`Source::assign`] once, then [`Source::poll`] until every
/// partition has ended, or for ever.
pub trait Source: Send {
    /// Which log this is. Another log with the same partitions and offsets has another identity.
    fn identity(&self) -> LogIdentity;

    /// All partitions, ascending from 0.
    fn partitions(&self) -> Vec<Partition>;

    /// The first offset that each partition still has.
    fn start_offsets(&mut self) -> Result<Position, SourceError>;

    /// Where each partition ends now.
    fn end_offsets(&mut self) -> Result<Position, SourceError>;

    /// Per partition the first record whose timestamp is at least `millis`; the end where there is none.
    fn offsets_at(&mut self, millis: i64) -> Result<Position, SourceError>;

    /// The greatest timestamp among the last records of all partitions; `None` for an empty log.
    fn newest_timestamp(&mut self) -> Result<Option<i64>, SourceError>;

    /// The record at exactly this place; `None` if the log has none there (any more).
    fn fetch_one(&mut self, partition: Partition, offset: Offset) -> Result<Option<Record>, SourceError>;

    /// Sets where every partition of the range begins and ends. Partitions that it does not name are not read.
    fn assign(&mut self, range: &Range) -> Result<(), SourceError>;

    /// Waits at most `timeout` for something to happen. Must be called all the time, also while partitions are paused.
    fn poll(&mut self, timeout: Duration) -> Result<Polled, SourceError>;

    /// Stops records of these partitions until `resume`; the others go on. Pausing twice is pausing once.
    fn pause(&mut self, partitions: &[Partition]) -> Result<(), SourceError>;

    fn resume(&mut self, partitions: &[Partition]) -> Result<(), SourceError>;

    /// Tells dashboards how far a seal reaches; nothing here ever reads it back. Does not wait for the answer.
    fn commit(&mut self, position: &Position) -> Result<(), SourceError>;

    /// The ends of the partitions as last heard of, without asking: for lag.
    fn known_ends(&self) -> Position;

    /// What the client complained about last, for a status page.
    fn last_complaint(&self) -> Option<String>;
}

/// What one poll brought.
#[derive(Debug)]
pub enum Polled {
    /// Runs of records; at most one per partition.
    Records(Vec<Run>),
    /// The partition has been read to the end of its range; nothing of it follows.
    RangeEnd(Partition),
    /// Everything that the partition held has been handed out. Only partitions without an end report it.
    CaughtUp(Partition),
    /// Retention deleted `from..to` before it was read, and the settings allow to go on.
    Lost { partition: Partition, from: NextOffset, to: NextOffset },
    /// Nothing within the timeout.
    Nothing,
}

/// Names a log for as long as it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogIdentity {
    Topic {
        /// `None` for brokers that do not tell.
        cluster: Option<String>,
        topic: String,
    },
    File {
        bytes: u64,
        /// BLAKE3 of the content as stored, compressed or not.
        content: [u8; 32],
        partitions: u32,
        /// Digest of the rule by which lines were split into partitions.
        splitting: [u8; 32],
    },
}

#[derive(Debug, Error)]
pub enum SourceError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Range(#[from] RangeError),
}

/// Whose fault a failure is, in the classes of sysexits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The command line asks for what makes no sense (64).
    Usage,
    /// The input is not what it should be (65).
    Data,
    /// A service does not answer, or answers no (69).
    Unavailable,
    /// Reading or writing failed (74).
    Io,
    /// The settings are wrong (78).
    Config,
}

impl SourceError {
    pub fn fault(&self) -> Fault {
        match self {
            SourceError::Kafka(error) => error.fault(),
            SourceError::Files(error) => error.fault(),
            SourceError::Range(error) => error.fault(),
        }
    }
}
