//! Exact sums over the upper tail of the window.
//!
//! A running floating-point sum keeps the rounding errors of every outlier that ever passed. Here each score enters
//! and leaves as the integer that its bits are: `f32` has 277 bits of range, its square 554, and both are spread over
//! digits of 32 bits. A digit is an `i64` that holds the plain sum of what was put at its place, without carrying: with
//! at most 2^31 elements it cannot overflow, and what is taken out is exactly what was put in.

use super::cut::Cut;
use super::score::{Key, Score};

/// The kept mass of a [`Cut`] and its moments: every score above the threshold once, those on it by the atom's share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tail {
    /// Scores above the threshold.
    pub above: u64,
    /// level * len: the scores above plus the kept share of the atom. Greater than 0.
    pub mass: f64,
    /// Mean score of that mass: the upper conditional value at risk.
    pub mean: f64,
    /// Mean squared score of that mass. The variance `second_moment - mean^2` cancels where the spread is small.
    pub second_moment: f64,
}

/// The sums over all elements of the window whose key is greater than `floor`.
#[derive(Debug, Clone)]
pub(super) struct TailSums {
    pub(super) floor: Key,
    sum: [i64; SUM_DIGITS],
    squares: [i64; SQUARE_DIGITS],
}

const SUM_DIGITS: usize = 9;
const SQUARE_DIGITS: usize = 18;
/// Room for the atom's share and for carries while the sums are read.
const READ_DIGITS: usize = SQUARE_DIGITS + 4;
/// The last bit of the last digit: the least `f32`, and its square.
const SUM_UNIT: i32 = -149;
const SQUARE_UNIT: i32 = -298;

/// The integer that a score is: +-significand * 2^(exponent - 149).
struct Parts {
    negative: bool,
    significand: u64,
    exponent: usize,
}

impl TailSums {
    pub(super) fn empty(floor: Key) -> TailSums {
        TailSums { floor, sum: [0; SUM_DIGITS], squares: [0; SQUARE_DIGITS] }
    }

    pub(super) fn over(keys: impl Iterator<Item = Key>, floor: Key) -> TailSums {
        let mut sums = TailSums::empty(floor);
        keys.for_each(|key| sums.insert(key));
        sums
    }

    #[inline]
    pub(super) fn insert(&mut self, key: Key) {
        if key > self.floor {
            self.add(key, 1);
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, key: Key) {
        if key > self.floor {
            self.add(key, -1);
        }
    }

    /// Adds the score of this key `count` times; a negative count takes it out.
    pub(super) fn add(&mut self, key: Key, count: i64) {
        let parts = Parts::of(Score::from_own_key(key));
        let signed_count = if parts.negative { -count } else { count };
        let [low, high, _] = parts.digits();
        // Wrapping: the digits of the *content* fit; that they did at every moment between is of no concern.
        let at = parts.exponent / 32;
        self.sum[at] = self.sum[at].wrapping_add(low.wrapping_mul(signed_count));
        self.sum[at + 1] = self.sum[at + 1].wrapping_add(high.wrapping_mul(signed_count));
        let at = parts.exponent / 16;
        for (digit, part) in self.squares[at..at + 3].iter_mut().zip(parts.square_digits()) {
            *digit = digit.wrapping_add(part.wrapping_mul(count));
        }
    }

    /// `None` when the kept mass is 0. `self.floor` must be the threshold of the cut.
    pub(super) fn read(&self, cut: &Cut) -> Option<Tail> {
        let mass_units = cut.level.mass(cut.len);
        if mass_units == 0 {
            return None;
        }
        // Everything is scaled by 2^32, one digit, so that the atom's share is an integer too.
        let atom_units = i128::from(cut.atom_units());
        let atom = Parts::of(cut.threshold);
        let signed_units = if atom.negative { -atom_units } else { atom_units };
        let sum = weigh(&self.sum, atom.exponent / 32, atom.digits(), signed_units);
        let squares = weigh(&self.squares, atom.exponent / 16, atom.square_digits(), atom_units);
        Some(Tail {
            above: cut.above,
            mass: mass_units as f64 * power_of_two(-32),
            mean: rounded(&sum, SUM_UNIT) / mass_units as f64,
            second_moment: rounded(&squares, SQUARE_UNIT) / mass_units as f64,
        })
    }
}

impl Parts {
    #[inline]
    fn of(score: Score) -> Parts {
        let bits = score.value().to_bits();
        let exponent = (bits >> 23 & 0xff) as usize;
        let fraction = u64::from(bits & 0x7f_ffff);
        let (significand, exponent) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 23, exponent - 1) };
        Parts { negative: bits >> 31 == 1, significand, exponent }
    }

    /// The significand at its place within the digit `exponent / 32`.
    #[inline]
    fn digits(&self) -> [i64; 3] {
        split(u128::from(self.significand << (self.exponent % 32)))
    }

    /// Its square, at its place within the digit `exponent / 16`.
    #[inline]
    fn square_digits(&self) -> [i64; 3] {
        split(u128::from(self.significand * self.significand) << (2 * (self.exponent % 16)))
    }
}

#[inline]
fn split(number: u128) -> [i64; 3] {
    [number as u32, (number >> 32) as u32, (number >> 64) as u32].map(i64::from)
}

/// `sum * 2^32 + atom * units`, as unnormalized digits of 32 bits.
fn weigh(sum: &[i64], atom_at: usize, atom: [i64; 3], units: i128) -> [i128; READ_DIGITS] {
    let mut digits = [0; READ_DIGITS];
    for (digit, &part) in digits[1..].iter_mut().zip(sum) {
        *digit = i128::from(part);
    }
    for (digit, part) in digits[atom_at..].iter_mut().zip(atom) {
        *digit += i128::from(part) * units;
    }
    digits
}

/// The number that these digits are, in units of 2^`unit`, rounded to nearest once.
fn rounded(digits: &[i128; READ_DIGITS], unit: i32) -> f64 {
    let (carried, negative) = match carry(*digits) {
        (carried, 0) => (carried, false),
        _ => (carry(digits.map(|digit| -digit)).0, true),
    };
    let Some(top) = carried.iter().rposition(|&digit| digit != 0) else { return 0.0 };
    let digit = |below: usize| top.checked_sub(below).map_or(0, |at| carried[at].unsigned_abs());
    // 65 to 96 leading bits; whatever is below them can only break a tie, so one sticky bit stands for it.
    let sticky = carried[..top.saturating_sub(2)].iter().any(|&digit| digit != 0);
    let leading = digit(0) << 64 | digit(1) << 32 | digit(2) | u128::from(sticky);
    let magnitude = leading as f64 * power_of_two(32 * (top as i32 - 2) + unit);
    if negative { -magnitude } else { magnitude }
}

/// Digits in [0, 2^32), and what is left over: 0, or -1 for a negative number.
fn carry(mut digits: [i128; READ_DIGITS]) -> ([i128; READ_DIGITS], i128) {
    let mut over = 0;
    for digit in &mut digits {
        let total = *digit + over;
        *digit = total & 0xffff_ffff;
        over = total >> 32;
    }
    (digits, over)
}

/// Exact for the normal exponents, and all that occur here are.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Level;

    fn key(value: f32) -> Key {
        Score::new(value).unwrap().key()
    }

    /// The tail of `values` at level 1 when the threshold is their least.
    fn whole(sums: &TailSums, values: &[f32]) -> Tail {
        let threshold = Score::from_own_key(sums.floor);
        let equal = values.iter().filter(|&&value| value == threshold.value()).count() as u64;
        let len = values.len() as u64;
        sums.read(&Cut::new(Level::ONE, len, threshold, len - equal, equal)).unwrap()
    }

    #[test]
    fn an_outlier_that_passed_leaves_nothing_behind() {
        let values = [0.1_f32, 0.2, 0.3, -7.0];
        let mut sums = TailSums::over(values.iter().map(|&value| key(value)), key(-7.0));
        let before = whole(&sums, &values);
        for outlier in [1e17, f32::MAX, 1e-45] {
            sums.insert(key(outlier));
            sums.remove(key(outlier));
        }
        assert_eq!(whole(&sums, &values), before);
        let exact: f64 = values.iter().map(|&value| f64::from(value)).sum();
        assert!((before.mean - exact / 4.0).abs() < 1e-15);
    }

    #[test]
    fn cancelled_extremes_leave_the_small_remainder() {
        let values = [f32::MIN, f32::MAX, 3.0, 1e-45];
        let sums = TailSums::over(values.iter().map(|&value| key(value)), key(f32::MIN));
        assert_eq!(whole(&sums, &values).mean, 0.75);
        let values = [f32::MIN, f32::MAX, -1e-45, 0.0];
        let sums = TailSums::over(values.iter().map(|&value| key(value)), key(f32::MIN));
        assert_eq!(whole(&sums, &values).mean, -f64::from(1e-45_f32) / 4.0);
    }

    #[test]
    fn many_of_the_greatest_do_not_overflow() {
        let count = 1_u64 << 30;
        let mut sums = TailSums::empty(key(0.0));
        sums.add(key(f32::MAX), count as i64);
        let tail = sums.read(&Cut::new(Level::ONE, count + 1, Score::ZERO, count, 1)).unwrap();
        let share = count as f64 / (count + 1) as f64;
        let max = f64::from(f32::MAX);
        assert!((tail.mean / (max * share) - 1.0).abs() < 1e-15);
        assert!((tail.second_moment / (max * max * share) - 1.0).abs() < 1e-15);
    }
}
