//! What falls due, and when. Derived from the sessions and never stored, so it cannot disagree with them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::position::Place;
use crate::time::EventTime;

use super::rules::SessionRules;
use super::session::KeyText;

/// Sorted lists of (time, who), each earliest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agenda {
    /// Open sessions by last activity, possibly by an earlier one: a session is listed anew only when its entry comes up,
    /// not at each of its events. An entry is never too late, so the first one that is true is the longest idle session.
    pub(crate) idle: BTreeSet<(EventTime, Arc<KeyText>)>,
    /// Open sessions by their start.
    pub(crate) started: BTreeSet<(EventTime, Arc<KeyText>)>,
    /// Closed sessions by the time of emission, with the place of their first decision.
    pub(crate) emissions: BTreeSet<(EventTime, Arc<KeyText>, Place)>,
    /// Parked feedback by its own time, with the hash of its user.
    pub(crate) parked: BTreeSet<(EventTime, Place, u64)>,
    /// Remembered keys by the last time at which they are remembered.
    pub(crate) remembered: BTreeSet<(EventTime, Arc<KeyText>)>,
}

#[derive(Debug)]
pub(crate) enum Due {
    /// Perhaps idle for too long since this time.
    Idle(EventTime, Arc<KeyText>),
    /// Open for too long since this time.
    Started(EventTime, Arc<KeyText>),
    Emission(EventTime, Arc<KeyText>, Place),
    Parked(EventTime, Place, u64),
    Remembered(EventTime, Arc<KeyText>),
}

impl Agenda {
    /// The first entry that fell due before `time`. At one moment sessions close first, then trajectories are emitted,
    /// then feedback gives up waiting, then keys are forgotten; a session whose two limits meet ends by its gap.
    pub(crate) fn due_before(&self, time: EventTime, rules: &SessionRules) -> Option<Due> {
        let mut first: Option<(EventTime, u8)> = None;
        let mut offer = |deadline: Option<EventTime>, list: u8| {
            if let Some(deadline) = deadline
                && deadline < time
                && first.is_none_or(|first| (deadline, list) < first)
            {
                first = Some((deadline, list));
            }
        };
        offer(self.idle.first().map(|entry| entry.0.plus(rules.gap)), 0);
        offer(self.started.first().map(|entry| entry.0.plus(rules.max_duration)), 1);
        offer(self.emissions.first().map(|entry| entry.0), 2);
        offer(self.parked.first().map(|entry| entry.0.plus(rules.lateness)), 3);
        offer(self.remembered.first().map(|entry| entry.0), 4);
        match first? {
            (_, 0) => self.idle.first().map(|(time, key)| Due::Idle(*time, Arc::clone(key))),
            (_, 1) => self.started.first().map(|(time, key)| Due::Started(*time, Arc::clone(key))),
            (_, 2) => self.emissions.first().map(|(time, key, place)| Due::Emission(*time, Arc::clone(key), *place)),
            (_, 3) => self.parked.first().map(|(time, place, hash)| Due::Parked(*time, *place, *hash)),
            (_, _) => self.remembered.first().map(|(time, key)| Due::Remembered(*time, Arc::clone(key))),
        }
    }
}
