//! How the lines of a file become the records of a log: the one rule that `load` and the file source share.

use std::borrow::Cow;

use crate::position::{Offset, Partition};
use crate::source::partitioner::partition_of;
use crate::time::EventTime;

/// Who a line is about and when it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineKey<'line> {
    pub user: Option<Cow<'line, [u8]>>,
    pub time: Option<EventTime>,
}

/// Reads a line's key. A line that makes no sense has neither user nor time; it is still a record.
pub type KeyOf<'a> = &'a dyn for<'line> Fn(&'line [u8]) -> LineKey<'line>;

/// Gives every line its place and its timestamp.
#[derive(Debug)]
pub struct Splitter {
    next: Vec<u64>,
    latest: Vec<i64>,
}

/// Where a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    pub partition: Partition,
    /// Its offset, if the partition was empty before the first line.
    pub offset: Offset,
    /// Milliseconds, as record time.
    pub timestamp: i64,
}

impl Splitter {
    /// `partitions` must not be 0.
    pub fn new(partitions: u32) -> Splitter {
        let count = partitions.max(1) as usize;
        // Kafka's clients read 0 as "the current time", which would be another one on every machine.
        Splitter { next: vec![0; count], latest: vec![1; count] }
    }

    /// A line without an event time takes that of its predecessor in the partition, so that no clock is asked.
    pub fn place(&mut self, key: &LineKey<'_>) -> Placed {
        let partition = partition_of(key.user.as_deref(), self.next.len() as u32);
        let index = partition.0 as usize;
        let timestamp = key.time.map_or(self.latest[index], EventTime::millis);
        let offset = Offset::from_count(self.next[index]);
        self.latest[index] = timestamp;
        self.next[index] += 1;
        Placed { partition, offset, timestamp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_time_takes_its_predecessors() {
        let mut splitter = Splitter::new(4);
        let time = EventTime::new(1_700_000_000_000);
        let nobody = LineKey { user: None, time: None };
        let user = LineKey { user: Some(Cow::Borrowed(&b"kafka"[..])), time };
        assert_eq!(
            splitter.place(&nobody),
            Placed { partition: Partition(0), offset: Offset::from_count(0), timestamp: 1 }
        );
        let placed = splitter.place(&user);
        assert_eq!((placed.partition, placed.offset.raw(), placed.timestamp), (Partition(0), 1, 1_700_000_000_000));
        let placed = splitter.place(&nobody);
        assert_eq!((placed.offset.raw(), placed.timestamp), (2, 1_700_000_000_000));
    }
}
