//! A topic as a [`Source`].
//!
//! One `BaseConsumer`, polled by the thread that owns the source: as cheap as a bare poll loop, and `poll` stays alive
//! while the rest of the process works. Stream consumers and split partition queues lose wake-ups; they are avoided.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset as RawOffset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::client::Ear;
use super::cursor::Cursor;
use super::error::KafkaError;
use super::lookup::Lookup;
use super::reader::{ConsumerSettings, RetentionGap, consumer, copy, raw};
use crate::clock;
use crate::position::{NextOffset, Offset, Partition, Position};
use crate::source::{LogIdentity, Polled, Range, Record, Run, Source, SourceError, Spares};

/// Records that one poll hands out at most, so that back-pressure and seals are never far away.
const POLL_RECORDS_MAX: usize = 1024;
const POLL_BYTES_MAX: usize = 512 << 10;
/// Retries of a topic lookup: a topic that was just created is not known to every broker at once.
const TOPIC_WAIT: Duration = Duration::from_secs(2);
/// Closing waits for brokers that may be gone.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads one topic, all of its partitions.
pub struct TopicSource {
    /// `None` only while being dropped.
    consumer: Option<BaseConsumer<Ear>>,
    settings: ConsumerSettings,
    cluster: Option<String>,
    partitions: u32,
    cursors: BTreeMap<Partition, Cursor>,
    /// What has happened and was not told yet.
    news: VecDeque<Polled>,
    spares: Spares,
    /// The topic has grown, and that was told.
    has_told_growth: Cell<bool>,
}

impl TopicSource {
    /// Waits for a broker at most as long as the connection says.
    pub fn connect(settings: ConsumerSettings) -> Result<TopicSource, KafkaError> {
        let consumer = consumer(&settings.connection, &settings.group)?;
        let begun = clock::instant();
        let serve = || drop(consumer.poll(Duration::ZERO));
        let partitions = loop {
            match settings.connection.partitions_of(&settings.topic, consumer.client(), &serve)? {
                Some(partitions) => break partitions,
                None if begun.elapsed() < TOPIC_WAIT => drop(consumer.poll(Duration::from_millis(100))),
                None => {
                    let (topic, brokers) = (settings.topic.clone(), settings.connection.brokers.clone());
                    return Err(KafkaError::TopicMissing { topic, brokers });
                }
            }
        };
        let cluster = consumer.client().fetch_cluster_id(settings.connection.connect_timeout);
        let (cursors, news, spares) = Default::default();
        Ok(TopicSource {
            consumer: Some(consumer),
            settings,
            cluster,
            partitions,
            cursors,
            news,
            spares,
            has_told_growth: Cell::new(false),
        })
    }

    fn consumer(&self) -> Result<&BaseConsumer<Ear>, KafkaError> {
        self.consumer.as_ref().ok_or_else(|| KafkaError::Settings("the consumer is closed".to_owned()))
    }

    fn lookup(&self) -> Result<Lookup<'_>, KafkaError> {
        Ok(self.lookup_by(self.consumer()?))
    }

    fn lookup_by<'a>(&'a self, consumer: &'a BaseConsumer<Ear>) -> Lookup<'a> {
        let (topic, timeout) = (&self.settings.topic, self.settings.connection.connect_timeout);
        Lookup { consumer, topic, partitions: self.partitions, timeout }
    }

    /// Reads out of turn. Once the range is being read this takes a client of its own, so as not to disturb it.
    fn probe<T>(&self, read: impl FnOnce(&Lookup<'_>) -> Result<T, KafkaError>) -> Result<T, KafkaError> {
        if self.cursors.is_empty() {
            let answer = read(&self.lookup()?);
            self.consumer()?.unassign().map_err(self.failed("end a look-up".to_owned()))?;
            return answer;
        }
        let consumer = consumer(&self.settings.connection, &self.settings.group)?;
        read(&self.lookup_by(&consumer))
    }

    fn failed(&self, attempt: String) -> impl FnOnce(rdkafka::error::KafkaError) -> KafkaError {
        let complaint = self.consumer.as_ref().map(|consumer| consumer.context().complaint()).unwrap_or_default();
        |source| KafkaError::Failed { attempt, source: Box::new(source), complaint }
    }

    /// A state covers the partitions that it began with: what comes into others is not learned from, and should not be so in
    /// silence.
    fn tell_growth(&self, now: u32) {
        if now > self.partitions && !self.has_told_growth.replace(true) {
            tracing::error!(
                topic = self.settings.topic,
                read = self.partitions,
                now,
                "the topic has grown, and its new partitions are not read: start anew with another --state, and --warm-start"
            );
        }
    }

    fn list<'p>(&self, partitions: impl IntoIterator<Item = &'p Partition>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.settings.topic, raw(*partition));
        }
        list
    }

    /// Hands the current positions to the client. Paused partitions stay paused.
    fn assign_cursors(&mut self) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, cursor) in self.cursors.iter().filter(|(_, cursor)| !cursor.has_ended) {
            // The position goes into the assignment itself: a seek right after it may be lost.
            let offset = RawOffset::Offset(i64::try_from(cursor.next.raw()).unwrap_or(i64::MAX));
            list.add_partition_offset(&self.settings.topic, raw(*partition), offset)
                .map_err(self.failed(format!("assign partition {partition} at {}", cursor.next)))?;
        }
        let topic = &self.settings.topic;
        self.consumer()?.assign(&list).map_err(self.failed(format!("assign the partitions of `{topic}`")))?;
        // The client remembers pauses from one assignment to the next.
        let (paused, flowing): (Vec<_>, Vec<_>) =
            self.cursors.iter().filter(|(_, cursor)| !cursor.has_ended).partition(|(_, cursor)| cursor.is_paused);
        let paused = self.list(paused.into_iter().map(|(partition, _)| partition));
        let flowing = self.list(flowing.into_iter().map(|(partition, _)| partition));
        self.consumer()?.pause(&paused).map_err(self.failed("pause partitions".to_owned()))?;
        self.consumer()?.resume(&flowing).map_err(self.failed("resume partitions".to_owned()))
    }

    /// Compares every position with what the log still has, and goes on as the settings say.
    fn close_gaps(&mut self) -> Result<(), KafkaError> {
        let (low, high) = self.lookup()?.watermarks()?;
        for (partition, cursor) in self.cursors.iter_mut().filter(|(_, cursor)| !cursor.has_ended) {
            let low = low.get(partition).copied().unwrap_or(NextOffset::ZERO);
            let high = high.get(partition).copied().unwrap_or(NextOffset::ZERO);
            let (topic, partition, from) = (self.settings.topic.clone(), *partition, cursor.next);
            if from > high {
                return Err(KafkaError::BeyondEnd { topic, partition, from, end: high });
            }
            if from >= low {
                continue;
            }
            let to = match self.settings.retention_gap {
                RetentionGap::Fail => return Err(KafkaError::RetentionGap { topic, partition, from, low }),
                RetentionGap::Earliest => low,
                RetentionGap::Latest => high,
            };
            // What lies beyond the range was not to be read, so it is not lost either.
            let to = cursor.end.map_or(to, |end| to.min(end));
            tracing::warn!(%topic, %partition, %from, %to, "retention deleted records before they were read");
            cursor.next = to;
            self.news.push_back(Polled::Lost { partition, from, to });
        }
        Ok(())
    }

    /// Takes what is there without waiting again, up to the limits of one poll.
    fn gather(&mut self, timeout: Duration) -> Result<Vec<Run>, KafkaError> {
        let mut runs: BTreeMap<Partition, Run> = BTreeMap::new();
        let (mut messages, mut bytes) = (0, 0);
        let mut wait = timeout;
        // Messages behind the end of a range count as well: they keep coming until their partition is stopped.
        while messages < POLL_RECORDS_MAX && bytes < POLL_BYTES_MAX {
            let consumer = self.consumer.as_ref();
            let Some(answer) = consumer.and_then(|consumer| consumer.poll(wait)) else { break };
            wait = Duration::ZERO;
            match answer {
                Ok(message) => {
                    messages += 1;
                    let Some((partition, offset)) = place(&message) else { continue };
                    if self.cursors.get_mut(&partition).is_some_and(|cursor| cursor.accept(offset)) {
                        bytes += message.payload_len() + message.key_len();
                        copy(
                            runs.entry(partition).or_insert_with(|| Run::reusing(&self.spares, partition)),
                            offset,
                            &message,
                        );
                    }
                }
                Err(rdkafka::error::KafkaError::PartitionEOF(partition)) => self.exhaust(partition),
                Err(error) => {
                    self.survive(error)?;
                    // What was lost must be told before what comes after it.
                    break;
                }
            }
        }
        if messages == 0 {
            self.end_by_exhaustion();
        }
        Ok(runs.into_values().collect())
    }

    fn exhaust(&mut self, partition: i32) {
        let Ok(partition) = u32::try_from(partition).map(Partition) else { return };
        let Some(cursor) = self.cursors.get_mut(&partition) else { return };
        cursor.is_exhausted = true;
        if cursor.end.is_none() {
            self.news.push_back(Polled::CaughtUp(partition));
        }
    }

    /// Tells what polling outlives from what it does not.
    fn survive(&mut self, error: rdkafka::error::KafkaError) -> Result<(), KafkaError> {
        let attempt = format!("read `{}`", self.settings.topic);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.close_gaps()?;
                self.end_ranges();
                self.assign_cursors()
            }
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::BadMessage
                | RDKafkaErrorCode::InvalidMessage
                | RDKafkaErrorCode::Fatal,
            ) => Err(self.failed(attempt)(error)),
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => self.check_topic(),
            _ => {
                // Brokers come and go; the client reconnects by itself for as long as it is polled.
                tracing::debug!(%error, "the Kafka client goes on after an error");
                Ok(())
            }
        }
    }

    /// A broker that is starting does not know its topics yet; one that answers and has none means it.
    fn check_topic(&self) -> Result<(), KafkaError> {
        let consumer = self.consumer()?;
        let (topic, connection) = (&self.settings.topic, &self.settings.connection);
        match connection.partitions_of(topic, consumer.client(), &|| ()) {
            Ok(None) => Err(KafkaError::TopicMissing { topic: topic.clone(), brokers: connection.brokers.clone() }),
            Ok(Some(_)) | Err(_) => Ok(()),
        }
    }

    /// Ends partitions whose last offsets hold no records: markers of transactions, or what compaction removed.
    ///
    /// The client says that it reached an end, but not which. Its statistics do; they may overtake records that are
    /// queued, so this is asked only after a poll that found the queue empty.
    fn end_by_exhaustion(&mut self) {
        let Some(consumer) = &self.consumer else { return };
        for (partition, cursor) in self.cursors.iter_mut().filter(|(_, cursor)| cursor.is_exhausted) {
            let Some(end) = cursor.end.filter(|_| !cursor.has_ended) else { continue };
            let marks = consumer.context().marks(&self.settings.topic, raw(*partition));
            let exhausted = marks.and_then(|marks| u64::try_from(marks.exhausted).ok());
            if exhausted.is_some_and(|exhausted| exhausted >= end.raw()) {
                cursor.next = cursor.next.max(end);
            }
        }
    }

    /// Tells of each partition whose position has reached the end of its range, once.
    fn end_ranges(&mut self) -> Vec<Partition> {
        let mut ended = Vec::new();
        for (partition, cursor) in self.cursors.iter_mut().filter(|(_, cursor)| !cursor.has_ended) {
            if cursor.is_at_end() {
                cursor.has_ended = true;
                ended.push(*partition);
            }
        }
        self.news.extend(ended.iter().copied().map(Polled::RangeEnd));
        ended
    }

    /// Stops fetching without touching the assignment, so that the other partitions are not disturbed.
    fn stop(&self, ended: &[Partition]) -> Result<(), KafkaError> {
        let list = self.list(ended);
        self.consumer()?.pause(&list).map_err(self.failed("pause partitions that have ended".to_owned()))
    }
}

fn place(message: &BorrowedMessage<'_>) -> Option<(Partition, Offset)> {
    let partition = u32::try_from(message.partition()).ok().map(Partition)?;
    Some((partition, Offset::new(message.offset())?))
}

impl Source for TopicSource {
    fn identity(&self) -> LogIdentity {
        LogIdentity::Topic { cluster: self.cluster.clone(), topic: self.settings.topic.clone() }
    }

    fn partitions(&self) -> Vec<Partition> {
        (0..self.partitions).map(Partition).collect()
    }

    fn start_offsets(&mut self) -> Result<Position, SourceError> {
        Ok(self.lookup()?.watermarks()?.0)
    }

    fn end_offsets(&mut self) -> Result<Position, SourceError> {
        Ok(self.lookup()?.watermarks()?.1)
    }

    fn offsets_at(&mut self, millis: i64) -> Result<Position, SourceError> {
        Ok(self.lookup()?.offsets_at(millis)?)
    }

    fn newest_timestamp(&mut self) -> Result<Option<i64>, SourceError> {
        Ok(self.probe(|lookup| lookup.newest_timestamp())?)
    }

    fn fetch_one(&mut self, partition: Partition, offset: Offset) -> Result<Option<Record>, SourceError> {
        Ok(self.probe(|lookup| lookup.fetch_one(partition, offset))?)
    }

    fn assign(&mut self, range: &Range) -> Result<(), SourceError> {
        self.news.clear();
        self.cursors.clear();
        for (partition, bounds) in range {
            if partition.0 >= self.partitions {
                let topic = self.settings.topic.clone();
                return Err(KafkaError::NoSuchPartition { topic, partition: *partition, count: self.partitions }.into());
            }
            self.cursors.insert(*partition, Cursor::new(*bounds));
        }
        // Empty ranges end before the client hears of them: where they stand need not exist any more.
        self.end_ranges();
        self.close_gaps()?;
        self.end_ranges();
        Ok(self.assign_cursors()?)
    }

    fn poll(&mut self, timeout: Duration) -> Result<Polled, SourceError> {
        if let Some(news) = self.news.pop_front() {
            return Ok(news);
        }
        let runs = self.gather(timeout)?;
        let ended = self.end_ranges();
        self.stop(&ended)?;
        if !runs.is_empty() {
            return Ok(Polled::Records(runs));
        }
        Ok(self.news.pop_front().unwrap_or(Polled::Nothing))
    }

    fn pause(&mut self, partitions: &[Partition]) -> Result<(), SourceError> {
        let mut changed = Vec::new();
        for partition in partitions {
            let Some(cursor) = self.cursors.get_mut(partition) else { continue };
            if !cursor.is_paused && !cursor.has_ended {
                changed.push(*partition);
            }
            cursor.is_paused = true;
        }
        let list = self.list(&changed);
        Ok(self.consumer()?.pause(&list).map_err(self.failed("pause partitions".to_owned()))?)
    }

    fn resume(&mut self, partitions: &[Partition]) -> Result<(), SourceError> {
        let mut changed = Vec::new();
        for partition in partitions {
            let Some(cursor) = self.cursors.get_mut(partition) else { continue };
            if cursor.is_paused && !cursor.has_ended {
                changed.push(*partition);
            }
            cursor.is_paused = false;
        }
        let list = self.list(&changed);
        Ok(self.consumer()?.resume(&list).map_err(self.failed("resume partitions".to_owned()))?)
    }

    fn commit(&mut self, position: &Position) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::new();
        for (partition, next) in position {
            let offset = RawOffset::Offset(i64::try_from(next.raw()).unwrap_or(i64::MAX));
            let attempt = || format!("commit {next} of partition {partition}");
            list.add_partition_offset(&self.settings.topic, raw(*partition), offset).map_err(self.failed(attempt()))?;
        }
        let consumer = self.consumer()?;
        let attempt = format!("commit offsets of group `{}`", self.settings.group);
        Ok(consumer.commit(&list, CommitMode::Async).map_err(self.failed(attempt))?)
    }

    fn known_ends(&self) -> Position {
        let Some(consumer) = &self.consumer else { return Position::new() };
        let end = |partition: u32| {
            let marks = consumer.context().marks(&self.settings.topic, partition as i32)?;
            let end = u64::try_from(marks.end).ok()?;
            Some((Partition(partition), NextOffset::boundary(end)))
        };
        self.tell_growth(consumer.context().partitions(&self.settings.topic));
        (0..self.partitions).filter_map(end).collect()
    }

    fn last_complaint(&self) -> Option<String> {
        let context = self.consumer.as_ref()?.context();
        context.take_commit_error().or_else(|| context.complaint().0)
    }
}

impl Drop for TopicSource {
    /// Closing talks to brokers, also to finish commits, and must not wait for ever for one that is gone.
    fn drop(&mut self) {
        let Some(consumer) = self.consumer.take() else { return };
        let (done, is_done) = crossbeam_channel::bounded(1);
        let closer = thread::Builder::new().name("kafka-close".to_owned()).spawn(move || {
            drop(consumer);
            // Nobody listens any more after the timeout.
            let _ = done.send(());
        });
        if closer.is_ok() && is_done.recv_timeout(CLOSE_TIMEOUT).is_err() {
            tracing::warn!("the Kafka client did not close in time");
        }
    }
}
