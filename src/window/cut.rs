//! Where a window is cut: the level that was asked for, and the threshold, the atom and the weights that answer it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Score;

/// A tail mass in [0, 1], held as a count of 2^-32 so that masses add up exactly. The 1 itself fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Level(u64);

/// A fixed-point number over 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a level is at most 1")]
pub struct AboveOne;

/// The cut of a window at a level: all above the threshold is kept, and of the scores that equal it (the atom) the
/// share that makes the kept mass equal to `level * len`.
///
/// This is the optimum of max E_Q\[R\] subject to dQ/dP <= 1/level: density 1/level above the threshold,
/// `atom_share`/level on it, 0 below.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Nearest-rank (1 - level)-quantile: a score that really occurred.
    pub threshold: Score,
    /// (level * len - above) / equal, in [0, 1]; rounded once, from exact integers.
    pub atom_share: f64,
    /// How many scores of the window are greater than the threshold.
    pub above: u64,
    /// How many equal it, at least 1.
    pub equal: u64,
    pub len: u64,
    pub level: Level,
}

impl Level {
    pub const ZERO: Level = Level(0);
    pub const ONE: Level = Level(1 << 32);

    /// The nearest level; what lies outside [0, 1] is clamped, and NaN is 0.
    pub fn new(mass: f64) -> Level {
        // `as` saturates and takes NaN to 0.
        Level((mass.clamp(0.0, 1.0) * Level::ONE.0 as f64).round() as u64)
    }

    /// `units` of 2^-32; more than 1 is clamped.
    pub fn from_fixed(units: u64) -> Level {
        Level(units.min(Level::ONE.0))
    }

    /// The level as a count of 2^-32.
    pub fn fixed(self) -> u64 {
        self.0
    }

    /// Exact.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / Level::ONE.0 as f64
    }

    /// `level * len` as a count of 2^-32. Fits as long as `len` is below 2^32.
    pub(super) fn mass(self, len: u64) -> u64 {
        self.0 * len
    }

    /// Rank of the threshold among `len > 0` scores, counted from the greatest (1).
    ///
    /// The nearest rank of the (1 - level)-quantile is ceil((1 - level) len) from the least, which is this from the
    /// greatest; at level 1 the least score.
    pub(super) fn rank(self, len: u64) -> u64 {
        ((self.mass(len) >> 32) + 1).min(len)
    }
}

impl TryFrom<u64> for Level {
    type Error = AboveOne;

    fn try_from(units: u64) -> Result<Level, AboveOne> {
        if units <= Level::ONE.0 { Ok(Level(units)) } else { Err(AboveOne) }
    }
}

impl From<Level> for u64 {
    fn from(level: Level) -> u64 {
        level.0
    }
}

impl Cut {
    pub(super) fn new(level: Level, len: u64, threshold: Score, above: u64, equal: u64) -> Cut {
        let atom_units = level.mass(len) - (above << 32);
        let atom_share = atom_units as f64 / (equal << 32) as f64;
        Cut { threshold, atom_share, above, equal, len, level }
    }

    /// 1 above the threshold, the atom's share on it, 0 below.
    pub fn weight(&self, score: Score) -> f64 {
        match score.cmp(&self.threshold) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => self.atom_share,
            std::cmp::Ordering::Less => 0.0,
        }
    }

    /// The weight as an exact integer, in units of [`Cut::weight_unit`]. Over the window's own content these sum to
    /// `equal * level * len`, with the level in units of 2^-32: `level * len` to the last bit.
    pub fn weight_units(&self, score: Score) -> u128 {
        match score.cmp(&self.threshold) {
            std::cmp::Ordering::Greater => u128::from(self.equal) << 32,
            std::cmp::Ordering::Equal => u128::from(self.atom_units()),
            std::cmp::Ordering::Less => 0,
        }
    }

    /// How many units make a weight of 1.
    pub fn weight_unit(&self) -> u128 {
        u128::from(self.equal) << 32
    }

    /// Mass of the atom that is kept, as a count of 2^-32.
    pub(super) fn atom_units(&self) -> u64 {
        self.level.mass(self.len) - (self.above << 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_clamped_and_rounded_to_the_nearest() {
        assert_eq!(Level::new(1.0), Level::ONE);
        assert_eq!(Level::new(7.0), Level::ONE);
        assert_eq!(Level::new(-0.1), Level::ZERO);
        assert_eq!(Level::new(f64::NAN), Level::ZERO);
        assert_eq!(Level::new(0.5).fixed(), 1 << 31);
        assert_eq!(Level::new(0.1).fixed(), 429_496_730);
        assert_eq!(Level::from_fixed(u64::MAX), Level::ONE);
        assert_eq!(Level::new(0.25).to_f64(), 0.25);
        let bytes = postcard::to_stdvec(&(Level::ONE.fixed() + 1)).unwrap();
        assert!(postcard::from_bytes::<Level>(&bytes).is_err());
    }

    #[test]
    fn the_rank_is_the_nearest_rank_of_the_quantile() {
        // ceil((1 - level) len) from the least, in exact integers.
        for len in 1..200_u64 {
            for level in [0, 1, 1 << 20, 429_496_730, 1 << 30, 1 << 31, 3 << 30, (1 << 32) - 1, 1 << 32] {
                let from_least = (((1_u64 << 32) - level) * len).div_ceil(1 << 32).max(1);
                assert_eq!(Level(level).rank(len), len + 1 - from_least, "level {level}, len {len}");
            }
        }
    }
}
