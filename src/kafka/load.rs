//! A file into a topic, line by line, so that the topic is the same log as the file.

use std::path::Path;
use std::time::Duration;

use super::admin::create_topic;
use super::client::Connection;
use super::error::KafkaError;
use super::producer::{Compression, Outgoing, Producer, count_records};
use crate::files::{KeyOf, Lines, Splitter};

const PROGRESS_EVERY: u64 = 1 << 12;
const FLUSH_TIMEOUT: Duration = Duration::from_secs(90);

/// Where a file is loaded to.
#[derive(Debug, Clone)]
pub struct LoadSettings {
    pub connection: Connection,
    pub topic: String,
    /// The topic is made with that many partitions, or must have them.
    pub partitions: u32,
    /// Records may be there already. Then offsets are not those of the file any more.
    pub append: bool,
    pub compression: Compression,
}

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadReport {
    pub records: u64,
    pub bytes: u64,
    pub records_by_partition: Vec<u64>,
    /// Records that name no user.
    pub without_user: u64,
    pub topic_was_created: bool,
}

/// Produces every line that is not empty: partition by its user, record time = event time. `progress` hears the count of
/// lines so far.
pub fn load(
    settings: &LoadSettings,
    input: &Path,
    key_of: KeyOf<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<LoadReport, KafkaError> {
    // A file that cannot be opened should not leave an empty topic behind.
    let mut lines = Lines::open(input)?;
    let (connection, topic, partitions) = (&settings.connection, &settings.topic, settings.partitions);
    let topic_was_created = create_topic(connection, topic, partitions)?;
    if !topic_was_created && !settings.append {
        let records = count_records(connection, topic, partitions)?;
        if records > 0 {
            return Err(KafkaError::NotEmpty { topic: topic.clone(), records });
        }
    }
    let mut producer = Producer::new(connection, topic, settings.compression)?;
    let mut splitter = Splitter::new(partitions);
    let records_by_partition = vec![0; partitions as usize];
    let mut report = LoadReport { records: 0, bytes: 0, records_by_partition, without_user: 0, topic_was_created };
    while let Some(line) = lines.next()? {
        let key = key_of(line);
        let placed = splitter.place(&key);
        let sent = producer.send(Outgoing {
            partition: Some(placed.partition),
            timestamp: Some(placed.timestamp),
            key: key.user.as_deref(),
            value: Some(line),
            headers: None,
        });
        report.bytes += line.len() as u64;
        report.without_user += u64::from(key.user.is_none());
        sent.map_err(|source| KafkaError::Line { line: lines.number(), source: Box::new(source) })?;
        report.records += 1;
        report.records_by_partition[placed.partition.0 as usize] += 1;
        if report.records.is_multiple_of(PROGRESS_EVERY) {
            progress(report.records);
        }
    }
    producer.flush(FLUSH_TIMEOUT)?;
    progress(report.records);
    Ok(report)
}
