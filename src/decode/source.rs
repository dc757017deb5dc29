//! How settings name a place in a record: short forms (a string) and long forms (a table) of the same thing.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Where one field comes from: `"/a/b"`, or `{ pointer = "/a/b", default = 0 }`, or `{ const = "x" }`.
///
/// A pointer that starts with `/` begins at the record, one that starts with `./` at the element of `each`; `.` is the
/// element itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Source {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    #[serde(rename = "const", skip_serializing_if = "Option::is_none")]
    pub constant: Option<Literal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Literal>,
}

/// Some context features: a number, a boolean, an array of them, or named members of an object.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ContextSource {
    pub pointer: String,
    /// Members of the object at `pointer`, in the order of the features.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Instead of a number that is absent or null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<f64>,
}

/// A value written in the settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Literal {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

/// `x` or `[x, y]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> OneOrMany<T> {
        OneOrMany(Vec::new())
    }
}

/// A setting with a table as its long form and a scalar as its short one.
pub(super) trait Shorthand: Sized {
    type Table: DeserializeOwned;
    const EXPECTED: &'static str;
    fn from_table(table: Self::Table) -> Self;
    fn from_text(_text: &str) -> Option<Self> {
        None
    }
    fn from_number(_number: f64) -> Option<Self> {
        None
    }
}

/// Unlike an untagged enum, this keeps the message of the table's own error ("unknown field `ponter`").
pub(super) fn shorthand<'de, D: Deserializer<'de>, T: Shorthand>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(ShorthandVisitor(PhantomData))
}

struct ShorthandVisitor<T>(PhantomData<T>);

impl<'de, T: Shorthand> Visitor<'de> for ShorthandVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_type(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        T::from_number(number).ok_or_else(|| E::invalid_type(serde::de::Unexpected::Float(number), &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::Table::deserialize(MapAccessDeserializer::new(map)).map(T::from_table)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceTable {
    pointer: Option<String>,
    #[serde(rename = "const")]
    constant: Option<Literal>,
    default: Option<Literal>,
}

impl Shorthand for Source {
    type Table = SourceTable;
    const EXPECTED: &'static str =
        r#"a JSON Pointer such as "/user/id", { pointer = .., default = .. } or { const = .. }"#;

    fn from_table(table: SourceTable) -> Source {
        Source { pointer: table.pointer, constant: table.constant, default: table.default }
    }

    fn from_text(text: &str) -> Option<Source> {
        Some(Source::at(text))
    }
}

impl Source {
    pub fn at(pointer: &str) -> Source {
        Source { pointer: Some(pointer.to_owned()), constant: None, default: None }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContextTable {
    pointer: String,
    #[serde(default)]
    keys: Vec<String>,
    default: Option<f64>,
}

impl Shorthand for ContextSource {
    type Table = ContextTable;
    const EXPECTED: &'static str =
        r#"a JSON Pointer such as "/features" or { pointer = .., keys = [..], default = .. }"#;

    fn from_table(table: ContextTable) -> ContextSource {
        ContextSource { pointer: table.pointer, keys: table.keys, default: table.default }
    }

    fn from_text(text: &str) -> Option<ContextSource> {
        Some(ContextSource { pointer: text.to_owned(), keys: Vec::new(), default: None })
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Source, D::Error> {
        shorthand(deserializer)
    }
}

impl<'de> Deserialize<'de> for ContextSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ContextSource, D::Error> {
        shorthand(deserializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany<T>, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

struct OneOrManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON Pointer or a list of them")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany<T>, E> {
        T::deserialize(StrDeserializer::new(text)).map(|one| OneOrMany(vec![one]))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMany(vec![one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<OneOrMany<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany)
    }
}
