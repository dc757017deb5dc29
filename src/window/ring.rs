//! A queue in sealed chunks: cheap to append to, cheap to drop from, and a copy of it shares every sealed chunk.

use std::collections::VecDeque;
use std::sync::Arc;

/// Elements per chunk: 16 KiB of keys. A copy clones one `Arc` per chunk and at most this many elements.
const CHUNK: usize = 4096;

/// The oldest element first. What is sealed is never written again, so a copy that is being saved costs the writer
/// nothing.
#[derive(Debug, Clone)]
pub(super) struct Ring<T> {
    sealed: VecDeque<Arc<[T]>>,
    /// Elements of the first chunk that were dropped already.
    dropped: usize,
    open: Vec<T>,
    len: usize,
}

impl<T: Copy> Ring<T> {
    pub(super) fn new() -> Ring<T> {
        Ring { sealed: VecDeque::new(), dropped: 0, open: Vec::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn push(&mut self, element: T) {
        if self.open.len() == CHUNK {
            self.seal();
        }
        self.open.push(element);
        self.len += 1;
    }

    /// The oldest element, taken out.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        let element = self.first()?;
        self.drop_within_first(1);
        Some(element)
    }

    /// Forgets the oldest `count` elements without looking at them.
    pub(super) fn drop_oldest(&mut self, count: usize) {
        let mut left = count.min(self.len);
        while left > 0 {
            let first = self.sealed.front().map_or(self.open.len(), |chunk| chunk.len());
            let step = left.min(first - self.dropped);
            self.drop_within_first(step);
            left -= step;
        }
    }

    pub(super) fn first(&self) -> Option<T> {
        self.sealed.front().map_or(self.open.as_slice(), |chunk| chunk).get(self.dropped).copied()
    }

    pub(super) fn last(&self) -> Option<T> {
        if self.len == 0 { None } else { self.open.last().copied().or_else(|| self.sealed.back()?.last().copied()) }
    }

    pub(super) fn at(&self, index: usize) -> Option<T> {
        // Every sealed chunk is full, so the place is a division.
        let place = index + self.dropped;
        match self.sealed.get(place / CHUNK) {
            Some(chunk) => chunk.get(place % CHUNK).copied(),
            None => self.open.get(place - self.sealed.len() * CHUNK).copied(),
        }
    }

    /// The elements in order, as runs.
    pub(super) fn runs(&self) -> impl Iterator<Item = &[T]> {
        let runs = self.sealed.iter().map(|chunk| &**chunk).chain(std::iter::once(self.open.as_slice()));
        runs.enumerate().map(|(index, run)| if index == 0 { run.get(self.dropped..).unwrap_or_default() } else { run })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.runs().flatten().copied()
    }

    fn seal(&mut self) {
        self.sealed.push_back(Arc::from(self.open.as_slice()));
        self.open.clear();
    }

    fn drop_within_first(&mut self, count: usize) {
        self.dropped += count;
        self.len -= count;
        if self.dropped == self.sealed.front().map_or(self.open.len(), |chunk| chunk.len()) {
            self.dropped = 0;
            if self.sealed.pop_front().is_none() {
                self.open.clear();
            }
        }
    }
}

impl<T: Copy> FromIterator<T> for Ring<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Ring<T> {
        let mut ring = Ring::new();
        elements.into_iter().for_each(|element| ring.push(element));
        ring
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_queue_across_chunks() {
        let mut ring = Ring::new();
        let mut model = VecDeque::new();
        // Bursts of pushes, pops and bulk drops of lengths that straddle the chunk's length in every way.
        for round in 0..60_usize {
            for element in 0..(round * 397) % 5000 {
                ring.push(element * 7 + round);
                model.push_back(element * 7 + round);
            }
            for _ in 0..(round * 211) % 1500 {
                assert_eq!(ring.pop(), model.pop_front());
            }
            let bulk = (round * 1009) % 6000;
            ring.drop_oldest(bulk);
            model.drain(..bulk.min(model.len()));
            assert_eq!(ring.len(), model.len());
            assert_eq!(ring.first(), model.front().copied());
            assert_eq!(ring.last(), model.back().copied());
            assert!(ring.iter().eq(model.iter().copied()), "round {round}");
            for index in [0, 1, model.len() / 2, model.len().saturating_sub(1), model.len(), model.len() + 9000] {
                assert_eq!(ring.at(index), model.get(index).copied(), "round {round}, index {index}");
            }
        }
    }

    #[test]
    fn a_copy_shares_the_sealed_chunks_and_does_not_change() {
        let mut ring: Ring<u32> = (0..20_000).collect();
        let copy = ring.clone();
        assert!(ring.sealed.iter().zip(&copy.sealed).all(|(left, right)| Arc::ptr_eq(left, right)));
        for element in 0..9000 {
            ring.push(element);
            ring.pop();
        }
        assert!(copy.iter().eq(0..20_000));
    }
}
