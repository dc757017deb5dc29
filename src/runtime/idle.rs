//! Idle partitions, the one place where the wall clock decides (live mode only).
//!
//! A partition without news would hold back the merge for ever. After a while it is called idle, and when it speaks again
//! it is called active. Both decisions take effect at a cut and stand in the checkpoint's journal with the position of
//! every partition, so that a replay can honor them at the very same place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::messages::{IdleChange, Records};
use crate::clock;
use crate::position::Partition;

pub struct IdleWatch {
    after: Duration,
    partitions: BTreeMap<Partition, Watched>,
}

struct Watched {
    idle: bool,
    caught_up: bool,
    last_news: Instant,
    /// Records that came while idle; not empty means that the partition wants to wake up.
    arrived: Vec<Records>,
}

impl IdleWatch {
    /// `idle`: the partitions that the checkpoint says are idle.
    pub fn new(
        after: Duration,
        partitions: impl IntoIterator<Item = Partition>,
        idle: &BTreeSet<Partition>,
    ) -> IdleWatch {
        let watched = |partition| Watched {
            idle: idle.contains(&partition),
            caught_up: false,
            last_news: clock::instant(),
            arrived: Vec::new(),
        };
        let partitions = partitions.into_iter().map(|partition| (partition, watched(partition))).collect();
        IdleWatch { after, partitions }
    }

    pub fn caught_up(&mut self, partition: Partition) {
        if let Some(watched) = self.partitions.get_mut(&partition) {
            watched.caught_up = true;
        }
    }

    /// Gives the records back unless their partition is idle: then they wait.
    pub fn admit(&mut self, records: Records) -> Option<Records> {
        let Some(watched) = self.partitions.get_mut(&records.partition()) else { return Some(records) };
        watched.last_news = clock::instant();
        watched.caught_up = false;
        if !watched.idle {
            return Some(records);
        }
        watched.arrived.push(records);
        None
    }

    /// Does the partition wait for the cut at which it becomes active again? Nothing more is read from it until then.
    pub fn is_waking(&self, partition: Partition) -> bool {
        self.partitions.get(&partition).is_some_and(|watched| !watched.arrived.is_empty())
    }

    /// What the next cut shall change.
    pub fn changes(&mut self) -> Vec<IdleChange> {
        let mut changes = Vec::new();
        for (partition, watched) in &mut self.partitions {
            let wakes = watched.idle && !watched.arrived.is_empty();
            let falls_idle = !watched.idle && watched.caught_up && watched.last_news.elapsed() >= self.after;
            if wakes || falls_idle {
                watched.idle = falls_idle;
                changes.push(IdleChange { partition: *partition, idle: falls_idle });
            }
        }
        changes
    }

    /// Records that waited for a cut that has been sent.
    pub fn awoken(&mut self) -> Vec<Records> {
        self.partitions
            .values_mut()
            .filter(|watched| !watched.idle)
            .flat_map(|watched| std::mem::take(&mut watched.arrived))
            .collect()
    }
}
