//! Why a record is no event.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A refused record: one reason, the field of the mapping that it concerns, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Malformed {
    pub reason: MalformedReason,
    /// A name of the mapping (`propensity`, `feedback.value`); `None` when the document as a whole is at fault.
    pub field: Option<&'static str>,
    pub detail: String,
}

/// The label under which refused records are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MalformedReason {
    /// More bytes than `decode.max_bytes`.
    TooLarge,
    NotUtf8,
    /// Not one RFC 8259 document: syntax, trailing text, a byte order mark, lone surrogates.
    NotJson,
    DuplicateKey,
    /// Nested deeper than `decode.max_depth`.
    TooDeep,
    /// A number that no finite float holds: 1e999 anywhere, 1e39 where 32 bits are kept.
    NumberOutOfRange,
    MissingField,
    WrongType,
    /// Empty, too long, or a number whose digits a double does not hold exactly.
    BadId,
    /// Neither integer milliseconds nor RFC 3339, or outside the years 2000 to 2099.
    BadTime,
    /// Not in (0, 1]: what was shown cannot have had probability zero.
    BadPropensity,
    /// Named twice, or without the item that was shown.
    BadCandidates,
    WrongDimension,
    UnknownKind,
    UnknownFeedback,
    /// A slate of more than `limits.events`.
    TooManyEvents,
}

impl MalformedReason {
    /// In the order of declaration.
    pub const ALL: [MalformedReason; 16] = [
        MalformedReason::TooLarge,
        MalformedReason::NotUtf8,
        MalformedReason::NotJson,
        MalformedReason::DuplicateKey,
        MalformedReason::TooDeep,
        MalformedReason::NumberOutOfRange,
        MalformedReason::MissingField,
        MalformedReason::WrongType,
        MalformedReason::BadId,
        MalformedReason::BadTime,
        MalformedReason::BadPropensity,
        MalformedReason::BadCandidates,
        MalformedReason::WrongDimension,
        MalformedReason::UnknownKind,
        MalformedReason::UnknownFeedback,
        MalformedReason::TooManyEvents,
    ];

    pub fn name(self) -> &'static str {
        match self {
            MalformedReason::TooLarge => "too_large",
            MalformedReason::NotUtf8 => "not_utf8",
            MalformedReason::NotJson => "not_json",
            MalformedReason::DuplicateKey => "duplicate_key",
            MalformedReason::TooDeep => "too_deep",
            MalformedReason::NumberOutOfRange => "number_out_of_range",
            MalformedReason::MissingField => "missing_field",
            MalformedReason::WrongType => "wrong_type",
            MalformedReason::BadId => "bad_id",
            MalformedReason::BadTime => "bad_time",
            MalformedReason::BadPropensity => "bad_propensity",
            MalformedReason::BadCandidates => "bad_candidates",
            MalformedReason::WrongDimension => "wrong_dimension",
            MalformedReason::UnknownKind => "unknown_kind",
            MalformedReason::UnknownFeedback => "unknown_feedback",
            MalformedReason::TooManyEvents => "too_many_events",
        }
    }
}

impl Malformed {
    pub(super) fn document(reason: MalformedReason, detail: impl Into<String>) -> Malformed {
        Malformed { reason, field: None, detail: detail.into() }
    }

    pub(super) fn field(reason: MalformedReason, field: &'static str, detail: impl Into<String>) -> Malformed {
        Malformed { reason, field: Some(field), detail: detail.into() }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            Some(field) => write!(f, "{}: {field}: {}", self.reason.name(), self.detail),
            None => write!(f, "{}: {}", self.reason.name(), self.detail),
        }
    }
}
