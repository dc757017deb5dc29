//! The sessions that are being served: their raw events so far, and the state in which the next decision is made.
//!
//! Each has a lane of its own, with the rules of training. What arrives is decoded and observed as it would be from a
//! topic; the state of a decision is that of the step which it would become ([`Lane::preview`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ServeError;
use crate::assemble::{Lane, Pending, SessionRules};
use crate::decode::{Decoder, Request};
use crate::event::{Event, EventKind, Id};
use crate::live;
use crate::position::{Offset, Partition, Place};
use crate::state::StateEncoder;
use crate::time::EventTime;
use crate::trajectory::Step;

/// The served sessions, at most so many.
#[derive(Debug)]
pub struct Histories {
    decoder: Arc<Decoder>,
    encoder: Arc<StateEncoder>,
    rules: SessionRules,
    sessions: Mutex<Sessions>,
}

/// What a policy is asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct Situation {
    pub state: Vec<f32>,
    /// What can be shown; `None` when anything can.
    pub candidates: Option<Box<[Id]>>,
}

#[derive(Debug)]
struct Sessions {
    by_name: HashMap<Id, History>,
    /// Names by when they were last used.
    by_use: BTreeMap<u64, Id>,
    uses: u64,
    sessions_max: usize,
}

#[derive(Debug)]
struct History {
    lane: Lane,
    /// Records that were observed: the offset of the next one.
    records: u64,
    /// Of the latest event: a decision that names nobody is theirs.
    latest: Option<Owner>,
    used: u64,
}

#[derive(Debug, Clone)]
struct Owner {
    user: Id,
    session: Option<Id>,
}

impl Histories {
    pub fn new(
        decoder: Arc<Decoder>,
        encoder: Arc<StateEncoder>,
        rules: SessionRules,
        sessions_max: usize,
    ) -> Histories {
        let sessions = Sessions { by_name: HashMap::new(), by_use: BTreeMap::new(), uses: 0, sessions_max };
        Histories { decoder, encoder, rules, sessions: Mutex::new(sessions) }
    }

    /// Reads the raw event of a decision to be made.
    pub fn request(&self, decision: &[u8]) -> Result<Request, ServeError> {
        self.decoder.decode_request(decision).map_err(ServeError::Decision)
    }

    /// Adds `events` to the session and tells the state of the decision in it. Without a session the events are the whole
    /// history. If one of them is malformed, nothing has changed.
    pub fn situation(
        &self,
        session: Option<&str>,
        events: &[&[u8]],
        request: Option<Request>,
    ) -> Result<Option<Situation>, ServeError> {
        match session {
            None => {
                let mut history = History::new(self.rules);
                history.observe(self.decoded(events, 0)?);
                Ok(request.map(|request| history.situation(&self.encoder, request)))
            }
            Some(name) => {
                let mut sessions = self.lock();
                let records = sessions.by_name.get(name).map_or(0, |history| history.records);
                let events = self.decoded(events, records)?;
                let history = sessions.touch(name, self.rules);
                history.observe(events);
                Ok(request.map(|request| history.situation(&self.encoder, request)))
            }
        }
    }

    /// The state of the decision in what the topic has shown its user so far: nearly what training will see, which has the
    /// order of event time and waits for what is late.
    pub fn live_situation(&self, sessions: &live::Sessions, request: Request) -> Situation {
        let Request { time, user, session, mut decision } = request;
        let candidates = decision.candidates.take();
        let user = user.unwrap_or_default();
        let mut steps = sessions.history(&user, session.as_deref(), time, self.rules.gap);
        let time = time.unwrap_or(EventTime::FIRST);
        let place = Place { offset: Offset::from_count(0), index: 0 };
        steps.push(Step { time, place, reward: 0.0, decision });
        Situation { state: self.encoder.encode(&steps, steps.len() - 1), candidates }
    }

    /// Forgets a session.
    pub fn end(&self, session: &str) {
        let mut sessions = self.lock();
        if let Some(history) = sessions.by_name.remove(session) {
            sessions.by_use.remove(&history.used);
        }
    }

    pub fn len(&self) -> usize {
        self.lock().by_name.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The events of each record, under the offsets from `first` on.
    fn decoded(&self, records: &[&[u8]], first: u64) -> Result<Vec<Vec<Event>>, ServeError> {
        let decode = |(index, bytes): (usize, &&[u8])| {
            let number = first.saturating_add(index as u64);
            let mut events = Vec::new();
            let decoded =
                self.decoder.decode(Offset::from_count(number), Some(arrival(number)), Some(bytes), &mut events);
            decoded.map(|_| events).map_err(|problem| ServeError::Event { index, problem })
        };
        records.iter().enumerate().map(decode).collect()
    }

    /// A panic elsewhere leaves the map whole: each change is one step.
    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For a mapping without a time, where a topic would have the record's own: only the order is known here.
fn arrival(number: u64) -> i64 {
    EventTime::FIRST.millis().saturating_add(i64::try_from(number).unwrap_or(i64::MAX))
}

impl Sessions {
    /// The session of this name, now the one that was used last. Beyond the limit the one unused for longest goes.
    fn touch(&mut self, name: &str, rules: SessionRules) -> &mut History {
        self.uses += 1;
        let used = self.uses;
        if let Some(history) = self.by_name.get(name) {
            self.by_use.remove(&history.used);
        } else {
            while self.by_name.len() >= self.sessions_max
                && let Some((_, oldest)) = self.by_use.pop_first()
            {
                self.by_name.remove(&oldest);
            }
        }
        self.by_use.insert(used, name.into());
        let history = self.by_name.entry(name.into()).or_insert_with(|| History::new(rules));
        history.used = used;
        history
    }
}

impl History {
    fn new(rules: SessionRules) -> History {
        History { lane: Lane::new(Partition(0), rules), records: 0, latest: None, used: 0 }
    }

    fn observe(&mut self, records: Vec<Vec<Event>>) {
        // Closed sessions are for training; nobody learns here.
        let mut closed = Vec::new();
        for events in records {
            self.records += 1;
            for event in events {
                if let EventKind::Interaction(interaction) = &event.kind {
                    let owner = || Owner { user: interaction.user.clone(), session: interaction.session.clone() };
                    match &self.latest {
                        Some(latest) if latest.user == interaction.user && latest.session == interaction.session => {}
                        Some(_) | None => self.latest = Some(owner()),
                    }
                }
                self.lane.observe(event, &mut closed);
                closed.clear();
            }
        }
    }

    fn situation(&self, encoder: &StateEncoder, request: Request) -> Situation {
        let Request { time, user, session, mut decision } = request;
        let candidates = decision.candidates.take();
        let owner = match (user, session, &self.latest) {
            (Some(user), session, _) => Owner { user, session },
            (None, _, Some(latest)) => latest.clone(),
            (None, session, None) => Owner { user: "".into(), session },
        };
        let pending = Pending { time, user: owner.user, session: owner.session, decision };
        let steps = self.lane.preview(pending, Place { offset: Offset::from_count(self.records), index: 0 });
        Situation { state: encoder.encode(&steps, steps.len().saturating_sub(1)), candidates }
    }
}
