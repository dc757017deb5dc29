//! A closed session: what the recommender showed, in order, and what came of it.

use serde::{Deserialize, Serialize};

use crate::event::{Decision, Id};
use crate::position::{Partition, Place};
use crate::time::EventTime;

/// The ordered decisions of one session with their rewards. Never empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trajectory {
    pub key: ClosingKey,
    pub user: Id,
    pub session: Option<Id>,
    pub ending: Ending,
    /// Event time at which the list of decisions ended; not later than `key.time`, which waits for maturity.
    pub ended_at: EventTime,
    /// Places of the first and the last event that were applied to it.
    pub first: Place,
    pub last: Place,
    pub steps: Vec<Step>,
}

/// The total order in which the trajectories of all partitions are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClosingKey {
    /// Event time of closing: the end, or the maturity of the last step if that is later.
    pub time: EventTime,
    pub partition: Partition,
    /// Count of trajectories closed before it in the same partition.
    pub sequence: u64,
}

/// One (state, action, reward, propensity).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub time: EventTime,
    pub place: Place,
    pub decision: Decision,
    /// The decision's own reward plus all feedback that was joined to it. Finite.
    pub reward: f64,
}

/// Why a list of decisions ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    SessionEnd,
    Gap,
    Length,
    Duration,
    Evicted,
    RangeEnd,
}

impl Ending {
    /// The user left; every other ending cuts the session from outside (truncation).
    pub fn is_terminal(self) -> bool {
        match self {
            Ending::SessionEnd | Ending::Gap => true,
            Ending::Length | Ending::Duration | Ending::Evicted | Ending::RangeEnd => false,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Ending::SessionEnd => "session_end",
            Ending::Gap => "gap",
            Ending::Length => "length",
            Ending::Duration => "duration",
            Ending::Evicted => "evicted",
            Ending::RangeEnd => "range_end",
        }
    }
}
