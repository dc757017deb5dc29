//! The threshold as a pivot that is carried along, inside a sorted band of the few elements that are near it in rank.
//!
//! An element outside the band costs two comparisons: is it above the pivot, is it in the band? Only what is inside is
//! sorted, in blocks. When the wanted rank moves (an element came, one went, the level changed), the pivot walks, and
//! leaps over whole blocks by their counts; when it would leave the band, the band is built anew (`pivot`).
//!
//! Invariants, as long as the band is not stale: the blocks hold exactly the elements of the window with a key in
//! [`low`, `high`], every entry once with its count; no block is empty; `at` is the entry of `threshold`, `equal` its
//! count, and `above` counts all elements of the window, banded or not, that are greater.

use std::collections::VecDeque;

use super::block::{BLOCK, Block, SPARSE};
use super::score::Key;

/// A place in the band: block, and entry of that block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    slot: usize,
    entry: usize,
}

/// A block with what must be known about it without a look inside.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    /// No key of the block is less; every key of the block before it is.
    pub(super) first: Key,
    /// Sum of its counts.
    pub(super) total: u64,
    pub(super) block: Box<Block>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Above,
    Below,
}

/// What a walk of the pivot came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walk {
    Found,
    /// The wanted rank is not in the band.
    Left(Side),
    /// The band knows nothing of the window any more.
    Stale,
}

#[derive(Debug, Clone)]
pub(super) struct Band {
    pub(super) threshold: Key,
    pub(super) above: u64,
    pub(super) equal: u64,
    pub(super) low: Key,
    pub(super) high: Key,
    stale: bool,
    at: Place,
    /// A deque: data that drift take blocks away at one end and add them at the other.
    slots: VecDeque<Slot>,
}

impl Band {
    /// The band of an empty window: it takes every key.
    pub(super) fn empty() -> Band {
        Band {
            threshold: 0,
            above: 0,
            equal: 0,
            low: Key::MIN,
            high: Key::MAX,
            stale: false,
            at: Place { slot: 0, entry: 0 },
            slots: VecDeque::new(),
        }
    }

    /// The band of a window whose content nobody has looked at.
    pub(super) fn stale() -> Band {
        // low > high: no key is inside.
        Band { stale: true, low: Key::MAX, high: Key::MIN, ..Band::empty() }
    }

    /// A band over [`low`, `high`] with its pivot at the greatest entry; `above` elements of the window are greater.
    /// Without blocks it is stale.
    pub(super) fn over(low: Key, high: Key, slots: Vec<Slot>, above: u64) -> Band {
        let mut band = Band { low, high, above, slots: slots.into(), ..Band::empty() };
        match band.slots.back() {
            Some(slot) => {
                band.at = Place { slot: band.slots.len() - 1, entry: slot.block.len() - 1 };
                band.settle();
                band.anchor();
            }
            None => band = Band::stale(),
        }
        band
    }

    #[inline]
    pub(super) fn insert(&mut self, key: Key) {
        // While the band is stale the count is wrong, and unused.
        self.above = self.above.wrapping_add(u64::from(key > self.threshold));
        if self.covers(key) {
            self.insert_inside(key);
        }
    }

    /// `key` must be in the window.
    #[inline]
    pub(super) fn remove(&mut self, key: Key) {
        self.above = self.above.wrapping_sub(u64::from(key > self.threshold));
        if self.covers(key) {
            self.remove_inside(key);
        }
    }

    /// Makes the element of `rank`, counted from the greatest (1), the pivot.
    #[inline]
    pub(super) fn seek(&mut self, rank: u64) -> Walk {
        if self.stale {
            return Walk::Stale;
        }
        if self.above >= rank {
            return self.walk_up(rank);
        }
        if self.above + self.equal < rank {
            return self.walk_down(rank);
        }
        Walk::Found
    }

    #[inline]
    pub(super) fn covers(&self, key: Key) -> bool {
        self.low <= key && key <= self.high
    }

    pub(super) fn blocks(&self) -> usize {
        self.slots.len()
    }

    /// Entries with a key in (`low`, `high`]; both must be inside the band.
    pub(super) fn between(&self, low: Key, high: Key) -> impl Iterator<Item = (Key, u32)> + '_ {
        let from = self.slot_of(low);
        self.slots
            .iter()
            .skip(from)
            .take_while(move |slot| slot.first <= high)
            .flat_map(|slot| slot.block.entries())
            .filter(move |&(key, _)| low < key && key <= high)
    }

    /// Lets go of the blocks farthest from the pivot; `keep` of them stay.
    pub(super) fn trim(&mut self, keep: usize) {
        let keep = keep.max(1);
        if self.slots.len() <= keep {
            return;
        }
        let from = self.at.slot.saturating_sub(keep / 2).min(self.slots.len() - keep);
        let to = from + keep;
        if to < self.slots.len() {
            self.slots.truncate(to);
            if let Some(&high) = self.slots.back().and_then(|slot| slot.block.keys().last()) {
                self.high = high;
            }
        }
        if from > 0 {
            self.slots.drain(..from);
            self.at.slot -= from;
            if let Some(&low) = self.slots.front().and_then(|slot| slot.block.keys().first()) {
                self.low = low;
            }
            self.anchor();
        }
        self.slots.shrink_to(2 * keep);
    }

    #[cold]
    fn walk_up(&mut self, rank: u64) -> Walk {
        let Place { mut slot, mut entry } = self.at;
        while self.above >= rank {
            entry += 1;
            if entry == self.slots[slot].block.len() {
                entry = 0;
                slot += 1;
                // A block that ends below the wanted rank is leapt over as a whole.
                while let Some(next) = self.slots.get(slot).filter(|next| self.above - next.total >= rank) {
                    self.above -= next.total;
                    slot += 1;
                }
                if slot == self.slots.len() {
                    *self = Band::stale();
                    return Walk::Left(Side::Above);
                }
            }
            self.above -= u64::from(self.slots[slot].block.count(entry));
        }
        self.at = Place { slot, entry };
        self.settle();
        Walk::Found
    }

    #[cold]
    fn walk_down(&mut self, rank: u64) -> Walk {
        let Place { mut slot, mut entry } = self.at;
        while self.above + self.equal < rank {
            self.above += self.equal;
            if entry == 0 {
                while slot > 0 && self.above + self.slots[slot - 1].total < rank {
                    slot -= 1;
                    self.above += self.slots[slot].total;
                }
                if slot == 0 {
                    *self = Band::stale();
                    return Walk::Left(Side::Below);
                }
                slot -= 1;
                entry = self.slots[slot].block.len();
            }
            entry -= 1;
            self.equal = u64::from(self.slots[slot].block.count(entry));
        }
        self.at = Place { slot, entry };
        self.settle();
        Walk::Found
    }

    fn insert_inside(&mut self, key: Key) {
        if key == self.threshold && self.equal > 0 {
            self.equal += 1;
            let slot = &mut self.slots[self.at.slot];
            slot.total += 1;
            *slot.block.count_mut(self.at.entry) += 1;
            return;
        }
        if self.slots.is_empty() {
            // Only the band of an empty window has no block: nothing is above its first element.
            let mut block = Box::new(Block::empty());
            block.insert(0, key, 1);
            self.slots.push_back(Slot { first: self.low, total: 1, block });
            self.above = 0;
            self.at = Place { slot: 0, entry: 0 };
            self.settle();
            return;
        }
        let mut slot = self.slot_of(key);
        if self.slots[slot].block.len() == BLOCK {
            self.split(slot);
            slot = self.slot_of(key);
        }
        let target = &mut self.slots[slot];
        target.total += 1;
        match target.block.find(key) {
            Ok(entry) => *target.block.count_mut(entry) += 1,
            Err(entry) => {
                target.block.insert(entry, key, 1);
                if self.at.slot == slot && entry <= self.at.entry {
                    self.at.entry += 1;
                }
            }
        }
    }

    fn remove_inside(&mut self, key: Key) {
        let at_pivot = key == self.threshold && self.equal > 0;
        let place = if at_pivot { Some(self.at) } else { self.place_of(key) };
        let Some(Place { slot, entry }) = place else {
            // The caller took out what was never in: build anew rather than answer from a broken count.
            *self = Band::stale();
            return;
        };
        let target = &mut self.slots[slot];
        target.total -= 1;
        let count = target.block.count_mut(entry);
        *count -= 1;
        let emptied = *count == 0;
        if at_pivot {
            self.equal -= 1;
        }
        if emptied {
            self.remove_entry(slot, entry);
        }
    }

    /// Takes out an entry whose count is 0; the pivot moves to a neighbor if it was there.
    fn remove_entry(&mut self, slot: usize, entry: usize) {
        self.slots[slot].block.remove(entry);
        let at_pivot = self.at == Place { slot, entry };
        if self.at.slot == slot && entry < self.at.entry {
            self.at.entry -= 1;
        }
        if self.slots[slot].block.len() == 0 {
            self.slots.remove(slot);
            if self.at.slot > slot {
                self.at.slot -= 1;
            }
            self.anchor();
        }
        if at_pivot {
            self.rehome();
        }
        if self.slots.get(slot).is_some_and(|sparse| sparse.block.len() < SPARSE) {
            self.join(slot);
        }
    }

    /// The pivot's own entry is gone: the next greater one, now in its place, becomes the pivot, or else the next less.
    fn rehome(&mut self) {
        if self.slots.is_empty() {
            *self = Band::stale();
            return;
        }
        if self.slots.get(self.at.slot).is_some_and(|slot| self.at.entry == slot.block.len()) {
            self.at = Place { slot: self.at.slot + 1, entry: 0 };
        }
        match self.slots.get(self.at.slot) {
            Some(slot) => self.above -= u64::from(slot.block.count(self.at.entry)),
            None => {
                let slot = self.slots.len() - 1;
                self.at = Place { slot, entry: self.slots[slot].block.len() - 1 };
            }
        }
        self.settle();
    }

    /// Reads threshold and count off the pivot's entry.
    fn settle(&mut self) {
        let block = &self.slots[self.at.slot].block;
        self.threshold = block.key(self.at.entry);
        self.equal = u64::from(block.count(self.at.entry));
    }

    fn split(&mut self, slot: usize) {
        // Data that only ever grow fill the last block at its end: leave that one full.
        let half = if slot + 1 == self.slots.len() { BLOCK * 3 / 4 } else { BLOCK / 2 };
        let lower = &mut self.slots[slot];
        let block = Box::new(lower.block.split_off(half));
        let total = block.total();
        lower.total -= total;
        if self.at.slot > slot {
            self.at.slot += 1;
        } else if self.at.slot == slot && self.at.entry >= half {
            self.at = Place { slot: slot + 1, entry: self.at.entry - half };
        }
        self.slots.insert(slot + 1, Slot { first: block.key(0), total, block });
    }

    /// Joins a sparse block with a neighbor, if both fit in one block with room to spare.
    fn join(&mut self, slot: usize) {
        let fits = |lower: usize| match (self.slots.get(lower), self.slots.get(lower + 1)) {
            (Some(lower), Some(upper)) => lower.block.len() + upper.block.len() <= BLOCK / 2,
            _ => false,
        };
        let Some(lower) = [Some(slot), slot.checked_sub(1)].into_iter().flatten().find(|&lower| fits(lower)) else {
            return;
        };
        let Some(upper) = self.slots.remove(lower + 1) else { return };
        let target = &mut self.slots[lower];
        let moved_by = target.block.len();
        target.block.append(&upper.block);
        target.total += upper.total;
        if self.at.slot == lower + 1 {
            self.at = Place { slot: lower, entry: self.at.entry + moved_by };
        } else if self.at.slot > lower + 1 {
            self.at.slot -= 1;
        }
    }

    /// What is less than every entry belongs into the first block.
    fn anchor(&mut self) {
        if let Some(slot) = self.slots.front_mut() {
            slot.first = self.low;
        }
    }

    fn slot_of(&self, key: Key) -> usize {
        // Ascending data always want the last one.
        if self.slots.back().is_some_and(|last| last.first <= key) {
            return self.slots.len() - 1;
        }
        self.slots.partition_point(|slot| slot.first <= key).saturating_sub(1)
    }

    fn place_of(&self, key: Key) -> Option<Place> {
        let slot = self.slot_of(key);
        let entry = self.slots.get(slot)?.block.find(key).ok()?;
        Some(Place { slot, entry })
    }
}

#[cfg(test)]
impl Band {
    /// Holds the invariants of the module's head against the whole content, sorted.
    pub(super) fn assert_sound(&self, sorted: &[Key]) {
        if self.stale {
            return assert!(self.slots.is_empty() && self.low > self.high, "a stale band must take nothing");
        }
        let inside: Vec<Key> = sorted.iter().copied().filter(|&key| self.covers(key)).collect();
        let held = self.slots.iter().flat_map(|slot| slot.block.entries());
        let held: Vec<Key> = held.flat_map(|(key, count)| std::iter::repeat_n(key, count as usize)).collect();
        assert_eq!(held, inside);
        for (index, slot) in self.slots.iter().enumerate() {
            assert!(slot.block.len() > 0, "empty block {index}");
            assert_eq!(slot.total, slot.block.total(), "block {index}");
            assert!(slot.first <= slot.block.key(0) && (index > 0 || slot.first == self.low), "block {index}");
            assert!(index == 0 || slot.first > *self.slots[index - 1].block.keys().last().unwrap(), "block {index}");
        }
        if let Some(slot) = self.slots.get(self.at.slot) {
            assert_eq!(slot.block.key(self.at.entry), self.threshold);
            assert_eq!(slot.block.count(self.at.entry) as u64, self.equal);
        }
        let above = sorted.iter().filter(|&&key| key > self.threshold).count() as u64;
        assert!(self.slots.is_empty() || self.above == above, "above: {} for {above}", self.above);
    }
}
