//! Have we seen this string before? Exact, without allocation for the few keys that objects usually have, and never
//! quadratic for the many that a hostile one has.

use std::borrow::Cow;
use std::collections::HashSet;

const NEAR: usize = 16;

/// A set of strings that only grows.
pub(super) struct Seen<'de> {
    near: [&'de str; NEAR],
    count: usize,
    /// One bit for each kind of string seen: a clear bit proves that a string is new without comparing it.
    bits: u64,
    /// What does not fit in `near`: strings written with escapes, and all after the first few.
    far: Option<HashSet<Cow<'de, str>>>,
}

impl<'de> Seen<'de> {
    pub fn new() -> Seen<'de> {
        Seen { near: [""; NEAR], count: 0, bits: 0, far: None }
    }

    /// False if it was there already.
    pub fn insert(&mut self, text: Cow<'de, str>) -> bool {
        let bit = bit_of(text.as_bytes());
        let maybe_seen = self.bits & bit != 0;
        self.bits |= bit;
        if maybe_seen && self.contains(&text) {
            return false;
        }
        match (text, self.near.get_mut(self.count)) {
            (Cow::Borrowed(text), Some(free)) => {
                *free = text;
                self.count += 1;
                true
            }
            (text, _) => self.far.get_or_insert_default().insert(text),
        }
    }

    fn contains(&self, text: &str) -> bool {
        self.near[..self.count].contains(&text) || self.far.as_ref().is_some_and(|far| far.contains(text))
    }
}

/// One of 64 bits. Length, first and last byte tell the keys of one object apart best: `user_id`, `item_id`, `u1`, `u2`.
pub(super) fn bit_of(bytes: &[u8]) -> u64 {
    let first = bytes.first().copied().unwrap_or_default();
    let last = bytes.last().copied().unwrap_or_default();
    let mixed = (bytes.len() as u32).wrapping_mul(31) ^ u32::from(last).wrapping_mul(7) ^ u32::from(first);
    1 << (mixed % 64)
}
