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
    pub open_sessions: u32,
    /// Decisions in them so far.
    pub steps: u64,
    /// Event time of the newest event.
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

    /// A session of `user` began.
    pub fn open(&self, user: &str, time: EventTime) {
        match self.by_user.entry(user.into()) {
            Entry::Occupied(mut entry) => {
                let session = entry.get_mut();
                session.open_sessions = session.open_sessions.saturating_add(1);
                session.last_event = session.last_event.max(time);
            }
            Entry::Vacant(entry) => {
                let reserve = |users: usize| (users < self.users_max).then_some(users + 1);
                if self.users.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_err() {
                    declared::UNTRACKED_SESSIONS.add(1);
                    return;
                }
                entry.insert(LiveSession { open_sessions: 1, steps: 0, last_event: time });
            }
        }
    }

    /// A decision was appended to a session of `user`. Unknown users stay unknown.
    pub fn step(&self, user: &str, time: EventTime) {
        if let Some(mut session) = self.by_user.get_mut(user) {
            session.steps = session.steps.saturating_add(1);
            session.last_event = session.last_event.max(time);
        }
    }

    /// A session of `user` with so many steps closed; with the last one the user is forgotten.
    pub fn close(&self, user: &str, steps: usize) {
        if let Entry::Occupied(mut entry) = self.by_user.entry(user.into()) {
            if entry.get().open_sessions <= 1 {
                entry.remove();
                self.users.fetch_sub(1, Ordering::Relaxed);
            } else {
                let session = entry.get_mut();
                session.open_sessions -= 1;
                session.steps = session.steps.saturating_sub(steps as u64);
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
    fn a_user_is_shown_while_a_session_is_open() {
        let sessions = Sessions::new(10);
        sessions.open("ann", at(0));
        sessions.step("ann", at(1));
        sessions.step("ann", at(3));
        sessions.step("ann", at(2));
        let shown = LiveSession { open_sessions: 1, steps: 3, last_event: at(3) };
        assert_eq!(sessions.look_up("ann"), Some(shown));
        sessions.open("ann", at(4));
        sessions.step("ann", at(4));
        sessions.close("ann", 3);
        let shown = LiveSession { open_sessions: 1, steps: 1, last_event: at(4) };
        assert_eq!(sessions.look_up("ann"), Some(shown));
        sessions.close("ann", 1);
        assert_eq!((sessions.look_up("ann"), sessions.users()), (None, 0));
    }

    #[test]
    fn more_users_than_allowed_are_left_out_until_somebody_leaves() {
        let sessions = Sessions::new(2);
        for user in ["ann", "bob", "eve"] {
            sessions.open(user, at(0));
        }
        assert_eq!((sessions.users(), sessions.look_up("eve")), (2, None));
        sessions.step("eve", at(1));
        sessions.close("eve", 1);
        assert_eq!(sessions.users(), 2);
        sessions.close("ann", 0);
        sessions.open("eve", at(2));
        assert!(sessions.look_up("eve").is_some());
    }

    #[test]
    fn many_writers_leave_no_user_behind() {
        let sessions = Sessions::new(50);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let sessions = &sessions;
                scope.spawn(move || {
                    for round in 0..2_000 {
                        let user = format!("user {thread} {}", round % 30);
                        sessions.open(&user, at(round));
                        sessions.step(&user, at(round));
                        sessions.close(&user, 1);
                    }
                });
            }
        });
        assert_eq!((sessions.users(), sessions.by_user.len()), (0, 0));
    }
}
