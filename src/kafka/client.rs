//! What consumers and producers share: how to reach the brokers, and an ear for what the client complains about.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaResult;
use rdkafka::producer::{DeliveryResult, NoCustomPartitioner, ProducerContext};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use super::error::{Complaint, KafkaError};
use crate::clock;

/// How to reach a cluster.
#[derive(Clone, PartialEq)]
pub struct Connection {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// librdkafka properties: TLS, SASL, buffers. See [`check_properties`].
    pub properties: BTreeMap<String, String>,
    /// How long a start waits for a broker before it gives up.
    pub connect_timeout: Duration,
}

/// Properties that belong to sluicebox, each with the reason that the user is told.
const RESERVED: &[(&str, &str)] = &[
    ("bootstrap.servers", "the brokers are `kafka.brokers`"),
    ("metadata.broker.list", "the brokers are `kafka.brokers`"),
    ("group.id", "the group is `kafka.group`"),
    ("client.id", "it is always sluicebox, so that quotas and broker logs find it"),
    ("enable.auto.commit", "offsets are committed after a checkpoint is sealed, never on a timer"),
    ("auto.commit.interval.ms", "offsets are committed after a checkpoint is sealed, never on a timer"),
    ("auto.commit.enable", "offsets are committed after a checkpoint is sealed, never on a timer"),
    ("enable.auto.offset.store", "positions are part of the checkpoint"),
    ("auto.offset.reset", "the first position is `kafka.start`, and what retention deleted is `kafka.retention_gap`"),
    ("isolation.level", "it is always read_committed: what a transaction took back must not train a policy"),
    ("enable.partition.eof", "ends of ranges and idle partitions depend on it"),
    ("statistics.interval.ms", "lag and ends of ranges are read from the statistics"),
    ("partition.assignment.strategy", "a learner owns all partitions; the group assigns none"),
    ("group.protocol", "a learner owns all partitions; the group assigns none"),
    ("group.instance.id", "a learner owns all partitions; the group assigns none"),
    ("group.remote.assignor", "a learner owns all partitions; the group assigns none"),
    ("enable.idempotence", "it is always on: a repeated record would be a second event"),
    ("transactional.id", "sluicebox does not produce in transactions"),
    ("partitioner", "a user's partition is that of Kafka's Java producers"),
    ("allow.auto.create.topics", "a mistyped topic must be an error, not a new topic"),
    ("delivery.report.only.error", "every delivery is counted"),
    ("test.mock.num.brokers", "it would replace the brokers; `sluicebox demo-broker` starts an embedded one"),
];

/// Refuses properties that would change what sluicebox guarantees, and those that the client does not know.
pub fn check_properties(properties: &BTreeMap<String, String>) -> Result<(), KafkaError> {
    for key in properties.keys() {
        // What cannot be text cannot come from a settings file either.
        if let Some((_, reason)) = RESERVED.iter().find(|(reserved, _)| reserved == key) {
            return Err(KafkaError::ReservedProperty { key: key.clone(), reason });
        }
    }
    let mut config = ClientConfig::new();
    config.extend(properties.clone());
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(error) => Err(refused(error)),
    }
}

impl Connection {
    /// The properties of every client; the caller's own go on top.
    pub(super) fn config(&self) -> Result<ClientConfig, KafkaError> {
        check_properties(&self.properties)?;
        let mut config = ClientConfig::new();
        config.extend(self.properties.clone());
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", "sluicebox");
        // A broker that comes back should be found at once, and not after the default of ten seconds.
        for (key, value) in [("reconnect.backoff.ms", "50"), ("reconnect.backoff.max.ms", "1000")] {
            if !self.properties.contains_key(key) {
                config.set(key, value);
            }
        }
        // What `debug` asks for is told below this level.
        let asks_for_more = self.properties.contains_key("debug");
        config.set_log_level(if asks_for_more { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
        Ok(config)
    }

    /// Waits until the brokers say how many partitions the topic has; `None` if there is no such topic.
    ///
    /// `serve` must poll the client, which is how its complaints become known.
    pub(super) fn partitions_of(
        &self,
        topic: &str,
        client: &Client<Ear>,
        serve: &dyn Fn(),
    ) -> Result<Option<u32>, KafkaError> {
        const ONE_TRY: Duration = Duration::from_millis(500);
        let begun = clock::instant();
        loop {
            let left = self.connect_timeout.saturating_sub(begun.elapsed());
            match client.fetch_metadata(Some(topic), ONE_TRY.min(left.max(Duration::from_millis(1)))) {
                Ok(metadata) => {
                    let found = metadata.topics().iter().find(|found| found.name() == topic);
                    let problem = found.and_then(|found| found.error()).map(RDKafkaErrorCode::from);
                    match (problem, found.map_or(0, |found| found.partitions().len())) {
                        (None, 1..) => return Ok(found.map(|found| found.partitions().len() as u32)),
                        (None | Some(RDKafkaErrorCode::UnknownTopicOrPartition), _) => return Ok(None),
                        (Some(RDKafkaErrorCode::LeaderNotAvailable), _) => {}
                        (Some(code), _) => {
                            let source = Box::new(rdkafka::error::KafkaError::MetadataFetch(code));
                            let attempt = format!("look up the topic `{topic}`");
                            return Err(KafkaError::Failed {
                                attempt,
                                source,
                                complaint: client.context().complaint(),
                            });
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "no metadata yet"),
            }
            serve();
            if begun.elapsed() >= self.connect_timeout {
                return Err(KafkaError::Unreachable {
                    brokers: self.brokers.clone(),
                    seconds: self.connect_timeout.as_secs(),
                    complaint: client.context().complaint(),
                });
            }
        }
    }
}

/// Names the properties without their values: passwords are among them.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.properties.keys().collect();
        f.debug_struct("Connection")
            .field("brokers", &self.brokers)
            .field("properties", &keys)
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

pub(super) fn refused(error: rdkafka::error::KafkaError) -> KafkaError {
    match error {
        rdkafka::error::KafkaError::ClientConfig(_, reason, key, _) => KafkaError::Settings(format!("{key}: {reason}")),
        other => KafkaError::Settings(other.to_string()),
    }
}

/// Hears what the client's threads have to say: complaints, statistics, answers to commits, fates of produced records.
#[derive(Debug, Default)]
pub(super) struct Ear {
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    complaint: Option<String>,
    commit_error: Option<String>,
    marks: BTreeMap<(String, i32), Marks>,
    deliveries: Deliveries,
}

/// What the statistics say about one partition.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks {
    /// The end of the log as of the last fetch.
    pub end: i64,
    /// Up to where the client has handed out everything.
    pub exhausted: i64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Deliveries {
    pub delivered: u64,
    pub failed: u64,
    pub first_failure: Option<String>,
}

impl Ear {
    pub(super) fn complaint(&self) -> Complaint {
        Complaint(self.heard().complaint.clone())
    }

    pub(super) fn take_commit_error(&self) -> Option<String> {
        self.heard().commit_error.take()
    }

    pub(super) fn marks(&self, topic: &str, partition: i32) -> Option<Marks> {
        self.heard().marks.get(&(topic.to_owned(), partition)).copied()
    }

    /// How many partitions the topic has by now, as far as the client has heard.
    pub(super) fn partitions(&self, topic: &str) -> u32 {
        let heard = self.heard();
        let last = heard.marks.range((topic.to_owned(), 0)..=(topic.to_owned(), i32::MAX)).next_back();
        last.map_or(0, |((_, partition), _)| u32::try_from(partition + 1).unwrap_or_default())
    }

    pub(super) fn deliveries(&self) -> Deliveries {
        self.heard().deliveries.clone()
    }

    fn complain(&self, text: String) {
        self.heard().complaint = Some(text);
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        // Every change below is one assignment, so what a panicking thread left is still whole.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Ear {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                self.complain(text.to_owned());
                tracing::warn!(facility, text, "Kafka client");
            }
            // A property of consumers given to a producer, or the reverse: the two share one table of properties.
            RDKafkaLogLevel::Warning if facility == "CONFWARN" => tracing::debug!(facility, text, "Kafka client"),
            RDKafkaLogLevel::Warning => tracing::warn!(facility, text, "Kafka client"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(facility, text, "Kafka client");
            }
        }
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        // "All brokers are down" follows the reason why and must not hide it.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.complain(reason.to_owned());
        }
        tracing::debug!(%error, reason, "Kafka client");
    }

    fn stats(&self, statistics: Statistics) {
        let mut heard = self.heard();
        for topic in statistics.topics.values() {
            // Partition -1 is the client's own.
            for partition in topic.partitions.values().filter(|partition| partition.partition >= 0) {
                let marks = Marks { end: partition.hi_offset, exhausted: partition.eof_offset };
                heard.marks.insert((topic.topic.clone(), partition.partition), marks);
            }
        }
    }
}

impl ConsumerContext for Ear {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            self.heard().commit_error = Some(error.to_string());
        }
    }
}

impl ProducerContext<NoCustomPartitioner> for Ear {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        let deliveries = &mut self.heard().deliveries;
        match result {
            Ok(_) => deliveries.delivered += 1,
            Err((error, _)) => {
                deliveries.failed += 1;
                deliveries.first_failure.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str) -> Result<(), KafkaError> {
        check_properties(&BTreeMap::from([(key.to_owned(), "1".to_owned())]))
    }

    #[test]
    fn every_reserved_property_is_one_that_the_client_knows_and_is_refused_with_its_reason() {
        for (key, reason) in RESERVED {
            let message = check(key).unwrap_err().to_string();
            assert!(message.contains(key) && message.contains(reason), "{message}");
            let error = ClientConfig::new().set(*key, "?!").create_native_config().err().map(|error| error.to_string());
            assert!(!error.is_some_and(|error| error.contains("No such")), "{key}");
        }
    }

    #[test]
    fn an_unknown_property_is_refused_by_name() {
        let message = check("sesion.timeout.ms").unwrap_err().to_string();
        assert!(message.contains("sesion.timeout.ms"), "{message}");
        assert!(check("socket.timeout.ms").is_err(), "1 is below that property's least value");
        assert!(check("fetch.wait.max.ms").is_ok());
    }

    #[test]
    fn what_debug_asks_for_is_told() {
        for (key, is_told) in [("debug", true), ("socket.nagle.disable", false)] {
            let value = if is_told { "fetch" } else { "true" };
            let properties = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            let brokers = "127.0.0.1:9".to_owned();
            let connection = Connection { brokers, properties, connect_timeout: Duration::ZERO };
            assert_eq!(matches!(connection.config().unwrap().log_level, RDKafkaLogLevel::Debug), is_told, "{key}");
        }
    }
}
