//! Keeps the band where it is needed: follows the wanted rank, builds the band anew when the pivot leaves it, and
//! chooses how wide it is.
//!
//! A new band costs a sample of the window and one pass over it, a few nanoseconds per element; so it must last for
//! about as many insertions as the window has elements. On stationary data a band of two percent lasts for good.
//! Where the data drift or the level swings, the width doubles with every band that was left too early, up to a
//! quarter of the window, and halves again after one that lasted. None of this can be seen in an answer.

use super::band::{Band, Side, Slot, Walk};
use super::block::{BLOCK, Block, FILL};
use super::ring::Ring;
use super::score::Key;

/// How the band is kept. Only the cost depends on it, so the tests set it to what the defaults would seldom meet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tuning {
    /// Keys that are drawn to find the band's limits. A window that has not more is its own sample.
    pub(super) sample: usize,
    /// How many standard deviations of the sample's rank are added to the reach on both sides.
    pub(super) deviations: f64,
    /// Least and greatest reach of the band to each side of the pivot, as a share of the window.
    pub(super) reach_min: f64,
    pub(super) reach_max: f64,
    /// Blocks that a band may always have; a window of up to so many blocks of elements is all band.
    pub(super) blocks_min: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Pivot {
    pub(super) band: Band,
    tuning: Tuning,
    reach: f64,
    /// The reach that the present band was built with, including the sample's uncertainty.
    reach_built: f64,
    inserted_since_build: u64,
    /// The side on which the band was left last.
    left_on: Option<Side>,
    builds: u64,
}

impl Tuning {
    pub(super) const DEFAULT: Tuning =
        Tuning { sample: 8192, deviations: 4.0, reach_min: 0.01, reach_max: 0.125, blocks_min: 48 };
}

impl Pivot {
    pub(super) fn new(tuning: Tuning, band: Band) -> Pivot {
        Pivot {
            band,
            tuning,
            reach: tuning.reach_min,
            reach_built: tuning.reach_min,
            inserted_since_build: 0,
            left_on: None,
            builds: 0,
        }
    }

    /// How often a band was built since the start.
    pub(super) fn builds(&self) -> u64 {
        self.builds
    }

    /// After the element was added to the window, which now has `len`.
    #[inline]
    pub(super) fn insert(&mut self, key: Key, len: usize) {
        self.inserted_since_build += 1;
        let blocks = self.band.blocks();
        self.band.insert(key);
        if self.band.blocks() > blocks {
            self.limit(len);
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, key: Key) {
        self.band.remove(key);
    }

    /// Everything that was known of the window is void.
    pub(super) fn forget(&mut self, len: usize) {
        self.band = if len == 0 { Band::empty() } else { Band::stale() };
    }

    /// Makes the element of `rank` the pivot of the band; `rank` is counted from the greatest (1) to `keys.len()`.
    #[inline]
    pub(super) fn seek(&mut self, rank: u64, keys: &Ring<Key>) {
        match self.band.seek(rank) {
            Walk::Found => {}
            Walk::Left(side) => self.rebuild(rank, keys, Some(side)),
            Walk::Stale => self.rebuild(rank, keys, None),
        }
    }

    /// A band that keeps growing, because its limits have drifted far apart, gives up what is farthest away.
    #[cold]
    fn limit(&mut self, len: usize) {
        // Both sides, blocks at least half full, and half as much again so that trimming is rare.
        let wanted = 3.0 * self.reach_built.max(self.reach) * len as f64 / (BLOCK / 2) as f64;
        let limit = (wanted as usize).max(self.tuning.blocks_min);
        if self.band.blocks() > limit {
            self.band.trim(limit / 2);
        }
    }

    #[cold]
    fn rebuild(&mut self, rank: u64, keys: &Ring<Key>, side: Option<Side>) {
        let len = keys.len() as u64;
        if side.is_some() {
            if self.inserted_since_build < len / 2 {
                self.reach = (self.reach * 2.0).min(self.tuning.reach_max);
            } else if self.inserted_since_build > len.saturating_mul(4) {
                self.reach = (self.reach / 2.0).max(self.tuning.reach_min);
            }
        }
        // Left twice on the same side: the data drift, and the band had better lie ahead of them.
        let mut lean = if side.is_some() && side == self.left_on { side } else { None };
        self.left_on = side;
        self.inserted_since_build = 0;
        self.builds += 1;

        let sample = self.sample(keys);
        let share = rank as f64 / len as f64;
        let deviation = (share * (1.0 - share) / sample.len() as f64).sqrt();
        let doubt = if sample.len() == keys.len() { 0.0 } else { self.tuning.deviations * deviation };
        let mut reach = self.reach + doubt;
        loop {
            let (up, down) = match lean {
                None => (reach, reach),
                Some(Side::Above) => (2.0 * reach - doubt, doubt + 0.25 * self.reach),
                Some(Side::Below) => (doubt + 0.25 * self.reach, 2.0 * reach - doubt),
            };
            let (low, high) = if self.is_small(keys.len()) {
                (Key::MIN, Key::MAX)
            } else {
                limits(&sample, share - up, share + down)
            };
            self.reach_built = reach;
            if let Some(band) = gather(keys, low, high, rank) {
                self.band = band;
                break;
            }
            // The sample or the lean misled us. Ends at the latest when the limits include everything.
            lean = None;
            reach = 4.0 * reach + 1.0 / len as f64;
        }
    }

    fn is_small(&self, len: usize) -> bool {
        len <= self.tuning.blocks_min * BLOCK / 4
    }

    /// Keys of the window, sorted: all, or as many as `tuning.sample` drawn at random (from a fixed seed).
    fn sample(&self, keys: &Ring<Key>) -> Vec<Key> {
        let size = self.tuning.sample.max(1);
        let mut sample: Vec<Key> = if keys.len() <= size {
            keys.iter().collect()
        } else {
            let mut state = self.builds;
            // One place in each of `size` equal stretches: no period of the data can hide between them.
            let stretch = keys.len() / size;
            (0..size)
                .filter_map(|index| keys.at(index * stretch + (scramble(&mut state) % stretch as u64) as usize))
                .collect()
        };
        sample.sort_unstable();
        sample
    }
}

/// The keys of the sample between which the shares `from` and `to` of the window lie, counted from the greatest.
fn limits(sample: &[Key], from: f64, to: f64) -> (Key, Key) {
    let size = sample.len() as f64;
    let index = |position: f64| if position >= 0.0 { sample.get(position as usize).copied() } else { None };
    let low = index(((1.0 - to) * size).floor() - 1.0).unwrap_or(Key::MIN);
    let high = index(((1.0 - from) * size).ceil()).unwrap_or(Key::MAX);
    (low, high)
}

/// The band over [`low`, `high`], by one pass over the window; `None` if the wanted rank is not inside.
fn gather(keys: &Ring<Key>, low: Key, high: Key, rank: u64) -> Option<Band> {
    let mut inside: Vec<Key> = Vec::new();
    let mut above = 0;
    for run in keys.runs() {
        let mut end = inside.len();
        inside.resize(end + run.len(), 0);
        for &key in run {
            // Without a branch: always written, and kept by counting on.
            inside[end] = key;
            end += usize::from(low <= key && key <= high);
            above += u64::from(key > high);
        }
        inside.truncate(end);
    }
    if rank <= above || rank > above + inside.len() as u64 {
        return None;
    }
    inside.sort_unstable();
    let mut band = Band::over(low, high, slots(&inside), above);
    // The pivot starts at the top.
    (band.seek(rank) == Walk::Found).then_some(band)
}

/// Sorted keys as blocks.
fn slots(sorted: &[Key]) -> Vec<Slot> {
    let mut slots: Vec<Slot> = Vec::with_capacity(sorted.len().div_ceil(FILL));
    for run in sorted.chunk_by(|left, right| left == right) {
        let [key, ..] = *run else { continue };
        if slots.last().is_none_or(|slot| slot.block.len() == FILL) {
            slots.push(Slot { first: key, total: 0, block: Box::new(Block::empty()) });
        }
        if let Some(slot) = slots.last_mut() {
            slot.total += run.len() as u64;
            // A window holds fewer than 2^32 elements.
            slot.block.insert(slot.block.len(), key, run.len() as u32);
        }
    }
    slots.shrink_to_fit();
    slots
}

/// SplitMix64: only the places of a sample hang on it.
fn scramble(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bracket_that_just_misses_is_noticed() {
        let keys: Ring<Key> = (0..1000).map(|index| 1000 + index * 7 % 1000).collect();
        // 200 keys above 1799, 300 in 1500..=1799.
        for (rank, found) in [(1, false), (200, false), (201, true), (500, true), (501, false), (1000, false)] {
            let band = gather(&keys, 1500, 1799, rank);
            assert_eq!(band.is_some(), found, "rank {rank}");
            if let Some(band) = band {
                assert_eq!(u64::from(band.threshold), 2000 - rank);
            }
        }
        assert!(gather(&keys, 2500, 2600, 1).is_none());
    }

    #[test]
    fn a_misleading_sample_costs_time_and_nothing_else() {
        let blind = Tuning { sample: 1, deviations: 0.0, reach_min: 0.0, reach_max: 0.0, blocks_min: 0 };
        let keys: Ring<Key> = (0..5000).map(|index| 1 + index * 1237 % 5000).collect();
        let mut pivot = Pivot::new(blind, Band::stale());
        for rank in [1, 2, 2499, 2500, 2501, 4999, 5000, 1, 5000] {
            pivot.seek(rank, &keys);
            assert_eq!(u64::from(pivot.band.threshold), 5001 - rank);
            assert_eq!((pivot.band.above, pivot.band.equal), (rank - 1, 1));
        }
    }

    #[test]
    fn a_band_of_stationary_data_is_built_once() {
        let (mut state, mut keys) = (7, Ring::new());
        let mut pivot = Pivot::new(Tuning::DEFAULT, Band::empty());
        for index in 0..400_000_u64 {
            let key = scramble(&mut state) as Key;
            keys.push(key);
            pivot.insert(key, keys.len());
            if keys.len() > 100_000 {
                let oldest = keys.pop().unwrap();
                pivot.remove(oldest);
            }
            pivot.seek(keys.len() as u64 / 10 + 1, &keys);
            if index > 100_000 {
                let share = pivot.band.blocks() * BLOCK;
                assert!(share < 100_000 / 8, "{share} places are banded after {index}");
            }
        }
        assert!(pivot.builds() <= 4, "{} builds", pivot.builds());
    }

    #[test]
    fn a_drift_makes_the_band_wider_not_the_builds_frequent() {
        let (mut state, mut keys) = (7, Ring::new());
        let mut pivot = Pivot::new(Tuning::DEFAULT, Band::empty());
        let len = 50_000;
        for index in 0..10 * len {
            let key = (index * 1000 + scramble(&mut state) % 1000) as Key + 1;
            keys.push(key);
            pivot.insert(key, keys.len());
            if keys.len() as u64 > len {
                let oldest = keys.pop().unwrap();
                pivot.remove(oldest);
            }
            pivot.seek(keys.len() as u64 / 2 + 1, &keys);
        }
        // 10 windows have passed: a few builds each at most, once the width has adapted.
        assert!(pivot.builds() <= 60, "{} builds", pivot.builds());
    }
}
