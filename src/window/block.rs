//! A short sorted run of distinct keys with their counts: the piece that the band is made of.

use super::score::Key;

/// Keys per block. Two cache lines of keys are searched, at most eight are moved.
pub(super) const BLOCK: usize = 64;
/// How full a block is made in one go, so that it can take some more before it splits.
pub(super) const FILL: usize = 48;
/// A block that holds fewer keys looks for a neighbor to join.
pub(super) const SPARSE: usize = 12;

/// Distinct keys, ascending, each with the count of elements that have it.
#[derive(Debug, Clone)]
pub(super) struct Block {
    len: usize,
    keys: [Key; BLOCK],
    counts: [u32; BLOCK],
}

impl Block {
    pub(super) fn empty() -> Block {
        Block { len: 0, keys: [0; BLOCK], counts: [0; BLOCK] }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys[..self.len]
    }

    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = (Key, u32)> + '_ {
        self.keys().iter().copied().zip(self.counts.iter().copied())
    }

    pub(super) fn key(&self, index: usize) -> Key {
        self.keys[index]
    }

    pub(super) fn count(&self, index: usize) -> u32 {
        self.counts[index]
    }

    pub(super) fn count_mut(&mut self, index: usize) -> &mut u32 {
        &mut self.counts[index]
    }

    /// Where `key` is, or where it would have to be inserted.
    pub(super) fn find(&self, key: Key) -> Result<usize, usize> {
        self.keys().binary_search(&key)
    }

    /// The block must not be full.
    pub(super) fn insert(&mut self, index: usize, key: Key, count: u32) {
        self.keys.copy_within(index..self.len, index + 1);
        self.counts.copy_within(index..self.len, index + 1);
        self.keys[index] = key;
        self.counts[index] = count;
        self.len += 1;
    }

    pub(super) fn remove(&mut self, index: usize) {
        self.keys.copy_within(index + 1..self.len, index);
        self.counts.copy_within(index + 1..self.len, index);
        self.len -= 1;
    }

    /// Moves the entries from `index` on into a new block.
    pub(super) fn split_off(&mut self, index: usize) -> Block {
        let mut upper = Block::empty();
        upper.len = self.len - index;
        upper.keys[..upper.len].copy_from_slice(&self.keys[index..self.len]);
        upper.counts[..upper.len].copy_from_slice(&self.counts[index..self.len]);
        self.len = index;
        upper
    }

    /// Both together must fit.
    pub(super) fn append(&mut self, upper: &Block) {
        let len = self.len + upper.len;
        self.keys[self.len..len].copy_from_slice(&upper.keys[..upper.len]);
        self.counts[self.len..len].copy_from_slice(&upper.counts[..upper.len]);
        self.len = len;
    }

    /// Sum of all counts.
    pub(super) fn total(&self) -> u64 {
        self.counts[..self.len].iter().map(|&count| u64::from(count)).sum()
    }
}
