//! A decision that is still to be made, in the shape in which it will stand in the log: without item and propensity.

use super::Decoder;
use super::malformed::{Malformed, MalformedReason};
use super::mapping::KindName;
use super::read::Reader;
use super::scan;
use crate::event::{Decision, Id};
use crate::time::EventTime;

/// What a recommender is asked. What is not known yet may be absent: the one who answers knows the session.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub time: Option<EventTime>,
    pub user: Option<Id>,
    pub session: Option<Id>,
    /// With an empty item, and nothing that comes of showing one.
    pub decision: Decision,
}

impl Decoder {
    /// Reads context and candidates as [`Decoder::decode`] reads those of a decision; of a slate, those of its first
    /// element.
    pub fn decode_request(&self, bytes: &[u8]) -> Result<Request, Malformed> {
        let scan = scan::scan(bytes, &self.plan, &self.limits)?;
        Reader::new(&self.fields, &self.plan, &self.limits, &scan).request()
    }
}

impl Reader<'_, '_> {
    fn request(&self) -> Result<Request, Malformed> {
        match absent_is_none(self.kind())? {
            None | Some(KindName::Decision) => {}
            Some(other) => {
                let detail = format!("a {} is no decision to be made", other.name());
                return Err(Malformed::field(MalformedReason::UnknownKind, "kind", detail));
            }
        }
        let fields = &self.fields.decision;
        let candidates = match &fields.candidates {
            Some(field) => self.candidate_ids(field, 0)?,
            None => None,
        };
        let decision = Decision {
            id: None,
            item: Id::default(),
            embedding: None,
            context: self.context(fields, 0)?,
            candidates: candidates.map(Vec::into_boxed_slice),
            propensity: None,
            position: None,
            reward: 0.0,
        };
        Ok(Request {
            time: absent_is_none(self.time(None))?,
            user: absent_is_none(self.user())?,
            session: self.session()?,
            decision,
        })
    }
}

fn absent_is_none<T>(read: Result<T, Malformed>) -> Result<Option<T>, Malformed> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(malformed) if malformed.reason == MalformedReason::MissingField => Ok(None),
        Err(malformed) => Err(malformed),
    }
}
