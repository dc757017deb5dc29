//! The event time of one partition: how far it has come, and which clocks are believed.
//!
//! The watermark is the greatest believed time minus the lateness. One wild clock must not make a whole partition late,
//! so a time more than `jump_max` ahead is only a *claim*. Three successive records that claim such a jump, of at least
//! two users and within `jump_max` of each other, are believed; an ordinary record in between shows that time still goes
//! its ordinary way, and drops the claims. The very first time has nothing to be compared with, and a wild one would make
//! everything after it late: it is believed when a second user or a third record agrees with it.

use serde::{Deserialize, Serialize};

use crate::position::Offset;
use crate::time::{EventTime, Span};

use super::rules::SessionRules;

/// Records that must agree on a jump.
const CLAIMS_MAX: usize = 3;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Watermark {
    /// The greatest believed event time; `None` before the first.
    greatest: Option<EventTime>,
    /// The watermark never falls below it: events before it have been handled already.
    floor: EventTime,
    /// The latest successive records that are too far ahead, oldest first, at most [`CLAIMS_MAX`].
    claims: Vec<Claim>,
}

/// What one record says about the time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Claim {
    time: EventTime,
    offset: Offset,
    /// Hash of the user; `None` for a record of no user.
    user: Option<u64>,
}

impl Watermark {
    pub(crate) fn new() -> Watermark {
        Watermark { greatest: None, floor: EventTime::START, claims: Vec::new() }
    }

    /// Events before it are late.
    pub(crate) fn time(&self, rules: &SessionRules) -> EventTime {
        self.behind(rules.lateness)
    }

    pub(crate) fn behind(&self, lateness: Span) -> EventTime {
        match self.greatest {
            Some(greatest) => greatest.minus(lateness).max(self.floor),
            None => self.floor,
        }
    }

    /// The greatest believed event time; `START` before the first.
    pub(crate) fn greatest(&self) -> EventTime {
        self.greatest.unwrap_or(EventTime::START)
    }

    /// Takes note of a record's time. True if it lies too far ahead of what was believed so far. Whose record it is only
    /// matters then: `user` is the user's hash.
    pub(crate) fn observe(
        &mut self,
        time: EventTime,
        offset: Offset,
        user: impl FnOnce() -> Option<u64>,
        rules: &SessionRules,
    ) -> bool {
        if let Some(greatest) = self.greatest
            && time <= greatest.plus(rules.jump_max)
        {
            self.claims.clear();
            self.greatest = Some(greatest.max(time));
            return false;
        }
        let is_jump = self.greatest.is_some();
        // The events that one record fans out to share its clock: they are one claim.
        if self.claims.last().is_none_or(|last| last.offset != offset) {
            if self.claims.len() == CLAIMS_MAX {
                self.claims.remove(0);
            }
            self.claims.push(Claim { time, offset, user: user() });
            self.believe_claims(time, rules.jump_max);
        }
        is_jump
    }

    /// Everything before `time` has been handled.
    pub(crate) fn raise_floor(&mut self, time: EventTime) {
        self.floor = self.floor.max(time);
    }

    fn believe_claims(&mut self, newest: EventTime, jump_max: Span) {
        let agrees = |claim: &&Claim| claim.time.since(newest).max(newest.since(claim.time)) <= jump_max;
        let agreeing: Vec<&Claim> = self.claims.iter().filter(agrees).collect();
        let times = || agreeing.iter().map(|claim| claim.time);
        let (Some(least), Some(most)) = (times().min(), times().max()) else { return };
        let several_users = agreeing.iter().any(|claim| Some(claim.user) != agreeing.first().map(|first| first.user));
        let believed = match self.greatest {
            Some(_) => agreeing.len() == CLAIMS_MAX && several_users && most.since(least) <= jump_max,
            None => several_users || agreeing.len() == CLAIMS_MAX,
        };
        if believed {
            self.greatest = Some(most);
            self.claims.clear();
        }
    }
}
