//! One number that the window can order: a finite `f32`, and the integer key by which it is stored and compared.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What the filter compares. Finite, and never `-0.0`, so that the order is total and equal scores have equal bits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f32", into = "f32")]
pub struct Score(f32);

/// A number that is not a [`Score`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a score must be a finite number")]
pub struct NotFinite;

/// A score as an integer of the same order: flip the sign bit of what is positive, all bits of what is negative.
pub(super) type Key = u32;

const SIGN: u32 = 1 << 31;

impl Score {
    pub const ZERO: Score = Score(0.0);
    pub const MIN: Score = Score(f32::MIN);
    pub const MAX: Score = Score(f32::MAX);

    /// `None` for NaN and the infinities. `-0.0` becomes `0.0`: they are the same score.
    pub fn new(value: f32) -> Option<Score> {
        // IEEE 754: -0.0 + 0.0 is 0.0, and nothing else changes.
        value.is_finite().then_some(Score(value + 0.0))
    }

    pub fn value(self) -> f32 {
        self.0
    }

    pub(super) fn key(self) -> Key {
        let bits = self.0.to_bits();
        if bits & SIGN == 0 { bits | SIGN } else { !bits }
    }

    /// `None` for a key that no score has: outside data.
    pub(super) fn from_key(key: Key) -> Option<Score> {
        let value = f32::from_bits(if key & SIGN == 0 { !key } else { key ^ SIGN });
        Score::new(value).filter(|score| score.key() == key)
    }

    /// For a key that [`Score::key`] made.
    pub(super) fn from_own_key(key: Key) -> Score {
        Score(f32::from_bits(if key & SIGN == 0 { !key } else { key ^ SIGN }))
    }
}

impl Eq for Score {}

impl Hash for Score {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Score) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Score) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TryFrom<f32> for Score {
    type Error = NotFinite;

    fn try_from(value: f32) -> Result<Score, NotFinite> {
        Score::new(value).ok_or(NotFinite)
    }
}

impl From<Score> for f32 {
    fn from(score: Score) -> f32 {
        score.0
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWKWARD: [f32; 9] =
        [f32::MIN, -1.0, -f32::MIN_POSITIVE, -1e-45, 0.0, 1e-45, f32::MIN_POSITIVE, 1.0, f32::MAX];

    #[test]
    fn keys_keep_the_order_and_read_back() {
        for (left, &a) in AWKWARD.iter().enumerate() {
            for (right, &b) in AWKWARD.iter().enumerate() {
                let (a, b) = (Score::new(a).unwrap(), Score::new(b).unwrap());
                assert_eq!(a.cmp(&b), left.cmp(&right));
                assert_eq!(a.key().cmp(&b.key()), left.cmp(&right));
            }
            let score = Score::new(a).unwrap();
            assert_eq!(Score::from_key(score.key()), Some(score));
            assert_eq!(Score::from_own_key(score.key()), score);
        }
    }

    #[test]
    fn minus_zero_is_zero() {
        let zero = Score::new(-0.0).unwrap();
        assert_eq!(zero.value().to_bits(), 0);
        assert_eq!(zero, Score::ZERO);
        // The key that -0.0 itself would have belongs to no score.
        assert_eq!(Score::from_key(!SIGN), None);
    }

    #[test]
    fn what_is_not_finite_is_no_score() {
        for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(Score::new(value), None);
            let bits = value.to_bits();
            assert_eq!(Score::from_key(if bits & SIGN == 0 { bits | SIGN } else { !bits }), None);
            let bytes = postcard::to_stdvec(&value).unwrap();
            assert!(postcard::from_bytes::<Score>(&bytes).is_err());
        }
    }
}
