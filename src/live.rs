//! What users are doing right now, for those who only look: the HTTP side reads while the lanes write.
//!
//! Nothing that decides reads this. It is not part of the state, a crash empties it, and two runs need not agree on it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::RandomState;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use serde::Serialize;

use crate::event::{Body, Event, EventKind, Id};
use crate::telemetry::declared;
use crate::time::{EventTime, Span};
use crate::trajectory::Step;

/// A user's open sessions in a few numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LiveSession {
    /// Decisions in open sessions so far.
    pub steps: u64,
    /// Event time of the newest one.
    #[serde(serialize_with = "as_text")]
    pub last_event: EventTime,
}

/// The last items that a user was shown, for who recommends the next one.
#[derive(Debug, Clone, Default)]
struct Recent {
    /// Of the newest step; a step of another one begins anew.
    session: Option<Id>,
    steps: VecDeque<Step>,
}

/// The live sessions of at most `users_max` users; users beyond that are counted and not shown.
#[derive(Debug)]
pub struct Sessions {
    by_user: DashMap<Id, LiveSession, RandomState>,
    /// Of the same users, at most `history_max` steps each.
    recent: DashMap<Id, Recent, RandomState>,
    history_max: usize,
    /// Kept beside the map: asking the map would lock each of its shards in turn.
    users: AtomicUsize,
    users_max: usize,
}

impl Sessions {
    pub fn new(users_max: usize) -> Sessions {
        let users = AtomicUsize::new(0);
        Sessions { by_user: DashMap::default(), recent: DashMap::default(), history_max: 0, users, users_max }
    }

    /// Also keeps the last steps of every user that is shown.
    pub fn with_history(self, history_max: usize) -> Sessions {
        Sessions { history_max, ..self }
    }

    /// Something was recommended in a session, after [`Sessions::step`] has been told.
    fn remember(&self, user: &str, session: Option<&str>, step: impl FnOnce() -> Step) {
        if self.history_max == 0 || !self.by_user.contains_key(user) {
            return;
        }
        let mut recent = self.recent.entry(user.into()).or_default();
        if recent.session.as_deref() != session {
            *recent = Recent { session: session.map(Into::into), steps: VecDeque::new() };
        }
        if recent.steps.len() >= self.history_max {
            recent.steps.pop_front();
        }
        recent.steps.push_back(step());
    }

    /// The last steps of the user's session, oldest first: none if it is another session, or silent for longer than `gap`
    /// before `now`.
    pub fn history(&self, user: &str, session: Option<&str>, now: Option<EventTime>, gap: Span) -> Vec<Step> {
        let Some(recent) = self.recent.get(user) else { return Vec::new() };
        let is_other = session.is_some() && recent.session.as_deref() != session;
        let last = recent.steps.iter().map(|step| step.time).max();
        let is_over = now.zip(last).is_some_and(|(now, last)| now.since(last) > gap);
        if is_other || is_over { Vec::new() } else { recent.steps.iter().cloned().collect() }
    }

    /// What a lane has read.
    pub fn see(&self, event: &Event) {
        if let EventKind::Interaction(interaction) = &event.kind
            && let Body::Decision(decision) = &interaction.body
        {
            self.step(&interaction.user, event.time);
            let (time, place) = (event.time, event.place);
            let step = || Step { time, place, reward: 0.0, decision: decision.clone() };
            self.remember(&interaction.user, interaction.session.as_deref(), step);
        }
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
                self.recent.remove(user);
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
    use crate::event::Decision;
    use crate::position::{Offset, Place};

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

    fn shown(item: &str, second: i64) -> Step {
        let decision = Decision {
            id: None,
            item: item.into(),
            embedding: None,
            context: [].into(),
            candidates: None,
            propensity: None,
            position: None,
            reward: 0.0,
        };
        let place = Place { offset: Offset::from_count(0), index: 0 };
        Step { time: at(second), place, decision, reward: 0.0 }
    }

    #[test]
    fn the_last_items_of_the_newest_session_are_kept_while_it_lives() {
        let sessions = Sessions::new(10).with_history(2);
        let show = |session: &str, item: &str, second: i64| {
            sessions.step("ann", at(second));
            sessions.remember("ann", Some(session), || shown(item, second));
        };
        let history = |session: Option<&str>, second: i64| {
            let steps = sessions.history("ann", session, Some(at(second)), Span::from_millis(10_000));
            steps.iter().map(|step| step.decision.item.to_string()).collect::<Vec<_>>()
        };
        [("s", "a", 1), ("s", "b", 2), ("s", "c", 3)]
            .into_iter()
            .for_each(|(session, item, second)| show(session, item, second));
        assert_eq!(history(Some("s"), 4), ["b", "c"]);
        assert_eq!(history(None, 4), ["b", "c"]);
        assert!(history(Some("other"), 4).is_empty() && history(Some("s"), 60).is_empty());
        show("t", "d", 5);
        assert_eq!(history(Some("t"), 6), ["d"]);
        sessions.close("ann", 4);
        assert!(history(Some("t"), 6).is_empty());
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
