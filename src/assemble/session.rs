//! What a lane holds about one session key.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{Body, Decision, Fingerprint, Id, Interaction, Target};
use crate::position::Place;
use crate::time::{EventTime, Span};
use crate::trajectory::{Ending, Step, Steps};

use super::counters::Fate;
use super::ids::Ids;

/// A user and, where the log names it, one of the user's sessions. Ordered as text: ties between sessions go by it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct KeyText {
    pub(crate) user: Id,
    pub(crate) session: Option<Id>,
}

/// The text behind the hash of its user: neighbors in this order are one user's sessions, and comparing rarely follows
/// the pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionKey {
    hash: u64,
    text: Arc<KeyText>,
}

/// A key to look for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyRef<'a> {
    pub(crate) hash: u64,
    pub(crate) user: &'a Id,
    pub(crate) session: Option<&'a Id>,
}

/// All that is known of one key: at most one open session, those that wait for rewards, and the memory of emitted ones.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Visit {
    pub(crate) open: Option<Session>,
    /// In order of opening.
    pub(crate) closing: Vec<Closing>,
    /// Only for keys with an explicit session id.
    pub(crate) remembered: Option<Remembered>,
}

/// One of a visit's sessions, by its place in it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    Open,
    Closing(usize),
}

/// The decisions so far and what came of them. Never without a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) steps: Steps,
    /// Indices of the steps that have seen their final feedback.
    pub(crate) finals: BTreeSet<u32>,
    /// Ids of the events that were applied.
    pub(crate) seen: Ids,
    /// Event time of the latest event that was applied.
    pub(crate) last_activity: EventTime,
    /// The least and the greatest place of the events that were applied.
    pub(crate) first: Place,
    pub(crate) last: Place,
    /// Its footprint. No part of the state: it follows from the rest.
    #[serde(skip)]
    pub(crate) bytes: u64,
    /// Where the agenda lists it; not above `last_activity`. No part of the state: it depends on restarts.
    #[serde(skip, default = "unlisted")]
    pub(crate) listed: EventTime,
}

/// A session that has ended and waits until its last step is mature.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Closing {
    pub(crate) session: Session,
    pub(crate) ending: Ending,
    pub(crate) ended_at: EventTime,
    /// The end, or the maturity of the step that matures last.
    pub(crate) emit_at: EventTime,
}

/// A key whose trajectory has been emitted: what still comes for it is late.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) until: EventTime,
    /// Until then the key does not open anew, because the log itself ended it; `START` if it did not.
    pub(crate) ended_until: EventTime,
}

/// Feedback that waits for its decision.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Parked {
    pub(crate) interaction: Box<Interaction>,
    /// Its key was known as closed when it came, so it is late and not an orphan if nothing matches.
    pub(crate) is_late: bool,
}

/// One event's time, place and id, as a session takes note of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occurrence {
    pub(crate) time: EventTime,
    pub(crate) place: Place,
    pub(crate) id: Option<Fingerprint>,
}

impl Occurrence {
    fn step(self, decision: Decision) -> Step {
        Step { time: self.time, place: self.place, reward: decision.reward, decision }
    }
}

fn unlisted() -> EventTime {
    EventTime::START
}

pub(crate) fn hash_of(user: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(user.as_bytes())
}

impl SessionKey {
    pub(crate) fn new(text: Arc<KeyText>) -> SessionKey {
        SessionKey { hash: hash_of(&text.user), text }
    }

    pub(crate) fn text(&self) -> &Arc<KeyText> {
        &self.text
    }
}

impl Ord for SessionKey {
    fn cmp(&self, other: &SessionKey) -> Ordering {
        let is_same = Arc::ptr_eq(&self.text, &other.text);
        if is_same { Ordering::Equal } else { self.hash.cmp(&other.hash).then_with(|| self.text.cmp(&other.text)) }
    }
}

impl PartialOrd for SessionKey {
    fn partial_cmp(&self, other: &SessionKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl KeyText {
    pub(crate) fn borrowed(&self) -> KeyRef<'_> {
        KeyRef::new(&self.user, self.session.as_ref())
    }
}

impl<'a> KeyRef<'a> {
    pub(crate) fn new(user: &'a Id, session: Option<&'a Id>) -> KeyRef<'a> {
        KeyRef { hash: hash_of(user), user, session }
    }

    /// The least key of the user.
    pub(crate) fn of_user(self) -> KeyRef<'a> {
        KeyRef { session: None, ..self }
    }

    pub(crate) fn to_key(self) -> SessionKey {
        let text = KeyText { user: self.user.clone(), session: self.session.cloned() };
        SessionKey { hash: self.hash, text: Arc::new(text) }
    }

    pub(crate) fn is_user_of(self, key: &SessionKey) -> bool {
        key.hash == self.hash && key.text.user == *self.user
    }

    /// How `stored` is ordered relative to this key.
    #[inline]
    pub(crate) fn compare(self, stored: &SessionKey) -> Ordering {
        match stored.hash.cmp(&self.hash) {
            Ordering::Equal => self.compare_text(&stored.text),
            unequal => unequal,
        }
    }

    #[inline(never)]
    fn compare_text(self, stored: &KeyText) -> Ordering {
        let stored = (&stored.user, stored.session.as_ref());
        // Short ids are equal in two comparisons of registers; which of two comes first is rarely asked.
        if stored == (self.user, self.session) { Ordering::Equal } else { stored.cmp(&(self.user, self.session)) }
    }
}

impl Serialize for SessionKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SessionKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(SessionKey::new(Arc::new(KeyText::deserialize(deserializer)?)))
    }
}

impl Visit {
    /// All sessions whose steps feedback can still join.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.open.iter().chain(self.closing.iter().map(|closing| &closing.session))
    }

    /// The latest step that feedback can mean, in the session that was active last among those that have one.
    pub(crate) fn step_for(&self, target: &Target) -> Option<(Which, &Session, usize)> {
        let open = self.open.iter().map(|session| (Which::Open, session));
        let closing = self.closing.iter().enumerate();
        let closing = closing.map(|(index, closing)| (Which::Closing(index), &closing.session));
        let found =
            open.chain(closing).filter_map(|(which, session)| Some((which, session, session.step_for(target)?)));
        // Mostly there is one, of which nothing more is asked.
        found.max_by(|(_, one, _), (_, other, _)| one.recency().cmp(&other.recency()))
    }

    pub(crate) fn session_mut(&mut self, which: Which) -> Option<&mut Session> {
        match which {
            Which::Open => self.open.as_mut(),
            Which::Closing(index) => self.closing.get_mut(index).map(|closing| &mut closing.session),
        }
    }

    pub(crate) fn has_seen(&self, id: Option<Fingerprint>) -> bool {
        self.sessions().any(|session| session.has_seen(id))
    }

    /// Was a session of this key closed, and not so long ago that it is forgotten?
    pub(crate) fn is_recently_closed(&self) -> bool {
        !self.closing.is_empty() || self.remembered.is_some()
    }

    /// Did the log itself end this key's session recently?
    pub(crate) fn is_ended(&self, now: EventTime) -> bool {
        self.closing.iter().any(|closing| closing.ending == Ending::SessionEnd)
            || self.remembered.is_some_and(|remembered| now <= remembered.ended_until)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_none() && self.closing.is_empty() && self.remembered.is_none()
    }
}

impl Session {
    pub(crate) fn opened_by(event: Occurrence, decision: Decision) -> Session {
        Session {
            finals: BTreeSet::new(),
            seen: event.id.into_iter().collect(),
            last_activity: event.time,
            first: event.place,
            last: event.place,
            bytes: 0,
            listed: event.time,
            steps: Steps::from_iter([event.step(decision)]),
        }
    }

    pub(crate) fn push(&mut self, event: Occurrence, decision: Decision) {
        self.touch(event);
        self.steps.push(event.step(decision));
    }

    /// The place of the first decision: no two sessions of a lane share it.
    pub(crate) fn opened(&self) -> Place {
        self.steps.first().map_or(self.first, |step| step.place)
    }

    /// Orders sessions by their last activity; no two are equal.
    pub(crate) fn recency(&self) -> (EventTime, Place) {
        (self.last_activity, self.opened())
    }

    pub(crate) fn started_at(&self) -> EventTime {
        self.steps.first().map_or(self.last_activity, |step| step.time)
    }

    pub(crate) fn has_seen(&self, id: Option<Fingerprint>) -> bool {
        id.is_some_and(|id| self.seen.contains(id))
    }

    /// The latest step that the feedback can mean.
    pub(crate) fn step_for(&self, target: &Target) -> Option<usize> {
        self.steps.iter().rposition(|step| step_answers(step, target))
    }

    /// Takes note of an event that was applied, and whose id it has not seen.
    pub(crate) fn touch(&mut self, event: Occurrence) {
        self.last_activity = self.last_activity.max(event.time);
        self.first = self.first.min(event.place);
        self.last = self.last.max(event.place);
        if let Some(id) = event.id {
            self.seen.insert(id);
        }
    }

    /// Adds a feedback to the step at `index`, unless it was seen before or came after the final one.
    pub(crate) fn join(&mut self, index: usize, event: Occurrence, reward: f64, is_final: bool) -> Fate {
        if self.has_seen(event.id) {
            return Fate::Duplicate;
        }
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        if self.finals.contains(&number) {
            return Fate::Late;
        }
        let Some(sum) = self.steps.reward_mut(index) else { return Fate::Orphan };
        // Two finite numbers can add up to an infinite one; a reward stays finite.
        *sum = (*sum + reward).clamp(f64::MIN, f64::MAX);
        if is_final {
            self.finals.insert(number);
        }
        self.touch(event);
        Fate::Applied
    }

    /// How many numbers it remembers for the sake of duplicates.
    pub(crate) fn ids(&self) -> usize {
        self.seen.len() + self.finals.len()
    }

    /// When the last of the steps that still wait for feedback is mature; `START` when none waits.
    pub(crate) fn mature_at(&self, reward_wait: Span) -> EventTime {
        let is_final = |index: usize| u32::try_from(index).is_ok_and(|number| self.finals.contains(&number));
        let waiting = self.steps.iter().enumerate().rfind(|(index, _)| !is_final(*index));
        waiting.map_or(EventTime::START, |(_, step)| step.time.plus(reward_wait))
    }
}

pub(crate) fn step_answers(step: &Step, target: &Target) -> bool {
    match target {
        Target::Decision(id) => step.decision.id == Some(*id),
        Target::LatestItem(item) => step.decision.item == *item,
    }
}

/// The formula behind `max_bytes`: fixed numbers, so that eviction does not depend on an allocator.
pub(crate) mod footprint {
    use super::*;

    const SESSION: u64 = 512;
    const STEP: u64 = 192;
    const EVENT: u64 = 256;
    const ID: u64 = 24;

    pub(crate) fn of_session(key: &KeyText, session: &Session) -> u64 {
        SESSION
            + text_of(key)
            + of_ids(session.ids())
            + session.steps.iter().map(|step| of_step(&step.decision)).sum::<u64>()
            + 4 * count(session.steps.contexts(0..session.steps.len()).len())
    }

    /// Of a key itself, whatever is known of it.
    pub(crate) fn of_key(key: &KeyText) -> u64 {
        SESSION + text_of(key)
    }

    pub(crate) fn of_step(decision: &Decision) -> u64 {
        STEP + of_decision(decision)
    }

    pub(crate) fn of_ids(added: usize) -> u64 {
        count(added) * ID
    }

    pub(crate) fn of_event(interaction: &Interaction) -> u64 {
        let session = interaction.session.as_deref().map_or(0, str::len);
        let body = match &interaction.body {
            Body::Decision(decision) => of_decision(decision),
            Body::Feedback(feedback) => match &feedback.target {
                Target::Decision(_) => 0,
                Target::LatestItem(item) => count(item.len()),
            },
            Body::SessionEnd => 0,
        };
        EVENT + count(interaction.user.len() + session) + body
    }

    fn of_decision(decision: &Decision) -> u64 {
        let floats = decision.context.len() + decision.embedding.as_deref().map_or(0, <[f32]>::len);
        let candidates = decision.candidates.iter().flatten();
        count(decision.item.len() + 4 * floats) + candidates.map(|item| 16 + count(item.len())).sum::<u64>()
    }

    fn text_of(key: &KeyText) -> u64 {
        count(key.user.len() + key.session.as_deref().map_or(0, str::len))
    }

    fn count(len: usize) -> u64 {
        u64::try_from(len).unwrap_or(u64::MAX)
    }
}
