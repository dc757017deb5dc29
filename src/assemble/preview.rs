//! The session in which a decision is about to be made, exactly as training will see it afterwards.

use crate::event::{Body, Decision, Id, Interaction};
use crate::position::Place;
use crate::time::EventTime;
use crate::trajectory::{Step, Steps};

use super::Lane;
use super::session::KeyRef;

/// A decision that is still to be made: everything about it but what will be shown.
#[derive(Debug, Clone)]
pub struct Pending {
    /// `None`: right after all that has been seen.
    pub time: Option<EventTime>,
    pub user: Id,
    pub session: Option<Id>,
    /// Its item is a placeholder.
    pub decision: Decision,
}

impl Lane {
    /// The steps of the session that `pending` would become the last step of, itself included, if it came at `place`.
    ///
    /// What waits for the watermark and lies before it is handled first, and what falls due before it happens: so gaps,
    /// lengths, duplicates and the order of time shape the history as they shape it in training. The lane itself does not
    /// change; the copy costs a few pointers and the one session that is written to.
    pub fn preview(&self, pending: Pending, place: Place) -> Steps {
        let mut lane = self.copied();
        let Pending { time, user, session, decision } = pending;
        let time = time.unwrap_or_else(|| lane.latest_time());
        let mut closed = Vec::new();
        while lane.state.waiting.first().is_some_and(|((waiting, at), _)| (*waiting, *at) < (time, place)) {
            lane.release_first(&mut closed);
        }
        lane.fire_before(time, &mut closed);
        // Without an id: asking twice for the same decision is no duplicate.
        let interaction = Interaction {
            id: None,
            user: user.clone(),
            session: session.clone(),
            body: Body::Decision(decision.clone()),
        };
        lane.handle(time, place, Box::new(interaction));
        let found = lane.visit(KeyRef::new(&user, session.as_ref())).and_then(|visit| {
            visit.sessions().find_map(|session| {
                let last = session.steps.iter().rposition(|step| step.place == place)?;
                Some(session.steps.first_steps(last + 1))
            })
        });
        // A session that the log has ended takes no more decisions: this one stands alone.
        found.unwrap_or_else(|| Steps::from_iter([Step { time, place, reward: 0.0, decision }]))
    }

    /// The greatest event time that was seen, waiting events included; the first time there is when nothing was.
    fn latest_time(&self) -> EventTime {
        let waiting = self.state.waiting.iter().last().map(|((time, _), _)| *time);
        waiting.unwrap_or(EventTime::FIRST).max(self.state.watermark.greatest()).max(EventTime::FIRST)
    }

    fn copied(&self) -> Lane {
        Lane {
            rules: self.rules,
            state: self.state.clone(),
            agenda: self.agenda.clone(),
            session_bytes: self.session_bytes,
            waiting_bytes: self.waiting_bytes,
        }
    }
}
