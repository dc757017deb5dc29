//! Questions to a topic that are not reading it: where it begins and ends, what stands at a time or a place.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset as RawOffset, TopicPartitionList};

use super::client::Ear;
use super::error::KafkaError;
use super::reader::{copy, raw};
use crate::clock;
use crate::position::{NextOffset, Offset, Partition, Position};
use crate::source::{Record, Run};

/// What a question needs to know.
pub(super) struct Lookup<'a> {
    pub consumer: &'a BaseConsumer<Ear>,
    pub topic: &'a str,
    pub partitions: u32,
    pub timeout: Duration,
}

impl Lookup<'_> {
    /// First offset and end of every partition. The end leaves out what open transactions have not committed yet.
    pub fn watermarks(&self) -> Result<(Position, Position), KafkaError> {
        let (mut first, mut last) = (Position::new(), Position::new());
        for partition in (0..self.partitions).map(Partition) {
            let (low, high) = self.watermarks_of(partition)?;
            first.insert(partition, low);
            last.insert(partition, high);
        }
        Ok((first, last))
    }

    fn watermarks_of(&self, partition: Partition) -> Result<(NextOffset, NextOffset), KafkaError> {
        let attempt = || format!("ask for the offsets of partition {partition} of `{}`", self.topic);
        let ask = || self.consumer.fetch_watermarks(self.topic, raw(partition), self.timeout);
        self.persist(attempt, ask).map(|(low, high)| (boundary(low), boundary(high)))
    }

    pub fn offsets_at(&self, millis: i64) -> Result<Position, KafkaError> {
        let mut asked = TopicPartitionList::new();
        let attempt = || format!("ask `{}` for the offsets at {millis} ms", self.topic);
        for partition in (0..self.partitions).map(Partition) {
            asked
                .add_partition_offset(self.topic, raw(partition), RawOffset::Offset(millis))
                .map_err(|source| self.failed(attempt(), source))?;
        }
        // A topic that has just been made is not known alike to all, and each partition says so by itself.
        let ask = || {
            let answer = self.consumer.offsets_for_times(asked.clone(), self.timeout)?;
            answer.elements().iter().try_for_each(|element| element.error())?;
            Ok(answer)
        };
        let answer = self.persist(attempt, ask)?;
        let mut position = self.watermarks()?.1;
        for element in answer.elements() {
            let partition = u32::try_from(element.partition()).map(Partition).ok();
            // Every other answer means that no record is so late: the end stays.
            if let (Some(partition), RawOffset::Offset(offset)) = (partition, element.offset()) {
                let offset = boundary(offset);
                position.entry(partition).and_modify(|end| *end = offset.min(*end));
            }
        }
        Ok(position)
    }

    /// Repeats a question while a broker is away, within the time that a start may take.
    fn persist<T>(
        &self,
        attempt: impl Fn() -> String,
        ask: impl Fn() -> Result<T, rdkafka::error::KafkaError>,
    ) -> Result<T, KafkaError> {
        let begun = clock::instant();
        loop {
            match ask() {
                Ok(answer) => return Ok(answer),
                Err(error) if begun.elapsed() >= self.timeout => return Err(self.failed(attempt(), error)),
                Err(error) => {
                    tracing::debug!(%error, "asking again");
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }

    fn failed(&self, attempt: String, source: rdkafka::error::KafkaError) -> KafkaError {
        KafkaError::Failed { attempt, source: Box::new(source), complaint: self.consumer.context().complaint() }
    }
}

impl Lookup<'_> {
    /// The record at exactly this offset. Leaves the consumer with an assignment of its own.
    pub fn fetch_one(&self, partition: Partition, offset: Offset) -> Result<Option<Record>, KafkaError> {
        let (low, high) = self.watermarks_of(partition)?;
        if low.is_past(offset) || !high.is_past(offset) {
            return Ok(None);
        }
        let first = self.first_record(partition, offset.raw(), high)?;
        Ok(first.filter(|record| record.offset == offset))
    }

    /// The greatest timestamp among the last records of the partitions. Leaves an assignment as well.
    pub fn newest_timestamp(&self) -> Result<Option<i64>, KafkaError> {
        let mut newest = None;
        for partition in (0..self.partitions).map(Partition) {
            let (start, end) = self.watermarks_of(partition)?;
            newest = newest.max(self.last_timestamp(partition, start.raw(), end)?);
        }
        Ok(newest)
    }

    /// Looks back from the end in growing steps, because the last offsets may be markers of transactions.
    fn last_timestamp(&self, partition: Partition, start: u64, end: NextOffset) -> Result<Option<i64>, KafkaError> {
        let mut back = 1;
        loop {
            let from = end.raw().saturating_sub(back).max(start);
            let mut newest = None;
            let mut next = from;
            while let Some(record) = self.first_record(partition, next, end)? {
                newest = newest.max(record.timestamp);
                next = record.offset.next().raw();
            }
            if newest.is_some() || from <= start {
                return Ok(newest);
            }
            back = back.saturating_mul(16);
        }
    }

    /// The first record in `[from, end)`; `None` when only gaps are there.
    fn first_record(&self, partition: Partition, from: u64, end: NextOffset) -> Result<Option<Record>, KafkaError> {
        let attempt = || format!("read partition {partition} of `{}` at {from}", self.topic);
        if from >= end.raw() {
            return Ok(None);
        }
        let mut list = TopicPartitionList::new();
        let offset = RawOffset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
        list.add_partition_offset(self.topic, raw(partition), offset)
            .and_then(|()| self.consumer.assign(&list))
            .map_err(|source| self.failed(attempt(), source))?;
        let begun = clock::instant();
        loop {
            match self.consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => {
                    let Some(offset) = Offset::new(message.offset()).filter(|offset| end.is_past(*offset)) else {
                        return Ok(None);
                    };
                    let mut run = Run::new(partition);
                    copy(&mut run, offset, &message);
                    return Ok(run.get(0).map(|record| record.to_record()));
                }
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return Ok(None),
                Some(Err(source)) if begun.elapsed() >= self.timeout => return Err(self.failed(attempt(), source)),
                Some(Err(_)) => {}
                None if begun.elapsed() >= self.timeout => {
                    let code = rdkafka::types::RDKafkaErrorCode::OperationTimedOut;
                    let source = rdkafka::error::KafkaError::MessageConsumption(code);
                    return Err(self.failed(attempt(), source));
                }
                None => {}
            }
        }
    }
}

fn boundary(raw: i64) -> NextOffset {
    NextOffset::boundary(u64::try_from(raw).unwrap_or(0))
}
