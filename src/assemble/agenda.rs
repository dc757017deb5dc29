//! What falls due, and when. Derived from the sessions and never stored, so it cannot disagree with them.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use crate::position::Place;
use crate::time::EventTime;

use super::rules::SessionRules;
use super::session::KeyText;

/// The lists, and how far they were looked through: most events find nothing due.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agenda {
    lists: Lists,
    /// Nothing falls due before it; not known after a change.
    quiet_until: Option<EventTime>,
}

/// Sorted lists of (time, who), each earliest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lists {
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

impl Deref for Agenda {
    type Target = Lists;

    fn deref(&self) -> &Lists {
        &self.lists
    }
}

impl Agenda {
    pub(crate) fn change(&mut self) -> &mut Lists {
        self.quiet_until = None;
        &mut self.lists
    }

    /// The first entry that fell due before `time`. At one moment sessions close first, then trajectories are emitted,
    /// then feedback gives up waiting, then keys are forgotten; a session whose two limits meet ends by its gap.
    pub(crate) fn due_before(&mut self, time: EventTime, rules: &SessionRules) -> Option<Due> {
        if self.quiet_until.is_some_and(|until| time <= until) {
            return None;
        }
        let earliest = self.lists.earliest(rules);
        match earliest {
            Some((deadline, list)) if deadline < time => self.lists.first_of(list),
            _ => {
                self.quiet_until = Some(earliest.map_or(EventTime::END, |(deadline, _)| deadline));
                None
            }
        }
    }
}

impl Lists {
    /// The least deadline, and which list it stands in.
    fn earliest(&self, rules: &SessionRules) -> Option<(EventTime, u8)> {
        let deadlines = [
            self.idle.first().map(|entry| entry.0.plus(rules.gap)),
            self.started.first().map(|entry| entry.0.plus(rules.max_duration)),
            self.emissions.first().map(|entry| entry.0),
            self.parked.first().map(|entry| entry.0.plus(rules.lateness)),
            self.remembered.first().map(|entry| entry.0),
        ];
        deadlines.into_iter().zip(0..).filter_map(|(deadline, list)| Some((deadline?, list))).min()
    }

    fn first_of(&self, list: u8) -> Option<Due> {
        match list {
            0 => self.idle.first().map(|(time, key)| Due::Idle(*time, Arc::clone(key))),
            1 => self.started.first().map(|(time, key)| Due::Started(*time, Arc::clone(key))),
            2 => self.emissions.first().map(|(time, key, place)| Due::Emission(*time, Arc::clone(key), *place)),
            3 => self.parked.first().map(|(time, place, hash)| Due::Parked(*time, *place, *hash)),
            _ => self.remembered.first().map(|(time, key)| Due::Remembered(*time, Arc::clone(key))),
        }
    }
}
