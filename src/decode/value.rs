//! From a found value to an id, a number, a word: what is accepted as what, and what the refusal says.

use std::borrow::Cow;

use super::field::{Field, Origin};
use super::malformed::{Malformed, MalformedReason};
use super::plan::Scope;
use super::read::{Element, Reader};
use super::scan::Found;
use crate::event::Fingerprint;

/// Up to here every integer is one double: an id beyond it may have lost digits before we saw it.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

impl<'s, 'de> Reader<'s, 'de> {
    /// What the document has for a field, or else the field's default.
    pub fn find(&self, field: &'s Field, element: Element) -> &'s Found<'de> {
        let found = match &field.origin {
            Origin::Constant(found) => return found,
            Origin::Slot { scope: Scope::Record, index, .. } => self.scan.slots.get(*index),
            Origin::Slot { scope: Scope::Element, index, .. } => {
                let base = self.plan.slots(Scope::Record) + element * self.plan.slots(Scope::Element);
                self.scan.slots.get(base + index)
            }
        };
        match found {
            Some(Found::Absent | Found::Null) | None if field.default != Found::Absent => &field.default,
            Some(found) => found,
            None => &Found::Absent,
        }
    }

    pub fn required(&self, field: &'s Field, element: Element) -> Result<&'s Found<'de>, Malformed> {
        match self.find(field, element) {
            found @ (Found::Absent | Found::Null) => {
                let detail = match &field.origin {
                    Origin::Slot { pointer, .. } => format!("there is {} at {pointer}", found.name()),
                    Origin::Constant(_) => "its constant is null".to_owned(),
                };
                Err(Malformed::field(MalformedReason::MissingField, field.name, detail))
            }
            found => Ok(found),
        }
    }

    pub fn id(&self, field: &'s Field, element: Element) -> Result<Cow<'s, str>, Malformed> {
        self.id_of(field, self.required(field, element)?)
    }

    pub fn optional_id(&self, field: Option<&'s Field>, element: Element) -> Result<Option<Cow<'s, str>>, Malformed> {
        let Some(field) = field else { return Ok(None) };
        match self.find(field, element) {
            Found::Absent | Found::Null => Ok(None),
            found => self.id_of(field, found).map(Some),
        }
    }

    /// Strings as they are. Numbers in their shortest decimal form, so that 18, 18.0 and 1.8e1 are one id, also that of
    /// the string "18".
    pub fn id_of(&self, field: &Field, found: &'s Found<'de>) -> Result<Cow<'s, str>, Malformed> {
        let id = match found {
            Found::Text(text) => Cow::Borrowed(&**text),
            Found::Unsigned(number) => Cow::Owned(number.to_string()),
            Found::Signed(number) => Cow::Owned(number.to_string()),
            Found::Float(number) if number.abs() < EXACT_MAX => Cow::Owned(decimal(*number)),
            Found::Float(_) => {
                let detail = "a number with so many digits is not kept exactly: write such ids as strings";
                return Err(Malformed::field(MalformedReason::BadId, field.name, detail));
            }
            found => return Err(wrong_type(field, "a string or a number", found)),
        };
        if id.is_empty() || id.len() > self.limits.id_bytes as usize {
            let detail = match id.len() {
                0 => "it is empty".to_owned(),
                bytes => format!("{bytes} bytes are more than mapping.limits.id_bytes = {}", self.limits.id_bytes),
            };
            return Err(Malformed::field(MalformedReason::BadId, field.name, detail));
        }
        Ok(id)
    }

    /// A word by which records or feedback are told apart. Booleans serve too: `"clicked": true`.
    pub fn word(&self, field: &'s Field) -> Result<Cow<'s, str>, Malformed> {
        match self.required(field, 0)? {
            Found::Boolean(boolean) => Ok(Cow::Borrowed(if *boolean { "true" } else { "false" })),
            found => self.id_of(field, found),
        }
    }

    pub fn number(&self, field: &'s Field, element: Element) -> Result<f64, Malformed> {
        let found = self.required(field, element)?;
        found.number().ok_or_else(|| wrong_type(field, "a number", found))
    }

    pub fn optional_number(&self, field: Option<&'s Field>, element: Element) -> Result<Option<f64>, Malformed> {
        let Some(field) = field else { return Ok(None) };
        match self.find(field, element) {
            Found::Absent | Found::Null => Ok(None),
            found => found.number().map(Some).ok_or_else(|| wrong_type(field, "a number", found)),
        }
    }
}

/// `-0` is zero; the shortest digits that read back to the same double otherwise.
fn decimal(number: f64) -> String {
    (number + 0.0).to_string()
}

/// Each part with its length before it, so that no two lists of parts join to the same id.
pub(super) fn joined(parts: &[Cow<'_, str>]) -> Fingerprint {
    let mut text = String::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        text.push_str(&part.len().to_string());
        text.push(':');
        text.push_str(part);
    }
    Fingerprint::of(&text)
}

pub(super) fn wrong_type(field: &Field, expected: &str, found: &Found<'_>) -> Malformed {
    let detail = format!("expected {expected}, found {}", found.name());
    Malformed::field(MalformedReason::WrongType, field.name, detail)
}

pub(super) fn check_dimension(field: &'static str, numbers: &[f32], expected: usize) -> Result<(), Malformed> {
    if numbers.len() == expected {
        return Ok(());
    }
    let detail = format!("{} numbers, but mapping.{field}_dimension is {expected}", numbers.len());
    Err(Malformed::field(MalformedReason::WrongDimension, field, detail))
}

pub(super) fn outside_of_time(field: &'static str, millis: i64) -> Malformed {
    let detail = format!("{millis} ms since 1970 is outside the years 2000 to 2099: is it another unit?");
    Malformed::field(MalformedReason::BadTime, field, detail)
}

pub(super) fn not_a_time(text: &str, error: &jiff::Error) -> String {
    format!("{:?} is not RFC 3339: {error}", short(text))
}

/// Enough of a word to recognize it.
pub(super) fn short(text: &str) -> &str {
    const BYTES_MAX: usize = 40;
    &text[..text.floor_char_boundary(BYTES_MAX)]
}
