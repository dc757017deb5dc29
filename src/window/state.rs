//! A window as it is kept in a checkpoint: its scores in order, and their times if there is an age limit. Nothing else:
//! every answer is a function of these and the level.
//!
//! ```text
//! keys   byte string   the key of each score as 4 bytes, little-endian, oldest first
//! times  option        count, then a variable-length integer per score: the first time (zigzag), then the steps
//! ```

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::ring::Ring;
use super::score::{Key, Score};

/// The content of a window at one moment. Taking one shares the window's chunks, so it costs microseconds and no lock.
/// Equal content is equal bytes. What was decoded is not to be trusted before `Window::restore` has looked at it.
#[derive(Clone, Serialize, Deserialize)]
pub struct WindowState {
    #[serde(with = "key_bytes")]
    pub(super) keys: Ring<Key>,
    #[serde(with = "time_steps")]
    pub(super) times: Option<Ring<i64>>,
}

/// Why a stored window cannot be taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RottenWindow {
    #[error("element {0} of the stored window is not a finite score")]
    NotAScore(usize),
    #[error("the stored window has {scores} scores but {times} times")]
    Uneven { scores: usize, times: usize },
    #[error("the stored window has no times, so no age limit can be set on it")]
    TimesMissing,
    #[error("the stored window has more elements than a window can hold")]
    TooLong,
}

impl WindowState {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.len() == 0
    }

    /// Oldest first; `None` in place of a number that is no score (outside data).
    pub fn scores(&self) -> impl Iterator<Item = Option<Score>> + '_ {
        self.keys.iter().map(Score::from_key)
    }
}

impl PartialEq for WindowState {
    fn eq(&self, other: &WindowState) -> bool {
        let times = match (&self.times, &other.times) {
            (Some(left), Some(right)) => left.iter().eq(right.iter()),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        times && self.keys.iter().eq(other.keys.iter())
    }
}

impl fmt::Debug for WindowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowState").field("len", &self.len()).field("times", &self.times.is_some()).finish()
    }
}

mod key_bytes {
    use super::*;

    pub(super) fn serialize<S: Serializer>(keys: &Ring<Key>, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(keys.len() * size_of::<Key>());
        keys.iter().for_each(|key| bytes.extend_from_slice(&key.to_le_bytes()));
        serializer.serialize_bytes(&bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ring<Key>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Ring<Key>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string of 4-byte keys")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Ring<Key>, E> {
                let (keys, rest) = bytes.as_chunks();
                if !rest.is_empty() {
                    return Err(E::invalid_length(bytes.len(), &self));
                }
                Ok(keys.iter().map(|&key| Key::from_le_bytes(key)).collect())
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

mod time_steps {
    use super::*;

    pub(super) fn serialize<S: Serializer>(times: &Option<Ring<i64>>, serializer: S) -> Result<S::Ok, S::Error> {
        struct Steps<'a>(&'a Ring<i64>);
        impl Serialize for Steps<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut sequence = serializer.serialize_seq(Some(self.0.len()))?;
                let mut previous = None;
                for time in self.0.iter() {
                    match previous {
                        None => sequence.serialize_element(&time)?,
                        // The times of a window never go back; the step between two i64 fits u64.
                        Some(previous) => sequence.serialize_element(&time.abs_diff(previous))?,
                    }
                    previous = Some(time);
                }
                sequence.end()
            }
        }
        times.as_ref().map(Steps).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Ring<i64>>, D::Error> {
        struct Times(Ring<i64>);
        impl<'de> Deserialize<'de> for Times {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Times, D::Error> {
                deserializer.deserialize_seq(Steps).map(Times)
            }
        }
        struct Steps;
        impl<'de> Visitor<'de> for Steps {
            type Value = Ring<i64>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time and the steps that follow it")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Ring<i64>, A::Error> {
                let mut times = Ring::new();
                let Some(mut time) = sequence.next_element::<i64>()? else { return Ok(times) };
                times.push(time);
                while let Some(step) = sequence.next_element::<u64>()? {
                    time = time.checked_add_unsigned(step).ok_or_else(|| A::Error::custom("event time overflows"))?;
                    times.push(time);
                }
                Ok(times)
            }
        }
        Ok(Option::<Times>::deserialize(deserializer)?.map(|times| times.0))
    }
}
