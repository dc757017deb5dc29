//! A refused record as one JSON line, from which the record can be made again byte by byte.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::malformed::{Malformed, MalformedReason};
use crate::position::{Offset, Partition};

/// The record with its provenance (`schemas/dead-letter.v1.schema.json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    pub reason: MalformedReason,
    pub field: Option<String>,
    pub detail: String,
    pub topic: String,
    pub partition: Partition,
    pub offset: Offset,
    /// The record's own time in milliseconds.
    pub timestamp: Option<i64>,
    pub key: Option<Bytes>,
    pub headers: Vec<Header>,
    /// `None` for a record without a value.
    pub value: Option<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub name: String,
    pub value: Option<Bytes>,
}

/// Bytes that come back as they were: written as a string when they are UTF-8, otherwise as `{"base64": ".."}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl DeadLetter {
    /// `topic` is the file's name for records from files.
    pub fn new(malformed: Malformed, topic: &str, partition: Partition, offset: Offset) -> DeadLetter {
        let Malformed { reason, field, detail } = malformed;
        DeadLetter {
            reason,
            field: field.map(str::to_owned),
            detail,
            topic: topic.to_owned(),
            partition,
            offset,
            timestamp: None,
            key: None,
            headers: Vec::new(),
            value: None,
        }
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Bytes {
        Bytes(bytes.to_vec())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &STANDARD.encode(&self.0))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        deserializer.deserialize_any(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a string or {"base64": ".."}"#)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
        Ok(Bytes(text.as_bytes().to_vec()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bytes, A::Error> {
        let Some((key, text)) = map.next_entry::<String, String>()? else {
            return Err(A::Error::missing_field("base64"));
        };
        if key != "base64" || map.next_key::<String>()?.is_some() {
            return Err(A::Error::custom("expected the one member \"base64\""));
        }
        STANDARD.decode(text).map(Bytes).map_err(A::Error::custom)
    }
}
