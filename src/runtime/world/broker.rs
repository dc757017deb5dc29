//! The simulated broker: keeps the log, hands out runs from any position, repeats itself, and forgets.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::log::Entry;
use crate::position::{NextOffset, Partition};
use crate::source::Run;

pub struct Broker {
    pub partitions: BTreeMap<Partition, Topic>,
}

pub struct Topic {
    pub entries: Vec<Entry>,
    /// How many of them have been produced so far.
    pub produced: usize,
    /// How many of them retention has deleted.
    pub deleted: usize,
}

/// What a consumer gets: a run, which may begin with records that it has had before, and how far the log has been read.
pub struct Delivery {
    pub run: Run,
    pub until: usize,
}

impl Topic {
    pub fn start(&self) -> NextOffset {
        self.offset_of(self.deleted)
    }

    /// The offset at which the next record of the consumer must be looked for when it has read `count` of the log.
    pub fn offset_of(&self, count: usize) -> NextOffset {
        match count.checked_sub(1) {
            Some(last) => self.entries[last].offset.next(),
            None => self.entries.first().map_or(NextOffset::ZERO, |first| NextOffset::boundary(first.offset.raw())),
        }
    }

    /// The number of records before `next`.
    pub fn index_of(&self, next: NextOffset) -> usize {
        self.entries.iter().take_while(|entry| next.is_past(entry.offset)).count()
    }

    pub fn produce(&mut self, count: usize) {
        self.produced = (self.produced + count).min(self.entries.len());
    }

    /// Deletes up to `count` of the records that are left, never one that is still to come.
    pub fn delete(&mut self, count: usize) {
        self.deleted = (self.deleted + count).min(self.produced);
    }

    /// Up to `count` records from number `from` on; with `again`, so many more that the consumer has had already.
    pub fn fetch(&self, partition: Partition, from: usize, count: usize, again: usize) -> Delivery {
        let from = from.max(self.deleted);
        let until = (from + count).min(self.produced);
        let mut run = Run::new(partition);
        for entry in &self.entries[from.saturating_sub(again).max(self.deleted)..until] {
            let key = Some(&b"key"[..]);
            assert!(run.push((entry.offset, entry.timestamp), key, entry.value.as_deref(), std::iter::empty()));
        }
        Delivery { run, until }
    }
}

impl Broker {
    pub fn pick(&self, dice: &mut Dice) -> Partition {
        dice.pick(&self.partitions.keys().copied().collect::<Vec<_>>())
    }

    pub fn topic(&self, partition: Partition) -> &Topic {
        &self.partitions[&partition]
    }

    pub fn topic_mut(&mut self, partition: Partition) -> &mut Topic {
        self.partitions.get_mut(&partition).unwrap()
    }
}
