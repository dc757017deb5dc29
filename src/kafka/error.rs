//! What can go wrong with Kafka, each failure with the attempt and with what the client said about it.

use std::fmt;

use thiserror::Error;

use crate::files::FilesError;
use crate::position::{NextOffset, Partition};
use crate::source::Fault;

#[derive(Debug, Error)]
pub enum KafkaError {
    #[error("the Kafka property `{key}` cannot be set here: {reason}")]
    ReservedProperty { key: String, reason: &'static str },
    #[error("the Kafka client refuses its settings: {0}")]
    Settings(String),
    #[error("no broker answered at {brokers} within {seconds} s{complaint}")]
    Unreachable { brokers: String, seconds: u64, complaint: Complaint },
    #[error("there is no topic `{topic}` at {brokers}; create it, or load a file into it with `sluicebox load`")]
    TopicMissing { topic: String, brokers: String },
    #[error("could not {attempt}{complaint}")]
    Failed { attempt: String, source: Box<rdkafka::error::KafkaError>, complaint: Complaint },
    #[error(
        "retention deleted offsets {from} to {low} of partition {partition} of `{topic}` before they were read; \
         `kafka.retention_gap = \"earliest\"` or `\"latest\"` goes on without them"
    )]
    RetentionGap { topic: String, partition: Partition, from: NextOffset, low: NextOffset },
    #[error(
        "partition {partition} of `{topic}` is to be read from offset {from}, but ends at {end}: \
         this is another log, or its end was lost"
    )]
    BeyondEnd { topic: String, partition: Partition, from: NextOffset, end: NextOffset },
    #[error("`{topic}` has no partition {partition}; it has {count}")]
    NoSuchPartition { topic: String, partition: Partition, count: u32 },
    #[error("`{topic}` already holds {records} records; `--append` adds to them")]
    NotEmpty { topic: String, records: u64 },
    #[error("`{topic}` has {found} partitions, not {wanted}: it would not be split as asked")]
    PartitionCount { topic: String, found: u32, wanted: u32 },
    #[error("{failed} records were not delivered to `{topic}`; the first: {reason}{complaint}")]
    Undelivered { topic: String, failed: u64, reason: String, complaint: Complaint },
    #[error("could not load line {line}")]
    Line { line: u64, source: Box<KafkaError> },
    #[error("could not read the file to load")]
    Files(#[from] FilesError),
    #[error("could not start the embedded broker: {0}")]
    Embedded(String),
}

/// The client's last own words, which alone tell a wrong password from a closed port.
#[derive(Debug, Clone, Default)]
pub struct Complaint(pub Option<String>);

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(text) => write!(f, " (the client says: {text})"),
            None => Ok(()),
        }
    }
}

impl KafkaError {
    pub fn fault(&self) -> Fault {
        match self {
            KafkaError::ReservedProperty { .. } | KafkaError::Settings(_) => Fault::Config,
            KafkaError::Unreachable { .. }
            | KafkaError::TopicMissing { .. }
            | KafkaError::Failed { .. }
            | KafkaError::Undelivered { .. }
            | KafkaError::Embedded(_) => Fault::Unavailable,
            KafkaError::RetentionGap { .. } | KafkaError::BeyondEnd { .. } => Fault::Data,
            KafkaError::NoSuchPartition { .. } | KafkaError::NotEmpty { .. } | KafkaError::PartitionCount { .. } => {
                Fault::Usage
            }
            KafkaError::Line { source, .. } => source.fault(),
            KafkaError::Files(error) => error.fault(),
        }
    }
}
