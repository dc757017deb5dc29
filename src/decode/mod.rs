//! Bytes of a record become events, or one reason why they do not.
//!
//! A record is a JSON document in somebody's own shape. A [`Mapping`] (settings) says by JSON Pointers where in that
//! shape the fields of an event are; [`Decoder::new`] checks it once. [`Decoder::decode`] then reads each record in one
//! pass: it keeps what the mapping names, and checks everything else for being strict JSON all the same (RFC 8259, no
//! duplicate keys, no lone surrogates, bounded depth and size), because a document that two parsers read differently
//! is not a fact. A record is read as a whole or refused as a whole.
//!
//! This is the only place that reads the JSON of events. It knows no broker, no clock and no learner.

mod source;
mod mapping;
mod plan;
mod scan;
mod quick;
mod keys;
mod field;
mod compile;
mod read;
mod request;
mod value;
mod malformed;
mod explain;
mod sample;
mod dead_letter;
#[cfg(any(test, fuzzing))]
pub(crate) mod agreement;
#[cfg(test)]
mod tests;

pub use compile::MappingError;
pub use dead_letter::{Bytes, DeadLetter, Header};
pub use explain::{EventSummary, Explanation, FieldReading};
pub use malformed::{Malformed, MalformedReason};
pub use mapping::{FeedbackMapping, Join, KindName, KindSetting, Limits, Mapping, Others, Points, Size};
pub use request::Request;
pub use sample::{Example, FirstError, RecordPlace, Sample, SampleReport};
pub use source::{ContextSource, Literal, OneOrMany, Source};

use crate::event::{Event, Id};
use crate::position::Offset;
use crate::time::EventTime;

/// A checked mapping. Cheap to share between threads; decoding needs no other state.
#[derive(Debug, Clone)]
pub struct Decoder {
    plan: plan::Plan,
    fields: field::Fields,
    limits: Limits,
}

/// What became of a record that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// So many events were appended; zero only for an empty slate.
    Events(usize),
    /// Well-formed, of a type that the mapping leaves out on purpose.
    Ignored,
    /// A record without a value: how compacted topics say "deleted".
    Tombstone,
}

/// What decides where a record belongs before its events matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordKey {
    pub user: Option<Id>,
    pub time: Option<EventTime>,
}

impl Decoder {
    /// Refuses a mapping that names fields wrongly, with the field and the way out in the message.
    pub fn new(mapping: &Mapping) -> Result<Decoder, MappingError> {
        compile::compile(mapping)
    }

    /// Appends the record's events to `out`; after an error `out` is as it was.
    ///
    /// `timestamp` is the record's own time in milliseconds, used when the mapping names no `time`.
    pub fn decode(
        &self,
        offset: Offset,
        timestamp: Option<i64>,
        value: Option<&[u8]>,
        out: &mut Vec<Event>,
    ) -> Result<Decoded, Malformed> {
        let Some(bytes) = value else { return Ok(Decoded::Tombstone) };
        let scan = scan::scan(bytes, &self.plan, &self.limits)?;
        let before = out.len();
        let reader = read::Reader::new(&self.fields, &self.plan, &self.limits, &scan);
        reader.events(offset, timestamp, out).inspect_err(|_| out.truncate(before))
    }

    /// User and time of a record, each on its own: they are found even when other fields are malformed.
    /// Bytes that are not strict JSON have neither.
    pub fn key(&self, timestamp: Option<i64>, value: Option<&[u8]>) -> RecordKey {
        let Some(Ok(scan)) = value.map(|bytes| scan::scan(bytes, &self.plan, &self.limits)) else {
            return RecordKey::default();
        };
        let reader = read::Reader::new(&self.fields, &self.plan, &self.limits, &scan);
        RecordKey { user: reader.user().ok(), time: reader.time(timestamp).ok() }
    }

    /// Length of [`crate::event::Decision::context`] of every decision.
    pub fn context_dimension(&self) -> usize {
        self.fields.decision.context_dimension
    }

    /// Whether decisions can have a propensity at all.
    pub fn reads_propensity(&self) -> bool {
        self.fields.decision.propensity.is_some() || self.fields.decision.log_prob.is_some()
    }

    /// Length of the embedding of every decision that carries one; 0 when the mapping reads none.
    pub fn embedding_dimension(&self) -> usize {
        self.fields.decision.embedding_dimension
    }
}
