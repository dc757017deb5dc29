//! What users are doing right now, for those who only look: the HTTP side reads while the lanes write.
//!
//! Nothing that decides reads this. It is not part of the state, a crash empties it, and two runs need not agree on it.

use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use serde::Serialize;

use crate::telemetry::declared;
use crate::time::EventTime;

/// A user's open sessions in a few numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LiveSession {
    /// Decisions in open sessions so far.
    pub steps: u64,
    /// Event time of the newest one.
    #[serde(serialize_with = "as_text")]
    pub last_event: EventTime,
}

/// The live sessions of at most `users_max` users; users beyond that are counted and not shown.
#[derive(Debug)]
pub struct Sessions {
    by_user: DashMap<Box<str>, LiveSession>,
    /// Kept beside the map: asking the map would lock each of its shards in turn.
    users: AtomicUsize,
    users_max: usize,
}

impl Sessions {
    pub fn new(users_max: usize) -> Sessions {
        Sessions { by_user: DashMap::new(), users: AtomicUsize::new(0), users_max }
    }

    /// Something was recommended to `user`.
    pub fn step(&self, user: &str, time: EventTime) {
        if let Some(mut session) = self.by_user.get_mut(user) {
            session.steps = session.steps.saturating_add(1);
            session.last_event = session.last_event.max(time);
            return;
        }
        let reserve = |users: usize| (users < self.users_max).then_some(users + 1);
        if self.users.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_err() {
            declared::UNTRACKED_SESSIONS.add(1);
            return;
        }
        self.by_user.insert(user.into(), LiveSession { steps: 1, last_event: time });
    }

    /// A session of `user` with so many steps closed; with the last step the user is forgotten.
    pub fn close(&self, user: &str, steps: usize) {
        if let Entry::Occupied(mut entry) = self.by_user.entry(user.into()) {
            let left = entry.get().steps.saturating_sub(steps as u64);
            if left == 0 {
                entry.remove();
                self.users.fetch_sub(1, Ordering::Relaxed);
            } else {
                entry.get_mut().steps = left;
            }
        }
    }

    pub fn look_up(&self, user: &str) -> Option<LiveSession> {
        self.by_user.get(user).map(|session| *session)
    }

    /// Users with an open session that are shown.
    pub fn users(&self) -> usize {
        self.users.load(Ordering::Relaxed)
    }
}

fn as_text<S: serde::Serializer>(time: &EventTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> EventTime {
        EventTime::new(1_700_000_000_000 + second * 1_000).expect("a time of this century")
    }

    #[test]
    fn a_user_is_shown_while_steps_are_open() {
        let sessions = Sessions::new(10);
        sessions.step("ann", at(1));
        sessions.step("ann", at(5));
        assert_eq!(sessions.look_up("ann"), Some(LiveSession { steps: 2, last_event: at(5) }));
        sessions.close("ann", 1);
        assert_eq!(sessions.look_up("ann").map(|session| session.steps), Some(1));
        sessions.close("ann", 1);
        assert_eq!((sessions.look_up("ann"), sessions.users()), (None, 0));
    }

    #[test]
    fn users_beyond_the_limit_are_not_shown_and_cost_nothing() {
        let sessions = Sessions::new(2);
        ["ann", "bob", "eve"].iter().for_each(|user| sessions.step(user, at(0)));
        assert_eq!((sessions.users(), sessions.look_up("eve")), (2, None));
        sessions.close("ann", 1);
        sessions.step("eve", at(1));
        assert!(sessions.look_up("eve").is_some());
    }
}
