//! What time and the limits do: sessions end, trajectories are emitted, memories fade.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::position::Place;
use crate::time::EventTime;
use crate::trajectory::{ClosingKey, Ending, Trajectory};

use super::Lane;
use super::agenda::Due;
use super::counters::Fate;
use super::session::{Closing, KeyRef, KeyText, Remembered, Session, SessionKey};

impl Lane {
    /// Everything that fell due before `time`.
    pub(super) fn fire_before(&mut self, time: EventTime, out: &mut Vec<Trajectory>) {
        while let Some(due) = self.agenda.due_before(time, &self.rules) {
            match due {
                Due::Idle(since, key) => self.close_idle(since, key),
                Due::Started(at, key) => self.close(key.borrowed(), Ending::Duration, at.plus(self.rules.max_duration)),
                Due::Emission(at, key, opened) => self.emit(key.borrowed(), opened, at, out),
                Due::Parked(at, place, hash) => self.settle(at, place, hash),
                Due::Remembered(until, key) => self.forget(until, key),
            }
        }
    }

    /// The limits on what the lane may hold. The session that was idle for longest goes first.
    pub(super) fn enforce_limits(&mut self, now: EventTime, out: &mut Vec<Trajectory>) {
        while self.state.counters.open > self.rules.max_open
            && let Some(key) = self.longest_idle()
        {
            self.evict(&key, now, out);
        }
        while self.session_bytes > self.rules.max_bytes {
            // Sessions that have ended lose less: some late reward, but no step.
            if let Some((_, key, opened)) = self.agenda.emissions.first().cloned() {
                self.state.counters.early_emitted += 1;
                self.emit(key.borrowed(), opened, now, out);
            } else if let Some(key) = self.longest_idle() {
                self.evict(&key, now, out);
            } else {
                break;
            }
        }
        let len_max = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        while self.agenda.parked.len() > len_max(self.rules.max_waiting_events)
            && let Some((time, place, hash)) = self.agenda.parked.first().copied()
        {
            self.state.counters.early_released += 1;
            self.settle(time, place, hash);
        }
        while self.agenda.remembered.len() > len_max(self.rules.max_open)
            && let Some((until, key)) = self.agenda.remembered.first().cloned()
        {
            self.forget(until, key);
        }
    }

    /// Ends the open session under `key`. It waits for its rewards, and its emission falls due later.
    pub(super) fn close(&mut self, key: KeyRef<'_>, ending: Ending, ended_at: EventTime) {
        let Some((stored, visit)) = self.state.visits.get_mut(|stored| key.compare(stored)) else { return };
        let visit = Arc::make_mut(visit);
        let Some(session) = visit.open.take() else { return };
        let text = stored.text();
        self.agenda.change().idle.remove(&(session.listed, Arc::clone(text)));
        self.agenda.change().started.remove(&(session.started_at(), Arc::clone(text)));
        let emit_at = ended_at.max(session.mature_at(self.rules.reward_wait));
        self.agenda.change().emissions.insert((emit_at, Arc::clone(text), session.opened()));
        let counters = &mut self.state.counters;
        counters.open -= 1;
        counters.closed.count(ending);
        counters.immature_trajectories += 1;
        counters.immature_steps += session.steps.len() as u64;
        visit.closing.push(Closing { session, ending, ended_at, emit_at });
    }

    /// The end of the range: every session ends now, and none waits for rewards any more.
    pub(super) fn close_all(&mut self, now: EventTime, out: &mut Vec<Trajectory>) {
        while let Some((_, key)) = self.agenda.started.first().cloned() {
            self.close(key.borrowed(), Ending::RangeEnd, now);
        }
        let mut emissions: Vec<_> = std::mem::take(&mut self.agenda.change().emissions).into_iter().collect();
        emissions.sort_by(|(_, key, opened), (_, other, other_opened)| (key, opened).cmp(&(other, other_opened)));
        for (_, key, opened) in emissions {
            self.emit(key.borrowed(), opened, now, out);
        }
        while let Some((time, place, hash)) = self.agenda.parked.first().copied() {
            self.settle(time, place, hash);
        }
        while let Some((until, key)) = self.agenda.remembered.first().cloned() {
            self.forget(until, key);
        }
    }

    /// The entry may be older than the session's last activity: then it is only listed anew.
    fn close_idle(&mut self, since: EventTime, key: Arc<KeyText>) {
        match self.last_activity(&key) {
            Some(last_activity) if last_activity == since => {
                self.close(key.borrowed(), Ending::Gap, since.plus(self.rules.gap));
            }
            Some(_) | None => self.list_anew(since, key),
        }
    }

    fn last_activity(&self, key: &KeyText) -> Option<EventTime> {
        self.visit(key.borrowed())?.open.as_ref().map(|session| session.last_activity)
    }

    fn list_anew(&mut self, since: EventTime, key: Arc<KeyText>) {
        self.agenda.change().idle.remove(&(since, Arc::clone(&key)));
        let wanted = key.borrowed();
        let Some((_, visit)) = self.state.visits.get_mut(|stored| wanted.compare(stored)) else { return };
        if let Some(session) = &mut Arc::make_mut(visit).open {
            session.listed = session.last_activity;
            self.agenda.change().idle.insert((session.listed, key));
        }
    }

    fn longest_idle(&mut self) -> Option<Arc<KeyText>> {
        loop {
            let (since, key) = self.agenda.idle.first().cloned()?;
            if self.last_activity(&key) == Some(since) {
                return Some(key);
            }
            self.list_anew(since, key);
        }
    }

    fn evict(&mut self, key: &Arc<KeyText>, now: EventTime, out: &mut Vec<Trajectory>) {
        let key = key.borrowed();
        let Some(opened) = self.visit(key).and_then(|visit| visit.open.as_ref()).map(Session::opened) else { return };
        self.close(key, Ending::Evicted, now);
        self.emit(key, opened, now, out);
    }

    /// Hands out the closed session that began at `opened`, whether it is mature or not.
    fn emit(&mut self, key: KeyRef<'_>, opened: Place, at: EventTime, out: &mut Vec<Trajectory>) {
        let Some((stored, visit)) = self.state.visits.get_mut(|stored| key.compare(stored)) else { return };
        let visit = Arc::make_mut(visit);
        let Some(index) = visit.closing.iter().position(|closing| closing.session.opened() == opened) else { return };
        let Closing { session, ending, ended_at, emit_at } = visit.closing.remove(index);
        self.session_bytes -= session.bytes;
        self.agenda.change().emissions.remove(&(emit_at, Arc::clone(stored.text()), opened));
        if key.session.is_some() {
            let until = at.plus(self.rules.lateness);
            if let Some(older) = visit.remembered {
                self.agenda.change().remembered.remove(&(older.until, Arc::clone(stored.text())));
            }
            self.agenda.change().remembered.insert((until, Arc::clone(stored.text())));
            let older_end = visit.remembered.map_or(EventTime::START, |older| older.ended_until);
            let ended_until = if ending == Ending::SessionEnd { until } else { older_end };
            visit.remembered = Some(Remembered { until, ended_until });
        }
        let counters = &mut self.state.counters;
        counters.immature_trajectories -= 1;
        counters.immature_steps -= session.steps.len() as u64;
        counters.steps += session.steps.len() as u64;
        out.push(Trajectory {
            key: ClosingKey { time: at, partition: self.state.partition, sequence: counters.trajectories },
            user: key.user.clone(),
            session: key.session.cloned(),
            ending,
            ended_at,
            first: session.first,
            last: session.last,
            steps: session.steps,
        });
        counters.trajectories += 1;
        if visit.is_empty() {
            self.state.visits.remove(|stored| key.compare(stored));
        }
    }

    /// Feedback whose decision did not come.
    fn settle(&mut self, time: EventTime, place: Place, hash: u64) {
        self.agenda.change().parked.remove(&(time, place, hash));
        let Some((_, parked)) = self.state.parked.remove(|stored| stored.cmp(&(hash, time, place))) else { return };
        self.state.counters.parked -= 1;
        self.state.counters.count(if parked.is_late { Fate::Late } else { Fate::Orphan });
    }

    fn forget(&mut self, until: EventTime, key: Arc<KeyText>) {
        let wanted = key.borrowed();
        if let Some((_, visit)) = self.state.visits.get_mut(|stored| wanted.compare(stored)) {
            let visit = Arc::make_mut(visit);
            visit.remembered = None;
            if visit.is_empty() {
                self.state.visits.remove(|stored: &SessionKey| -> Ordering { wanted.compare(stored) });
            }
        }
        self.agenda.change().remembered.remove(&(until, key));
    }
}
