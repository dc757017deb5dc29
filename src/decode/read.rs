//! From what a scan found to events.

use std::borrow::Cow;

use super::Decoded;
use super::field::{Amount, DecisionFields, FeedbackFields, Field, Fields, RewardTable, TargetFields, Worth};
use super::keys::Seen;
use super::malformed::{Malformed, MalformedReason};
use super::mapping::{KindName, Limits, Others};
use super::plan::Plan;
use super::scan::{Found, Scan, Slate};
use super::value::{check_dimension, joined, not_a_time, outside_of_time, short, wrong_type};
use crate::event::{Body, Decision, Event, EventKind, Feedback, Fingerprint, Id, Interaction, Target};
use crate::position::{Offset, Place};
use crate::time::EventTime;

/// Reads the fields of one scanned record.
pub(super) struct Reader<'s, 'de> {
    pub(super) fields: &'s Fields,
    pub(super) plan: &'s Plan,
    pub(super) limits: &'s Limits,
    pub(super) scan: &'s Scan<'de>,
}

/// Which element of a slate a field is read in; the record's own fields are the same in all.
pub(super) type Element = usize;

impl<'s, 'de> Reader<'s, 'de> {
    pub fn new(fields: &'s Fields, plan: &'s Plan, limits: &'s Limits, scan: &'s Scan<'de>) -> Reader<'s, 'de> {
        Reader { fields, plan, limits, scan }
    }

    pub fn events(&self, offset: Offset, timestamp: Option<i64>, out: &mut Vec<Event>) -> Result<Decoded, Malformed> {
        let kind = self.kind()?;
        if kind == KindName::Ignore {
            return Ok(Decoded::Ignored);
        }
        let time = self.time(timestamp)?;
        if kind == KindName::Watermark {
            out.push(Event { place: Place { offset, index: 0 }, time, kind: EventKind::Watermark });
            return Ok(Decoded::Events(1));
        }
        let user = self.user()?;
        let session = self.session()?;
        let mut push = |element: Element, id, body| {
            let interaction = Interaction { id, user: user.clone(), session: session.clone(), body };
            // A slate has at most `limits.events` elements, a 32-bit number.
            let place = Place { offset, index: u32::try_from(element).unwrap_or(u32::MAX) };
            out.push(Event { place, time, kind: EventKind::Interaction(Box::new(interaction)) });
        };
        match kind {
            KindName::Decision if self.fields.decision.is_slate => {
                let count = self.slate_length()?;
                for element in 0..count {
                    let id = self.slate_event_id(element)?;
                    push(element, id, Body::Decision(self.decision(element)?));
                }
                return Ok(Decoded::Events(count));
            }
            KindName::Decision => push(0, self.event_id()?, Body::Decision(self.decision(0)?)),
            KindName::Feedback | KindName::Reward => {
                let Some(feedback) = self.feedback(kind)? else { return Ok(Decoded::Ignored) };
                push(0, self.event_id()?, Body::Feedback(feedback));
            }
            KindName::SessionEnd => push(0, self.event_id()?, Body::SessionEnd),
            KindName::Watermark | KindName::Ignore => return Ok(Decoded::Ignored),
        }
        Ok(Decoded::Events(1))
    }

    pub fn kind(&self) -> Result<KindName, Malformed> {
        let Some(kind) = &self.fields.kind else { return Ok(KindName::Decision) };
        let word = self.word(&kind.field)?;
        let known = match &kind.table {
            Some(table) => table.get(&*word).copied(),
            None => KindName::of(&word),
        };
        match (known, kind.others) {
            (Some(known), _) => Ok(known),
            (None, Others::Ignore) => Ok(KindName::Ignore),
            (None, Others::Malformed) => {
                let detail =
                    format!("{:?} is no kind that the mapping knows; others = \"ignore\" skips it", short(&word));
                Err(Malformed::field(MalformedReason::UnknownKind, kind.field.name, detail))
            }
        }
    }

    pub fn user(&self) -> Result<Id, Malformed> {
        self.id(&self.fields.user, 0).map(Id::from)
    }

    pub fn time(&self, timestamp: Option<i64>) -> Result<EventTime, Malformed> {
        let Some(field) = &self.fields.time else {
            let millis = timestamp.ok_or_else(|| {
                let detail = "the mapping names no time, and the record has no timestamp of its own";
                Malformed::field(MalformedReason::MissingField, "time", detail)
            })?;
            return EventTime::new(millis).ok_or_else(|| outside_of_time("time", millis));
        };
        let millis = match self.required(field, 0)? {
            Found::Unsigned(number) => i64::try_from(*number).unwrap_or(i64::MAX),
            Found::Signed(number) => *number,
            // Exact: every integer below 2^53 is one double, and all valid times are far below.
            Found::Float(number) if number.fract() == 0.0 => *number as i64,
            Found::Text(text) => text
                .parse::<jiff::Timestamp>()
                .map(jiff::Timestamp::as_millisecond)
                .map_err(|error| Malformed::field(MalformedReason::BadTime, field.name, not_a_time(text, &error)))?,
            found => return Err(wrong_type(field, "integer milliseconds or an RFC 3339 string", found)),
        };
        EventTime::new(millis).ok_or_else(|| outside_of_time(field.name, millis))
    }

    pub fn session(&self) -> Result<Option<Id>, Malformed> {
        self.optional_id(self.fields.session.as_ref(), 0).map(|id| id.map(Id::from))
    }

    fn event_id(&self) -> Result<Option<Fingerprint>, Malformed> {
        let id = self.optional_id(self.fields.event_id.as_ref(), 0)?;
        Ok(id.map(|id| Fingerprint::of(&id)))
    }

    /// A record's id belongs to all elements of its slate; together with their index it tells them apart.
    fn slate_event_id(&self, element: Element) -> Result<Option<Fingerprint>, Malformed> {
        let Some(field) = &self.fields.event_id else { return Ok(None) };
        let Some(id) = self.optional_id(Some(field), element)? else { return Ok(None) };
        Ok(Some(match field.is_relative() {
            true => Fingerprint::of(&id),
            false => joined(&[id, Cow::Owned(element.to_string())]),
        }))
    }

    fn slate_length(&self) -> Result<usize, Malformed> {
        match self.scan.slate {
            Slate::Elements(count) => Ok(count),
            Slate::Absent => Err(Malformed::field(MalformedReason::MissingField, "each", "there is no such list")),
            Slate::NotAList => Err(Malformed::field(MalformedReason::WrongType, "each", "this is not an array")),
        }
    }

    fn decision(&self, element: Element) -> Result<Decision, Malformed> {
        let fields = &self.fields.decision;
        let item = self.id(&fields.item, element)?;
        let candidates = match &fields.candidates {
            Some(field) => self.candidates(field, &item, element)?,
            None => None,
        };
        Ok(Decision {
            id: self.joined_id(&fields.id, element)?,
            embedding: self.embedding(fields, element)?,
            context: self.context(fields, element)?,
            candidates,
            propensity: self.propensity(fields, element)?,
            position: self.position(fields, element)?,
            reward: bounded(self.optional_number(fields.reward.as_ref(), element)?.unwrap_or(0.0), "reward")?,
            item: Id::from(item),
        })
    }

    /// `None` if any part is absent: such a decision cannot be named by feedback.
    fn joined_id(&self, fields: &[Field], element: Element) -> Result<Option<Fingerprint>, Malformed> {
        match fields {
            [] => Ok(None),
            [field] => Ok(self.optional_id(Some(field), element)?.map(|id| Fingerprint::of(&id))),
            fields => {
                let mut parts = Vec::with_capacity(fields.len());
                for field in fields {
                    let Some(part) = self.optional_id(Some(field), element)? else { return Ok(None) };
                    parts.push(part);
                }
                Ok(Some(joined(&parts)))
            }
        }
    }

    fn embedding(&self, fields: &DecisionFields, element: Element) -> Result<Option<Box<[f32]>>, Malformed> {
        let Some(field) = &fields.embedding else { return Ok(None) };
        if matches!(self.find(field, element), Found::Absent | Found::Null) {
            return Ok(None);
        }
        let mut embedding = Vec::with_capacity(fields.embedding_dimension);
        self.append_numbers(field, element, &mut embedding)?;
        check_dimension(field.name, &embedding, fields.embedding_dimension)?;
        Ok(Some(embedding.into_boxed_slice()))
    }

    pub(super) fn context(&self, fields: &DecisionFields, element: Element) -> Result<Box<[f32]>, Malformed> {
        let mut context = Vec::with_capacity(fields.context_dimension);
        for field in &fields.context {
            // An event without any features is as good as one with an empty list of them where none are expected.
            if fields.context_dimension == 0 && matches!(self.find(field, element), Found::Absent | Found::Null) {
                continue;
            }
            self.append_numbers(field, element, &mut context)?;
        }
        check_dimension("context", &context, fields.context_dimension)?;
        Ok(context.into_boxed_slice())
    }

    fn append_numbers(&self, field: &Field, element: Element, into: &mut Vec<f32>) -> Result<(), Malformed> {
        let one;
        let numbers = match self.required(field, element)? {
            Found::Numbers(run) => &self.scan.numbers[run.start..run.end],
            found => {
                one = [found.number().ok_or_else(|| wrong_type(field, "numbers", found))?];
                &one[..]
            }
        };
        let start = into.len();
        into.extend(numbers.iter().map(|number| *number as f32));
        match numbers.iter().zip(&into[start..]).find(|(_, narrow)| !narrow.is_finite()) {
            None => Ok(()),
            Some((number, _)) => {
                let detail = format!("{number:e} does not fit in 32 bits");
                Err(Malformed::field(MalformedReason::NumberOutOfRange, field.name, detail))
            }
        }
    }

    fn candidates(&self, field: &Field, shown: &str, element: Element) -> Result<Option<Box<[Id]>>, Malformed> {
        let Some(candidates) = self.candidate_ids(field, element)? else { return Ok(None) };
        if !candidates.iter().any(|candidate| **candidate == *shown) {
            let detail = "the shown item is not among them";
            return Err(Malformed::field(MalformedReason::BadCandidates, field.name, detail));
        }
        Ok(Some(candidates.into_boxed_slice()))
    }

    /// What could be shown, each item once.
    pub(super) fn candidate_ids(&self, field: &Field, element: Element) -> Result<Option<Vec<Id>>, Malformed> {
        let run = match self.find(field, element) {
            Found::Absent | Found::Null => return Ok(None),
            Found::Ids(run) => run,
            found => return Err(wrong_type(field, "an array of item ids", found)),
        };
        let ids = &self.scan.ids[run.start..run.end];
        let (mut seen, mut candidates) = (Seen::new(), Vec::with_capacity(ids.len()));
        for found in ids {
            let id = self.id_of(field, found)?;
            candidates.push(Id::from(&*id));
            if !seen.insert(id) {
                let detail = "an item is listed twice, which would double its probability";
                return Err(Malformed::field(MalformedReason::BadCandidates, field.name, detail));
            }
        }
        Ok(Some(candidates))
    }

    fn propensity(&self, fields: &DecisionFields, element: Element) -> Result<Option<f64>, Malformed> {
        let (name, propensity) = match self.optional_number(fields.propensity.as_ref(), element)? {
            Some(propensity) => ("propensity", propensity),
            None => match self.optional_number(fields.log_prob.as_ref(), element)? {
                Some(log_prob) => ("log_prob", log_prob.exp()),
                None => return Ok(None),
            },
        };
        if 0.0 < propensity && propensity <= 1.0 {
            return Ok(Some(propensity));
        }
        let detail = format!("a probability of {propensity:?} is not in (0, 1]");
        Err(Malformed::field(MalformedReason::BadPropensity, name, detail))
    }

    fn position(&self, fields: &DecisionFields, element: Element) -> Result<Option<u32>, Malformed> {
        match self.optional_number(fields.position.as_ref(), element)? {
            Some(number) if number >= 0.0 && number <= f64::from(u32::MAX) && number.fract() == 0.0 => {
                Ok(Some(number as u32))
            }
            Some(number) => {
                let detail = format!("{number:?} is not a whole number from 0");
                Err(Malformed::field(MalformedReason::NumberOutOfRange, "position", detail))
            }
            None => Ok(fields.is_slate.then(|| u32::try_from(element).unwrap_or(u32::MAX))),
        }
    }

    /// `None` for a kind of feedback that is left out on purpose.
    fn feedback(&self, kind: KindName) -> Result<Option<Feedback>, Malformed> {
        let Some(fields) = &self.fields.feedback else { return Ok(None) };
        let (reward, ends) = match (&fields.table, kind) {
            (Some(table), KindName::Feedback) => match self.worth(table)? {
                Some(worth) => (self.amount(table, worth)?, worth.is_final),
                None => return Ok(None),
            },
            (Some(_) | None, _) => (self.direct_reward(fields)?, false),
        };
        let target = match &fields.target {
            TargetFields::Decision(id) => Target::Decision(self.required_joined_id(id)?),
            TargetFields::LatestItem(item) => Target::LatestItem(self.id(item, 0)?.into()),
        };
        let is_final = ends || self.flag(fields.is_final.as_ref())?;
        Ok(Some(Feedback { target, reward, is_final }))
    }

    fn required_joined_id(&self, fields: &[Field]) -> Result<Fingerprint, Malformed> {
        match self.joined_id(fields, 0)? {
            Some(id) => Ok(id),
            None => {
                let absent = fields.iter().find(|field| matches!(self.find(field, 0), Found::Absent | Found::Null));
                let name = absent.map_or("feedback.decision_id", |field| field.name);
                Err(Malformed::field(MalformedReason::MissingField, name, "feedback must name its decision"))
            }
        }
    }

    fn direct_reward(&self, fields: &FeedbackFields) -> Result<f64, Malformed> {
        match &fields.reward {
            Some(field) => bounded(self.number(field, 0)?, field.name),
            None => Err(Malformed::field(MalformedReason::MissingField, "feedback.reward", "the mapping has none")),
        }
    }

    fn worth(&self, table: &RewardTable) -> Result<Option<Worth>, Malformed> {
        let RewardTable { kind, worth, others, .. } = table;
        let word = self.word(kind)?;
        match (worth.get(&*word), others) {
            (Some(worth), _) => Ok(Some(*worth)),
            (None, Others::Ignore) => Ok(None),
            (None, Others::Malformed) => {
                let word = short(&word);
                let detail =
                    format!("{word:?} has no reward: add it to [mapping.feedback.rewards], as in {word} = 1.0");
                Err(Malformed::field(MalformedReason::UnknownFeedback, kind.name, detail))
            }
        }
    }

    fn amount(&self, table: &RewardTable, worth: Worth) -> Result<f64, Malformed> {
        let reward = match (worth.amount, &table.value) {
            (Amount::Fixed(reward), _) => reward,
            (Amount::Scaled { per, weight, max }, Some(value)) => self.number(value, 0)?.min(max) / per * weight,
            (Amount::Scaled { .. }, None) => f64::NAN,
        };
        bounded(reward, "feedback.value")
    }

    fn flag(&self, field: Option<&Field>) -> Result<bool, Malformed> {
        let Some(field) = field else { return Ok(false) };
        match self.find(field, 0) {
            Found::Absent | Found::Null => Ok(false),
            Found::Boolean(flag) => Ok(*flag),
            found => Err(wrong_type(field, "a boolean", found)),
        }
    }
}

/// No reward in any unit; sums over a session of greater ones would leave the numbers that scores are made of.
const REWARD_MAX: f64 = 1e30;

fn bounded(reward: f64, field: &'static str) -> Result<f64, Malformed> {
    if reward.abs() <= REWARD_MAX {
        return Ok(reward);
    }
    let detail = format!("a reward of {reward:e} is beyond {REWARD_MAX:e}");
    Err(Malformed::field(MalformedReason::NumberOutOfRange, field, detail))
}
