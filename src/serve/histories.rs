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
use crate::trajectory::{Step, Steps};

/// The served sessions, at most so many.
#[derive(Debug)]
pub struct Histories {
    decoder: Arc<Decoder>,
    encoder: Arc<StateEncoder>,
    rules: SessionRules,
    sessions: Mutex<Sessions>,
}

/// What whoever asks may use up.
#[derive(Debug, Clone, Copy)]
pub struct HistoryLimits {
    pub sessions: usize,
    /// By the fixed formula of the lanes.
    pub bytes: u64,
}

/// A name is one session; what is remembered under it beyond that is somebody's mistake, or worse.
const OPEN_MAX: u64 = 64;
const WAITING_MAX: u64 = 1_000;

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
    bytes: u64,
    limits: HistoryLimits,
}

#[derive(Debug)]
struct History {
    lane: Lane,
    /// Records that were observed: the offset of the next one.
    records: u64,
    /// Of the latest event: a decision that names nobody is theirs.
    latest: Option<Owner>,
    used: u64,
    /// Footprint, as it was last counted.
    bytes: u64,
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
        limits: HistoryLimits,
    ) -> Histories {
        let rules = SessionRules {
            max_bytes: rules.max_bytes.min(limits.bytes / 16),
            max_open: rules.max_open.min(OPEN_MAX),
            max_waiting_events: rules.max_waiting_events.min(WAITING_MAX),
            ..rules
        };
        let sessions = Sessions { by_name: HashMap::new(), by_use: BTreeMap::new(), uses: 0, bytes: 0, limits };
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
                let situation = request.map(|request| history.situation(&self.encoder, request));
                sessions.weigh(name);
                Ok(situation)
            }
        }
    }

    /// The state of the decision in what the topic has shown its user so far: nearly what training will see, which has the
    /// order of event time and waits for what is late.
    pub fn live_situation(&self, sessions: &live::Sessions, request: Request) -> Situation {
        let Request { time, user, session, mut decision } = request;
        let candidates = decision.candidates.take();
        let user = user.unwrap_or_default();
        let history = sessions.history(&user, session.as_deref(), time, self.rules.gap);
        let mut steps = Steps::from_iter(history);
        let time = time.unwrap_or(EventTime::FIRST);
        let place = Place { offset: Offset::from_count(0), index: 0 };
        steps.push(Step { time, place, reward: 0.0, decision });
        Situation { state: self.encoder.encode(&steps, steps.len() - 1), candidates }
    }

    /// Forgets a session.
    pub fn end(&self, session: &str) {
        self.lock().forget(session);
    }

    pub fn len(&self) -> usize {
        self.lock().by_name.len()
    }

    /// What all sessions hold, by the fixed formula of the lanes.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
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
            while self.by_name.len() >= self.limits.sessions && self.forget_oldest() {}
        }
        self.by_use.insert(used, name.into());
        let history = self.by_name.entry(name.into()).or_insert_with(|| History::new(rules));
        history.used = used;
        history
    }

    /// Counts what the session that was used last holds now, and forgets others while all together hold too much.
    fn weigh(&mut self, name: &str) {
        if let Some(history) = self.by_name.get_mut(name) {
            let bytes = history.lane.footprint();
            self.bytes = self.bytes - history.bytes + bytes;
            history.bytes = bytes;
        }
        while self.bytes > self.limits.bytes && self.by_name.len() > 1 && self.forget_oldest() {}
    }

    fn forget_oldest(&mut self) -> bool {
        let oldest = self.by_use.first_key_value().map(|(_, name)| name.clone());
        oldest.map(|name| self.forget(&name)).is_some()
    }

    fn forget(&mut self, name: &str) {
        if let Some(history) = self.by_name.remove(name) {
            self.by_use.remove(&history.used);
            self.bytes -= history.bytes;
        }
    }
}

impl History {
    fn new(rules: SessionRules) -> History {
        History { lane: Lane::new(Partition(0), rules), records: 0, latest: None, used: 0, bytes: 0 }
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
