//! One event after the other in event time: decisions become steps, feedback finds its step.

use std::sync::Arc;

use crate::event::{Body, Decision, Feedback, Interaction, Target};
use crate::position::Place;
use crate::time::EventTime;
use crate::trajectory::{Ending, Step};

use super::Lane;
use super::chunks::Spot;
use super::counters::Fate;
use super::session::{KeyRef, Occurrence, Parked, Session, SessionKey, Visit, Which, footprint, step_answers};

/// Sessions of one user, or parked feedback of one user, among which one event looks for its match. More than that is
/// not a user but a placeholder; the session that an event names is found all the same.
const SEARCHED_MAX: usize = 1024;

/// A step that feedback belongs to: valid until its visit changes.
struct Found {
    visit: Spot,
    session: Which,
    step: usize,
}

impl Lane {
    pub(super) fn handle(&mut self, time: EventTime, place: Place, interaction: Box<Interaction>) -> Fate {
        let event = Occurrence { time, place, id: interaction.id };
        let key = KeyRef::new(&interaction.user, interaction.session.as_ref());
        match interaction.body {
            Body::Decision(decision) => self.decide(event, key, decision),
            Body::SessionEnd => self.end_session(event, key),
            Body::Feedback(ref feedback) => match self.find_step(key, &feedback.target) {
                Some(found) => self.join(&found, event, feedback),
                None => {
                    let is_late = key.session.is_some() && self.visit(key).is_some_and(Visit::is_recently_closed);
                    self.park(event, Parked { interaction, is_late })
                }
            },
        }
    }

    pub(super) fn visit(&self, key: KeyRef<'_>) -> Option<&Visit> {
        self.state.visits.get(|stored| key.compare(stored)).map(|visit| &**visit)
    }

    fn decide(&mut self, event: Occurrence, key: KeyRef<'_>, decision: Decision) -> Fate {
        let Some((stored, visit)) = self.state.visits.get_mut(|stored| key.compare(stored)) else {
            let stored = key.to_key();
            self.open_session(&stored, event, decision);
            return self.grow(event, key, 1);
        };
        if visit.has_seen(event.id) {
            return Fate::Duplicate;
        }
        if key.session.is_some() && visit.is_ended(event.time) {
            return Fate::Late;
        }
        let steps = match &mut Arc::make_mut(visit).open {
            Some(session) => {
                let bytes = footprint::of_step(&decision) + footprint::of_ids(usize::from(event.id.is_some()));
                session.bytes += bytes;
                self.session_bytes += bytes;
                session.push(event, decision);
                session.steps.len()
            }
            None => {
                let stored = stored.clone();
                self.open_session(&stored, event, decision);
                1
            }
        };
        self.grow(event, key, steps)
    }

    fn open_session(&mut self, key: &SessionKey, event: Occurrence, decision: Decision) {
        let time = event.time;
        let mut session = Session::opened_by(event, decision);
        session.bytes = footprint::of_session(key.text(), &session);
        self.session_bytes += session.bytes;
        self.agenda.change().idle.insert((time, Arc::clone(key.text())));
        self.agenda.change().started.insert((time, Arc::clone(key.text())));
        self.state.counters.opened += 1;
        self.state.counters.open += 1;
        match self.state.visits.get_mut(|stored| stored.cmp(key)) {
            Some((_, visit)) => Arc::make_mut(visit).open = Some(session),
            None => {
                let visit = Visit { open: Some(session), ..Visit::default() };
                self.state.visits.insert(key.clone(), Arc::new(visit));
            }
        }
    }

    /// What follows from the step that is now the last of `steps`: feedback that came before it, and the limit of the length.
    fn grow(&mut self, event: Occurrence, key: KeyRef<'_>, steps: usize) -> Fate {
        self.join_parked(key);
        if steps as u64 >= u64::from(self.rules.max_steps) {
            self.close(key, Ending::Length, event.time);
        }
        Fate::Applied
    }

    fn end_session(&mut self, event: Occurrence, key: KeyRef<'_>) -> Fate {
        let Some((_, visit)) = self.state.visits.get_mut(|stored| key.compare(stored)) else { return Fate::Orphan };
        if visit.has_seen(event.id) {
            return Fate::Duplicate;
        }
        if visit.open.is_none() {
            return if key.session.is_some() && visit.is_recently_closed() { Fate::Late } else { Fate::Orphan };
        }
        if let Some(session) = &mut Arc::make_mut(visit).open {
            session.touch(event);
            let bytes = footprint::of_ids(usize::from(event.id.is_some()));
            session.bytes += bytes;
            self.session_bytes += bytes;
        }
        self.close(key, Ending::SessionEnd, event.time);
        Fate::Applied
    }

    /// In the session that the feedback names; otherwise in the one of the user's sessions that was active last. A
    /// decision is looked for in all of the user's sessions even if another one is named.
    fn find_step(&self, key: KeyRef<'_>, target: &Target) -> Option<Found> {
        if key.session.is_some() {
            let visits = &self.state.visits;
            let named = visits.find(|stored| key.compare(stored)).and_then(|spot| Some((spot, visits.at(spot)?)));
            if let Some((visit, (_, entry))) = named
                && let Some((session, _, step)) = entry.step_for(target)
            {
                return Some(Found { visit, session, step });
            }
            if matches!(target, Target::LatestItem(_)) {
                return None;
            }
        }
        let of_user = key.of_user();
        let visits = self.state.visits.iter_from(|stored| of_user.compare(stored));
        let visits = visits.take_while(|(_, (stored, _))| key.is_user_of(stored)).take(SEARCHED_MAX);
        let found = visits.filter_map(|(spot, (_, visit))| Some((spot, visit.step_for(target)?)));
        let latest = found.max_by_key(|(_, (_, session, _))| session.recency());
        latest.map(|(visit, (session, _, step))| Found { visit, session, step })
    }

    fn join(&mut self, found: &Found, event: Occurrence, feedback: &Feedback) -> Fate {
        let Some((key, visit)) = self.state.visits.at_mut(found.visit) else { return Fate::Orphan };
        let visit = Arc::make_mut(visit);
        let Some(session) = visit.session_mut(found.session) else { return Fate::Orphan };
        let ids_before = session.ids();
        let fate = session.join(found.step, event, feedback.reward, feedback.is_final);
        let bytes = footprint::of_ids(session.ids() - ids_before);
        session.bytes += bytes;
        self.session_bytes += bytes;
        if let Which::Closing(index) = found.session
            && let Some(closing) = visit.closing.get_mut(index)
            && fate == Fate::Applied
            && feedback.is_final
        {
            let opened = closing.session.opened();
            self.agenda.change().emissions.remove(&(closing.emit_at, Arc::clone(key.text()), opened));
            let mature_at = closing.session.mature_at(self.rules.reward_wait);
            closing.emit_at = event.time.max(closing.ended_at).max(mature_at);
            self.agenda.change().emissions.insert((closing.emit_at, Arc::clone(key.text()), opened));
        }
        fate
    }

    fn park(&mut self, event: Occurrence, parked: Parked) -> Fate {
        let hash = KeyRef::new(&parked.interaction.user, None).hash;
        self.agenda.change().parked.insert((event.time, event.place, hash));
        self.state.parked.insert((hash, event.time, event.place), parked);
        Fate::Parked
    }

    /// Gives the newest step of the open session under `key` what came for it too early.
    fn join_parked(&mut self, key: KeyRef<'_>) {
        if self.state.parked.is_empty() {
            return;
        }
        let Some(spot) = self.state.visits.find(|stored| key.compare(stored)) else { return };
        let open = self.state.visits.at(spot).and_then(|(_, visit)| visit.open.as_ref());
        let Some(session) = open else { return };
        let (Some(step), Some(index)) = (session.steps.last(), session.steps.len().checked_sub(1)) else { return };
        let of_user = (key.hash, EventTime::START, Place { offset: crate::position::Offset::from_count(0), index: 0 });
        let parked = self.state.parked.iter_from(|stored| stored.cmp(&of_user));
        let parked =
            parked.map(|(_, entry)| entry).take_while(|((hash, _, _), _)| *hash == key.hash).take(SEARCHED_MAX);
        let matching = parked.filter(|(_, parked)| answers(parked, key, step)).map(|(place, _)| *place);
        for place in matching.collect::<Vec<_>>() {
            let Some((_, parked)) = self.state.parked.remove(|stored| stored.cmp(&place)) else { continue };
            let (hash, time, place) = place;
            self.agenda.change().parked.remove(&(time, place, hash));
            self.state.counters.parked -= 1;
            let event = Occurrence { time, place, id: parked.interaction.id };
            let found = Found { visit: spot, session: Which::Open, step: index };
            let fate = match &parked.interaction.body {
                Body::Feedback(feedback) => self.join(&found, event, feedback),
                Body::Decision(_) | Body::SessionEnd => Fate::Orphan,
            };
            self.state.counters.count(fate);
        }
    }
}

/// Does the feedback belong to a new step of the session under `key`?
fn answers(parked: &Parked, key: KeyRef<'_>, step: &Step) -> bool {
    let Interaction { user, session, body, .. } = &*parked.interaction;
    let Body::Feedback(feedback) = body else { return false };
    let is_named = match &feedback.target {
        Target::Decision(_) => true,
        Target::LatestItem(_) => session.is_none() || session.as_ref() == key.session,
    };
    user == key.user && is_named && step_answers(step, &feedback.target)
}
