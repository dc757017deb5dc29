//! A closed session: what the recommender showed, in order, and what came of it.

use std::ops::{Deref, Range};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
    pub steps: Steps,
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

/// Steps in order, with their context features side by side: these are all read in one go, minutes after they were decoded,
/// and each in memory of its own would be waited for, and given back, by itself. So `decision.context` is empty in here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Steps {
    list: Vec<Step>,
    /// `[steps, features]`, row-major: all contexts of a log have one length.
    contexts: Vec<f32>,
}

impl Steps {
    pub fn push(&mut self, mut step: Step) {
        let context = std::mem::take(&mut step.decision.context);
        // Exactly twice as many: by itself a vector would make room for four at once, and most sessions are short.
        if self.list.len() == self.list.capacity() {
            self.list.reserve_exact(self.list.len().max(1));
        }
        if self.contexts.len() + context.len() > self.contexts.capacity() {
            self.contexts.reserve_exact(self.contexts.len().max(context.len()));
        }
        self.contexts.extend_from_slice(&context);
        self.list.push(step);
    }

    /// The context features of a step; nothing when there is no such step.
    pub fn context(&self, index: usize) -> &[f32] {
        self.contexts(index..index + 1)
    }

    /// Those of several steps, one after the other, as far as there are such steps.
    pub fn contexts(&self, steps: Range<usize>) -> &[f32] {
        let features = self.contexts.len() / self.list.len().max(1);
        let (start, end) = (steps.start.min(self.list.len()), steps.end.min(self.list.len()));
        self.contexts.get(start * features..end * features).unwrap_or_default()
    }

    pub fn reward_mut(&mut self, index: usize) -> Option<&mut f64> {
        self.list.get_mut(index).map(|step| &mut step.reward)
    }

    /// The first `count` of them.
    pub fn first_steps(&self, count: usize) -> Steps {
        let list = self.list[..count.min(self.list.len())].to_vec();
        Steps { list, contexts: self.contexts(0..count).to_vec() }
    }

    /// Each with its context in its place.
    fn whole(&self) -> impl Iterator<Item = Step> {
        self.list.iter().enumerate().map(|(index, step)| {
            let mut step = step.clone();
            step.decision.context = self.context(index).into();
            step
        })
    }
}

impl Deref for Steps {
    type Target = [Step];

    fn deref(&self) -> &[Step] {
        &self.list
    }
}

impl FromIterator<Step> for Steps {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Steps {
        let mut all = Steps::default();
        steps.into_iter().for_each(|step| all.push(step));
        all
    }
}

impl Serialize for Steps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.whole())
    }
}

impl<'de> Deserialize<'de> for Steps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Steps, D::Error> {
        Ok(Vec::<Step>::deserialize(deserializer)?.into_iter().collect())
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Offset;

    fn step(number: u64) -> Step {
        let place = Place { offset: Offset::from_count(number), index: 0 };
        let decision = Decision {
            id: None,
            item: format!("item-{number}").as_str().into(),
            embedding: None,
            context: [number as f32, 0.5].into(),
            candidates: None,
            propensity: None,
            position: None,
            reward: 0.0,
        };
        Step { time: EventTime::FIRST, place, decision, reward: 0.0 }
    }

    #[test]
    fn contexts_stand_side_by_side_and_are_sealed_in_their_steps() {
        let list: Vec<Step> = (0..5).map(step).collect();
        let steps: Steps = list.iter().cloned().collect();
        assert!(steps.iter().all(|step| step.decision.context.is_empty()));
        assert_eq!((steps.context(4), steps.context(5)), (&[4.0, 0.5][..], &[][..]));
        assert_eq!(steps.contexts(3..9), [3.0, 0.5, 4.0, 0.5]);
        assert_eq!(steps.first_steps(2), list[..2].iter().cloned().collect());
        let sealed = serde_json::to_string(&steps).unwrap();
        assert_eq!(sealed, serde_json::to_string(&list).unwrap());
        assert_eq!(serde_json::from_str::<Steps>(&sealed).unwrap(), steps);
        assert_eq!((Steps::default().context(0), Steps::default().first_steps(3)), (&[][..], Steps::default()));
    }
}
