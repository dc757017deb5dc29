//! A consumer as every reading of a topic wants it.

use rdkafka::consumer::BaseConsumer;
use rdkafka::message::{BorrowedMessage, Headers, Message};

use super::client::{Connection, Ear, refused};
use super::error::KafkaError;
use crate::position::{Offset, Partition};
use crate::source::Run;

const STATISTICS_INTERVAL_MS: &str = "1000";

/// How to read a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsumerSettings {
    pub connection: Connection,
    pub topic: String,
    /// The name under which next offsets are shown to dashboards.
    pub group: String,
    pub retention_gap: RetentionGap,
}

/// What to do when retention deleted records before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetentionGap {
    #[default]
    Fail,
    /// Go on with the oldest record that is left.
    Earliest,
    /// Go on with what comes next.
    Latest,
}

pub(super) fn copy(run: &mut Run, offset: Offset, message: &BorrowedMessage<'_>) {
    let place = (offset, message.timestamp().to_millis());
    let headers = message.headers();
    let headers = headers.iter().flat_map(|headers| headers.iter()).map(|header| (header.key, header.value));
    // Always fits: a poll stops far below the limit of a run.
    run.push(place, message.key(), message.payload(), headers);
}

pub(super) fn consumer(connection: &Connection, group: &str) -> Result<BaseConsumer<Ear>, KafkaError> {
    let mut config = connection.config()?;
    // Properties of two names count under either.
    let given = |key: &str| {
        let also = if key == "fetch.message.max.bytes" { "max.partition.fetch.bytes" } else { key };
        [key, also].iter().any(|key| connection.properties.contains_key(*key))
    };
    let defaults = [
        ("fetch.wait.max.ms", "50"),
        ("queued.max.messages.kbytes", "32768"),
        // An answer holds 50 MiB at most, and the next request begins one partition further: with more than fit into one
        // answer the last ones would starve, and the merge with them.
        ("fetch.message.max.bytes", "524288"),
        ("fetch.error.backoff.ms", "100"),
        // A partition whose queue was full is asked for again as soon as there is room; the default is a second.
        ("fetch.queue.backoff.ms", "5"),
        ("check.crcs", "true"),
    ];
    for (key, value) in defaults {
        if !given(key) {
            config.set(key, value);
        }
    }
    config.set("group.id", group);
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "error");
    config.set("isolation.level", "read_committed");
    config.set("enable.partition.eof", "true");
    config.set("allow.auto.create.topics", "false");
    config.set("statistics.interval.ms", STATISTICS_INTERVAL_MS);
    config.create_with_context(Ear::default()).map_err(refused)
}

pub(super) fn raw(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}
