//! Producing: idempotent, ordered, every delivery counted.

use std::time::Duration;

use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;

use super::client::{Connection, Ear, refused};
use super::error::KafkaError;
use super::reader::raw;
use crate::clock;
use crate::position::{NextOffset, Partition};

/// Sends between two looks at what was delivered.
const SERVE_EVERY: u64 = 256;
const QUEUE_WAIT: Duration = Duration::from_millis(50);

/// How record batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    None,
    #[default]
    Lz4,
    Zstd,
}

/// One record to send.
#[derive(Debug, Default)]
pub struct Outgoing<'a> {
    /// `None` leaves the choice to the client.
    pub partition: Option<Partition>,
    /// Milliseconds; `None` is now.
    pub timestamp: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Option<OwnedHeaders>,
}

/// Writes to one topic.
pub struct Producer {
    producer: BaseProducer<Ear>,
    topic: String,
    sent: u64,
}

impl Producer {
    /// Does not wait for a broker; [`Producer::flush`] does.
    pub fn new(connection: &Connection, topic: &str, compression: Compression) -> Result<Producer, KafkaError> {
        let mut config = connection.config()?;
        let defaults = [
            ("linger.ms", "20"),
            ("queue.buffering.max.kbytes", "65536"),
            ("message.timeout.ms", "60000"),
            ("compression.codec", compression.name()),
        ];
        for (key, value) in defaults {
            if !connection.properties.contains_key(key) {
                config.set(key, value);
            }
        }
        config.set("enable.idempotence", "true");
        // Without this a record that times out may leave a hole in the order that offsets must have.
        config.set("enable.gapless.guarantee", "true");
        let producer = config.create_with_context(Ear::default()).map_err(refused)?;
        Ok(Producer { producer, topic: topic.to_owned(), sent: 0 })
    }

    /// Queues a record. Waits while the queue is full; fails when an earlier record turned out to be undeliverable.
    pub fn send(&mut self, outgoing: Outgoing<'_>) -> Result<(), KafkaError> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic);
        record.partition = outgoing.partition.map(raw);
        record.timestamp = outgoing.timestamp;
        record.key = outgoing.key;
        record.payload = outgoing.value;
        record.headers = outgoing.headers;
        while let Err((error, back)) = self.producer.send(record) {
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => {
                    // Ends at the latest when the queued records time out and are counted as failed.
                    self.producer.poll(QUEUE_WAIT);
                    self.check()?;
                    record = back;
                }
                _ => return Err(self.failed("send a record", error)),
            }
        }
        self.sent += 1;
        if self.sent.is_multiple_of(SERVE_EVERY) {
            self.producer.poll(Duration::ZERO);
            self.check()?;
        }
        Ok(())
    }

    /// Serves the client without sending.
    pub fn serve(&self) {
        self.producer.poll(Duration::ZERO);
    }

    pub fn delivered(&self) -> u64 {
        self.producer.context().deliveries().delivered
    }

    /// Returns when everything that was sent is on the brokers, with as many replicas as the topic wants.
    pub fn flush(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        let begun = clock::instant();
        let flushed = loop {
            let left = timeout.saturating_sub(begun.elapsed());
            let flushed = self.producer.flush(left.min(Duration::from_secs(1)));
            self.check()?;
            if flushed.is_ok() || left.is_zero() {
                break flushed;
            }
        };
        flushed.map_err(|error| self.failed("deliver what is queued", error))
    }

    fn check(&self) -> Result<(), KafkaError> {
        let deliveries = self.producer.context().deliveries();
        match deliveries.first_failure {
            None => Ok(()),
            Some(reason) => Err(KafkaError::Undelivered {
                topic: self.topic.clone(),
                failed: deliveries.failed,
                reason,
                complaint: self.producer.context().complaint(),
            }),
        }
    }

    fn failed(&self, what: &str, source: rdkafka::error::KafkaError) -> KafkaError {
        let attempt = format!("{what} to `{}`", self.topic);
        let source = Box::new(source);
        KafkaError::Failed { attempt, source, complaint: self.producer.context().complaint() }
    }
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// How many offsets the topic has given away.
pub(super) fn count_records(connection: &Connection, topic: &str, partitions: u32) -> Result<u64, KafkaError> {
    let consumer = super::reader::consumer(connection, "sluicebox")?;
    let timeout = connection.connect_timeout;
    let lookup = super::lookup::Lookup { consumer: &consumer, topic, partitions, timeout };
    let (_, ends) = lookup.watermarks()?;
    // A topic whose records were deleted does not begin at offset 0 either: it is not empty.
    Ok(ends.into_values().map(NextOffset::raw).sum())
}
