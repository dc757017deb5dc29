//! Dead letters to a topic: the original bytes with a note of where they came from and why they were refused.
//!
//! At least once: a restart may send again what no seal has covered. The headers name topic, partition and offset, by
//! which repeats are dropped when the letters are read.

use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};

use super::client::Connection;
use super::error::KafkaError;
use super::producer::{Compression, Outgoing, Producer};
use crate::source::RecordRef;

/// A refused record.
#[derive(Debug)]
pub struct DeadLetter<'a> {
    pub record: RecordRef<'a>,
    pub topic: &'a str,
    pub reason: &'a str,
}

/// Where refused records go.
pub struct DeadLetterTopic {
    producer: Producer,
}

impl DeadLetterTopic {
    /// Fails at once if the topic is missing, and not at the first bad record.
    pub fn open(connection: &Connection, topic: &str) -> Result<DeadLetterTopic, KafkaError> {
        if super::admin::partitions(connection, topic)?.is_none() {
            return Err(KafkaError::TopicMissing { topic: topic.to_owned(), brokers: connection.brokers.clone() });
        }
        Ok(DeadLetterTopic { producer: Producer::new(connection, topic, Compression::default())? })
    }

    /// Key, value, time and headers stay as they were; `reason`, `topic`, `partition`, `offset` and `timestamp` are
    /// added behind them.
    pub fn send(&mut self, letter: &DeadLetter<'_>) -> Result<(), KafkaError> {
        let record = letter.record;
        let mut headers = OwnedHeaders::new();
        for (key, value) in record.headers() {
            headers = headers.insert(Header { key, value });
        }
        let timestamp = record.timestamp.map(|timestamp| timestamp.to_string());
        let notes = [
            ("reason", Some(letter.reason)),
            ("topic", Some(letter.topic)),
            ("partition", Some(&*record.partition.to_string())),
            ("offset", Some(&*record.offset.to_string())),
            ("timestamp", timestamp.as_deref()),
        ];
        for (key, value) in notes {
            headers = headers.insert(Header { key, value });
        }
        self.producer.send(Outgoing {
            partition: None,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: Some(headers),
        })
    }

    /// A seal waits for this: what it counts as refused must be on the brokers.
    pub fn flush(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        self.producer.flush(timeout)
    }

    pub fn serve(&self) {
        self.producer.serve();
    }
}
