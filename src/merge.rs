//! One order for the closed trajectories of all partitions.
//!
//! Trajectories leave by (closing time, partition, sequence), and one may go only when no partition can still bring an
//! earlier one. So the sequence is a function of what each partition brought, and not of when it was brought.
//!
//! In live mode a partition may be declared idle: it holds the others back no longer. What it brings after its return
//! cannot go before what has gone already; it is merged at the frontier, and keeps its own closing time for all else.
//! Two rules make that deterministic, and the caller keeps them: an idle partition brings nothing before
//! [`Merge::set_active`], and both calls come at a place in the sequence of inputs that a journal fixes, after
//! [`Merge::next`] has returned `None`.
//!
//! A partition that has been read to the end of a range stands aside: it brings nothing until all have come so far, so it
//! does not matter when the others stop waiting for it, and nobody has to remember that they did.
//!
//! **Architecture invariant:** the merge does not know what a trajectory means; it reads its key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::assemble::Chunks;
use crate::position::Partition;
use crate::time::{EventTime, Span};
use crate::trajectory::Trajectory;

/// Brings the lanes' trajectories into one sequence.
#[derive(Debug)]
pub struct Merge {
    state: MergeState,
    /// The first trajectory of every queue, by the time at which it will be merged.
    heads: BTreeSet<(EventTime, Partition)>,
    /// The active partitions with an empty queue, by the earliest time at which they can still bring something.
    awaited: BTreeSet<(EventTime, Partition)>,
    /// The active partitions by their watermark.
    watermarks: BTreeSet<(EventTime, Partition)>,
    /// Partitions that bring nothing until [`Merge::rejoin`].
    aside: BTreeSet<Partition>,
}

/// A trajectory in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// The time of the order, never decreasing: the closing time, or the frontier if that had gone further while the
    /// partition was idle. `trajectory.key.time` stays what it was.
    pub at: EventTime,
    pub trajectory: Trajectory,
}

/// What back-pressure looks at. A partition above a limit is paused alone; the one that the merge waits for has an empty
/// queue and no lead, so it never is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MergeGauge {
    /// Trajectories that wait for other partitions.
    pub queued: usize,
    /// How far the watermark is ahead of the slowest active one. Zero for an idle or ended partition.
    pub lead: Span,
}

/// Equal states encode to equal bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MergeState {
    /// The time of the last merged trajectory.
    frontier: EventTime,
    merged: u64,
    lanes: BTreeMap<Partition, LaneQueue>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct LaneQueue {
    watermark: EventTime,
    presence: Presence,
    /// By sequence.
    queue: Chunks<u64, Arc<Trajectory>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Presence {
    Active,
    Idle,
    Ended,
}

/// The caller named a partition that the merge does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("partition {0} is not merged here")]
pub struct UnknownPartition(pub Partition);

impl Merge {
    /// All partitions are active and have shown nothing yet.
    pub fn new(partitions: impl IntoIterator<Item = Partition>) -> Merge {
        let queue = || LaneQueue { watermark: EventTime::START, presence: Presence::Active, queue: Chunks::default() };
        let lanes = partitions.into_iter().map(|partition| (partition, queue())).collect();
        Merge::restore(MergeState { frontier: EventTime::START, merged: 0, lanes })
    }

    pub fn restore(state: MergeState) -> Merge {
        let mut merge = Merge {
            state,
            heads: BTreeSet::new(),
            awaited: BTreeSet::new(),
            watermarks: BTreeSet::new(),
            aside: BTreeSet::new(),
        };
        for partition in merge.state.lanes.keys() {
            let listing = merge.listing(*partition).unwrap_or_default();
            let lists = [&mut merge.heads, &mut merge.awaited, &mut merge.watermarks];
            for (list, time) in lists.into_iter().zip(listing) {
                list.extend(time.map(|time| (time, *partition)));
            }
        }
        merge
    }

    /// The whole state; the queues are shared with it.
    pub fn snapshot(&mut self) -> MergeState {
        let lane = |(partition, lane): (&Partition, &mut LaneQueue)| {
            let LaneQueue { watermark, presence, queue } = lane;
            (*partition, LaneQueue { watermark: *watermark, presence: *presence, queue: queue.snapshot() })
        };
        let MergeState { frontier, merged, lanes } = &mut self.state;
        MergeState { frontier: *frontier, merged: *merged, lanes: lanes.iter_mut().map(lane).collect() }
    }

    /// Takes a partition's next trajectory. A partition's trajectories come in the order of their keys, and before the
    /// watermark that has passed them.
    pub fn offer(&mut self, trajectory: Trajectory) -> Result<(), UnknownPartition> {
        let key = trajectory.key;
        self.change(key.partition, |lane| {
            lane.queue.insert(key.sequence, Arc::new(trajectory));
        })
    }

    /// Everything that the partition still brings closes at `watermark` or later. A smaller one than before is ignored.
    pub fn watermark(&mut self, partition: Partition, watermark: EventTime) -> Result<(), UnknownPartition> {
        // Most events do not move the watermark of their partition.
        if self.state.lanes.get(&partition).is_some_and(|lane| watermark <= lane.watermark) {
            return Ok(());
        }
        self.change(partition, |lane| lane.watermark = lane.watermark.max(watermark))
    }

    /// The partition brings nothing any more.
    pub fn end(&mut self, partition: Partition) -> Result<(), UnknownPartition> {
        self.change(partition, |lane| {
            lane.watermark = EventTime::END;
            lane.presence = Presence::Ended;
        })
    }

    /// The partition brings nothing for now, and the others do not wait for it.
    pub fn set_idle(&mut self, partition: Partition) -> Result<(), UnknownPartition> {
        self.change(partition, |lane| lane.presence = lane.presence.unless_ended(Presence::Idle))
    }

    pub fn set_active(&mut self, partition: Partition) -> Result<(), UnknownPartition> {
        self.change(partition, |lane| lane.presence = lane.presence.unless_ended(Presence::Active))
    }

    /// The partition brings nothing until [`Merge::rejoin`], and the others do not wait for it.
    pub fn stand_aside(&mut self, partition: Partition) -> Result<(), UnknownPartition> {
        self.change_listed(partition, |merge| {
            merge.aside.insert(partition);
        })
    }

    /// Every partition that has not ended is active again.
    pub fn rejoin(&mut self) {
        let partitions: Vec<Partition> = self.state.lanes.keys().copied().collect();
        for partition in partitions {
            let rejoined = self.change_listed(partition, |merge| {
                merge.aside.remove(&partition);
                if let Some(lane) = merge.state.lanes.get_mut(&partition) {
                    lane.presence = lane.presence.unless_ended(Presence::Active);
                }
            });
            rejoined.unwrap_or_default();
        }
    }

    /// The next trajectory of the one order, as soon as nothing can come before it.
    #[expect(clippy::should_implement_trait, reason = "it has more to say after a None, which an iterator rarely has")]
    pub fn next(&mut self) -> Option<Merged> {
        let head = *self.heads.first()?;
        // A partition that can still bring something at the head's own time goes first only if its number is smaller.
        if self.awaited.first().is_some_and(|awaited| *awaited < head) {
            return None;
        }
        let (at, partition) = head;
        self.state.frontier = at;
        let mut next = None;
        self.change(partition, |lane| next = lane.queue.pop_first()).ok()?;
        let (_, trajectory) = next?;
        self.state.merged += 1;
        Some(Merged { at, trajectory: Arc::unwrap_or_clone(trajectory) })
    }

    /// What most likely comes next, and after that.
    pub fn upcoming(&self) -> [Option<Arc<Trajectory>>; 2] {
        let mut heads = self.heads.iter().filter_map(|(_, partition)| self.state.lanes.get(partition)?.queue.first());
        std::array::from_fn(|_| heads.next().map(|(_, trajectory)| Arc::clone(trajectory)))
    }

    /// The time of the last merged trajectory; `START` before the first.
    pub fn frontier(&self) -> EventTime {
        self.state.frontier
    }

    /// Trajectories merged so far.
    pub fn merged(&self) -> u64 {
        self.state.merged
    }

    /// Trajectories in all queues.
    pub fn queued(&self) -> usize {
        self.state.lanes.values().map(|lane| lane.queue.len()).sum()
    }

    /// The active partition with the lowest watermark: the one whose records are wanted most.
    pub fn slowest(&self) -> Option<Partition> {
        self.watermarks.first().map(|(_, partition)| *partition)
    }

    /// The event time up to which the partition has brought everything; `None` before its first event.
    pub fn watermark_of(&self, partition: Partition) -> Option<EventTime> {
        self.state.lanes.get(&partition).map(|lane| lane.watermark).filter(|watermark| *watermark > EventTime::START)
    }

    pub fn is_idle(&self, partition: Partition) -> bool {
        self.state.lanes.get(&partition).is_some_and(|lane| lane.presence == Presence::Idle)
    }

    /// Nothing, for a partition that the merge does not have.
    pub fn gauge(&self, partition: Partition) -> MergeGauge {
        let Some(lane) = self.state.lanes.get(&partition) else { return MergeGauge::default() };
        let slowest = match lane.presence {
            Presence::Active if self.aside.contains(&partition) => None,
            Presence::Active => self.watermarks.first().map(|(watermark, _)| *watermark),
            Presence::Idle | Presence::Ended => None,
        };
        MergeGauge {
            queued: lane.queue.len(),
            lead: slowest.map_or(Span::ZERO, |slowest| lane.watermark.since(slowest)),
        }
    }

    /// Changes one partition's queue, and keeps the three lists in step with it.
    fn change(&mut self, partition: Partition, change: impl FnOnce(&mut LaneQueue)) -> Result<(), UnknownPartition> {
        self.change_listed(partition, |merge| {
            if let Some(lane) = merge.state.lanes.get_mut(&partition) {
                change(lane);
            }
        })
    }

    fn change_listed(&mut self, partition: Partition, change: impl FnOnce(&mut Merge)) -> Result<(), UnknownPartition> {
        // The frontier never passes a listed time, so an entry is found under the time at which it was listed.
        let listed = self.listing(partition)?;
        change(self);
        let wanted = self.listing(partition)?;
        let lists = [&mut self.heads, &mut self.awaited, &mut self.watermarks];
        for ((list, listed), wanted) in lists.into_iter().zip(listed).zip(wanted).filter(|((_, old), new)| old != new) {
            if let Some(time) = listed {
                list.remove(&(time, partition));
            }
            if let Some(time) = wanted {
                list.insert((time, partition));
            }
        }
        Ok(())
    }

    /// Times for the lists of heads, of awaited partitions and of watermarks.
    fn listing(&self, partition: Partition) -> Result<[Option<EventTime>; 3], UnknownPartition> {
        let frontier = self.state.frontier;
        let lane = self.state.lanes.get(&partition).ok_or(UnknownPartition(partition))?;
        let head = lane.queue.first().map(|(_, trajectory)| trajectory.key.time.max(frontier));
        let is_active = lane.presence == Presence::Active && !self.aside.contains(&partition);
        let awaited = (is_active && head.is_none()).then(|| lane.watermark.max(frontier));
        Ok([head, awaited, is_active.then_some(lane.watermark)])
    }
}

impl MergeState {
    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.lanes.keys().copied()
    }

    /// Trajectories and steps in all queues.
    pub fn queued(&self) -> (u64, u64) {
        let queued = self.lanes.values().flat_map(|lane| lane.queue.iter());
        queued.fold((0, 0), |(trajectories, steps), (_, next)| (trajectories + 1, steps + next.steps.len() as u64))
    }
}

impl Presence {
    fn unless_ended(self, presence: Presence) -> Presence {
        match self {
            Presence::Ended => Presence::Ended,
            Presence::Active | Presence::Idle => presence,
        }
    }
}

#[cfg(test)]
mod tests;
