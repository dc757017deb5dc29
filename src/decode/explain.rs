//! One record, field by field: what a person wants to see before trusting a mapping.

use serde::Serialize;

use super::field::{Field, Origin};
use super::malformed::Malformed;
use super::read::Reader;
use super::scan::{Found, scan};
use super::value::short;
use super::{Decoded, Decoder};
use crate::event::{Body, Event, EventKind, Target};
use crate::position::Offset;

/// How a record was read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// `decoded`, `ignored`, `tombstone` or `malformed`.
    pub outcome: &'static str,
    /// What the record was taken for; `None` when it cannot be told.
    pub kind: Option<&'static str>,
    /// Every place of the mapping, whether or not this kind of record needs it; of a slate, its first element.
    pub fields: Vec<FieldReading>,
    pub events: Vec<EventSummary>,
    pub error: Option<Malformed>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldReading {
    pub field: &'static str,
    /// The JSON Pointer, or `constant`.
    pub source: String,
    pub found: String,
    /// The record has nothing there, and the mapping's default was taken.
    pub is_default: bool,
}

/// An event as people read it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventSummary {
    pub kind: &'static str,
    pub time: String,
    pub user: Option<String>,
    pub session: Option<String>,
    pub item: Option<String>,
    pub context_len: Option<usize>,
    pub embedding_len: Option<usize>,
    pub candidates: Option<usize>,
    pub propensity: Option<f64>,
    pub reward: Option<f64>,
    pub is_final: Option<bool>,
}

impl Decoder {
    /// The same reading as [`Decoder::decode`], with its reasons.
    pub fn explain(&self, offset: Offset, timestamp: Option<i64>, value: Option<&[u8]>) -> Explanation {
        let mut events = Vec::new();
        let (outcome, error) = match self.decode(offset, timestamp, value, &mut events) {
            Ok(Decoded::Events(_)) => ("decoded", None),
            Ok(Decoded::Ignored) => ("ignored", None),
            Ok(Decoded::Tombstone) => ("tombstone", None),
            Err(error) => ("malformed", Some(error)),
        };
        let (mut kind, mut fields) = (None, Vec::new());
        if let Some(Ok(scan)) = value.map(|bytes| scan(bytes, &self.plan, &self.limits)) {
            let reader = Reader::new(&self.fields, &self.plan, &self.limits, &scan);
            kind = reader.kind().ok().map(|kind| kind.name());
            fields = self.fields.all().into_iter().map(|field| reader.explain(field)).collect();
        }
        Explanation { outcome, kind, fields, events: events.iter().map(EventSummary::of).collect(), error }
    }
}

impl<'s> Reader<'s, '_> {
    fn explain(&self, field: &'s Field) -> FieldReading {
        let found = self.find(field, 0);
        let source = match &field.origin {
            Origin::Constant(_) => "constant".to_owned(),
            Origin::Slot { pointer, .. } => pointer.to_string(),
        };
        let is_default = std::ptr::eq(found, &field.default) && *found != Found::Absent;
        FieldReading { field: field.name, source, found: self.describe(found), is_default }
    }

    fn describe(&self, found: &Found<'_>) -> String {
        const SHOWN: usize = 4;
        match found {
            Found::Boolean(boolean) => boolean.to_string(),
            Found::Unsigned(number) => number.to_string(),
            Found::Signed(number) => number.to_string(),
            Found::Float(number) => format!("{number:?}"),
            Found::Text(text) if short(text).len() < text.len() => format!("{:?}...", short(text)),
            Found::Text(text) => format!("{text:?}"),
            Found::Numbers(run) => {
                let numbers = &self.scan.numbers[run.start..run.end];
                let first = &numbers[..numbers.len().min(SHOWN)];
                format!("{} numbers, first {first:?}", numbers.len())
            }
            Found::Ids(run) => {
                let ids = &self.scan.ids[run.start..run.end];
                let first: Vec<_> = ids.iter().take(SHOWN).map(|id| self.describe(id)).collect();
                format!("{} ids, first [{}]", ids.len(), first.join(", "))
            }
            Found::Absent | Found::Null | Found::Mixed | Found::Array | Found::Object => found.name().to_owned(),
        }
    }
}

impl EventSummary {
    pub fn kind_of(event: &Event) -> &'static str {
        match &event.kind {
            EventKind::Watermark => "watermark",
            EventKind::Interaction(interaction) => match &interaction.body {
                Body::Decision(_) => "decision",
                Body::Feedback(_) => "feedback",
                Body::SessionEnd => "session_end",
            },
        }
    }

    pub fn of(event: &Event) -> EventSummary {
        let mut summary = EventSummary {
            kind: EventSummary::kind_of(event),
            time: event.time.to_string(),
            user: None,
            session: None,
            item: None,
            context_len: None,
            embedding_len: None,
            candidates: None,
            propensity: None,
            reward: None,
            is_final: None,
        };
        let EventKind::Interaction(interaction) = &event.kind else { return summary };
        summary.user = Some(interaction.user.to_string());
        summary.session = interaction.session.as_deref().map(str::to_owned);
        match &interaction.body {
            Body::Decision(decision) => {
                summary.item = Some(decision.item.to_string());
                summary.context_len = Some(decision.context.len());
                summary.embedding_len = decision.embedding.as_ref().map(|embedding| embedding.len());
                summary.candidates = decision.candidates.as_ref().map(|candidates| candidates.len());
                summary.propensity = decision.propensity;
                summary.reward = Some(decision.reward);
            }
            Body::Feedback(feedback) => {
                summary.reward = Some(feedback.reward);
                summary.is_final = Some(feedback.is_final);
                match &feedback.target {
                    Target::Decision(_) => {}
                    Target::LatestItem(item) => summary.item = Some(item.to_string()),
                }
            }
            Body::SessionEnd => {}
        }
        summary
    }
}
