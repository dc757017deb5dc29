//! What became of every event and every session of a lane. Part of its state: a crash neither loses nor repeats a count.

use serde::{Deserialize, Serialize};

use crate::trajectory::Ending;

/// Counts since the beginning of the log, except the gauges `parked`, `open`, `immature_trajectories`, `immature_steps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LaneCounters {
    pub events: u64,
    /// Became part of a session, or moved the watermark as a watermark record.
    pub applied: u64,
    /// The session had already seen its event id.
    pub duplicate: u64,
    /// Came behind the watermark, for a closed session or after a step's final feedback.
    pub late: u64,
    /// Found no decision that it belongs to.
    pub orphan: u64,
    /// Gauge: waits for the watermark, or as feedback for its decision.
    pub parked: u64,
    /// Records too far ahead to move time on their own. They are counted above as well.
    pub jumps: u64,
    /// Events handled before the watermark reached them, because too many waited.
    pub early_released: u64,
    /// Trajectories emitted before their last step was mature, because the lane held too many bytes.
    pub early_emitted: u64,
    pub opened: u64,
    pub closed: ClosedSessions,
    /// Gauge.
    pub open: u64,
    /// Gauge: closed sessions whose rewards are still waited for.
    pub immature_trajectories: u64,
    /// Gauge: the steps of those.
    pub immature_steps: u64,
    /// Trajectories emitted.
    pub trajectories: u64,
    /// Steps of the emitted trajectories.
    pub steps: u64,
}

/// Sessions by what ended them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClosedSessions {
    pub session_end: u64,
    pub gap: u64,
    pub length: u64,
    pub duration: u64,
    pub evicted: u64,
    pub range_end: u64,
}

/// A sum that does not come out: something was lost or counted twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Imbalance {
    #[error("{events} events came in, but {accounted} are accounted for")]
    Events { events: u64, accounted: u64 },
    #[error("{opened} sessions were opened, but {accounted} are accounted for")]
    Sessions { opened: u64, accounted: u64 },
}

impl LaneCounters {
    /// Adds those of another lane.
    pub fn add(&mut self, other: &LaneCounters) {
        self.events += other.events;
        self.applied += other.applied;
        self.duplicate += other.duplicate;
        self.late += other.late;
        self.orphan += other.orphan;
        self.parked += other.parked;
        self.jumps += other.jumps;
        self.early_released += other.early_released;
        self.early_emitted += other.early_emitted;
        self.opened += other.opened;
        self.closed.add(&other.closed);
        self.open += other.open;
        self.immature_trajectories += other.immature_trajectories;
        self.immature_steps += other.immature_steps;
        self.trajectories += other.trajectories;
        self.steps += other.steps;
    }

    /// events = applied + duplicate + late + orphan + parked; opened = open + immature + emitted.
    pub fn check_conservation(&self) -> Result<(), Imbalance> {
        let accounted = self.applied + self.duplicate + self.late + self.orphan + self.parked;
        if self.events != accounted {
            return Err(Imbalance::Events { events: self.events, accounted });
        }
        let accounted = self.open + self.immature_trajectories + self.trajectories;
        if self.opened != accounted || self.opened != self.open + self.closed.total() {
            return Err(Imbalance::Sessions { opened: self.opened, accounted });
        }
        Ok(())
    }

    pub(crate) fn count(&mut self, fate: Fate) {
        match fate {
            Fate::Applied => self.applied += 1,
            Fate::Duplicate => self.duplicate += 1,
            Fate::Late => self.late += 1,
            Fate::Orphan => self.orphan += 1,
            Fate::Parked => self.parked += 1,
        }
    }
}

impl ClosedSessions {
    fn add(&mut self, other: &ClosedSessions) {
        self.session_end += other.session_end;
        self.gap += other.gap;
        self.length += other.length;
        self.duration += other.duration;
        self.evicted += other.evicted;
        self.range_end += other.range_end;
    }

    pub fn total(&self) -> u64 {
        self.session_end + self.gap + self.length + self.duration + self.evicted + self.range_end
    }

    pub(crate) fn count(&mut self, ending: Ending) {
        match ending {
            Ending::SessionEnd => self.session_end += 1,
            Ending::Gap => self.gap += 1,
            Ending::Length => self.length += 1,
            Ending::Duration => self.duration += 1,
            Ending::Evicted => self.evicted += 1,
            Ending::RangeEnd => self.range_end += 1,
        }
    }
}

/// What becomes of one event. Each has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Applied,
    Duplicate,
    Late,
    Orphan,
    Parked,
}
