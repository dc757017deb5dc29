//! A sorted map whose snapshot costs next to nothing: small copy-on-write shards.
//!
//! A lane hands its state over at every seal and goes on at once. Entries therefore live in shards of at most
//! [`SHARD_LEN_MAX`] neighbors: a snapshot shares the shards, and a later write copies those that it really touches. Until the
//! next snapshot a shard that was written to has one owner again, so that the usual write asks no reference count.
//! Shards split by size and not by a fixed count, so that one user with a million sessions does not end up with one
//! shard of a million entries.
//!
//! Where the borders between shards lie depends on the history; nothing outside can see it, and the encoding is the
//! plain sorted sequence of entries.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Copying a shard takes a few microseconds at this length, and a million entries make some thousand shards.
const SHARD_LEN_MAX: usize = 512;

/// Sorted by key, each key once. Look-ups take `compare`, the order of a stored key relative to the wanted one, so that
/// nobody allocates a key only to ask for it.
pub(crate) struct Chunks<K, V> {
    shards: Vec<Shard<K, V>>,
    len: usize,
}

/// Where an entry stands, until the next insertion or removal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    shard: usize,
    at: usize,
}

struct Shard<K, V> {
    /// Not above the shard's first key, and above every key of the shard before. The first shard also takes what is
    /// below its own `from`.
    from: K,
    /// Nothing while the entries are shared.
    owned: VecDeque<(K, V)>,
    shared: Option<Arc<VecDeque<(K, V)>>>,
}

impl<K: Clone + Ord, V: Clone> Chunks<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it holds now, shared with it.
    pub(crate) fn snapshot(&mut self) -> Chunks<K, V> {
        Chunks { shards: self.shards.iter_mut().map(Shard::snapshot).collect(), len: self.len }
    }

    pub(crate) fn find(&self, compare: impl Fn(&K) -> Ordering) -> Option<Spot> {
        let shard = self.shard_of(&compare);
        let at = self.shards.get(shard)?.entries().binary_search_by(|(key, _)| compare(key)).ok()?;
        Some(Spot { shard, at })
    }

    pub(crate) fn at(&self, spot: Spot) -> Option<&(K, V)> {
        self.shards.get(spot.shard)?.entries().get(spot.at)
    }

    /// Copies what a snapshot still holds of the entry's shard.
    pub(crate) fn at_mut(&mut self, spot: Spot) -> Option<(&K, &mut V)> {
        self.shards.get_mut(spot.shard)?.make_mut().get_mut(spot.at).map(|(key, value)| (&*key, value))
    }

    pub(crate) fn get(&self, compare: impl Fn(&K) -> Ordering) -> Option<&V> {
        self.at(self.find(compare)?).map(|(_, value)| value)
    }

    /// Copies what a snapshot still holds of the entry's shard; a miss copies nothing.
    pub(crate) fn get_mut(&mut self, compare: impl Fn(&K) -> Ordering) -> Option<(&K, &mut V)> {
        self.at_mut(self.find(compare)?)
    }

    /// The value that `key` had before.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        // What waits for its time mostly comes in the order of its time.
        let is_above_all = self.last().is_some_and(|(last, _)| *last < key);
        let index = if is_above_all { self.shards.len() - 1 } else { self.shard_of(|stored: &K| stored.cmp(&key)) };
        let is_last = index + 1 >= self.shards.len();
        let Some(shard) = self.shards.get_mut(index) else {
            let from = key.clone();
            self.shards.push(Shard { from, owned: VecDeque::from([(key, value)]), shared: None });
            self.len = 1;
            return None;
        };
        let entries = shard.make_mut();
        if is_above_all {
            entries.push_back((key, value));
        } else {
            match entries.binary_search_by(|(stored, _)| stored.cmp(&key)) {
                Ok(at) => return entries.get_mut(at).map(|(_, old)| std::mem::replace(old, value)),
                Err(at) => entries.insert(at, (key, value)),
            }
        }
        self.len += 1;
        if entries.len() > SHARD_LEN_MAX {
            let upper = entries.split_off(split_point(entries.len(), is_last));
            if let Some((from, _)) = upper.front() {
                let from = from.clone();
                self.shards.insert(index + 1, Shard { from, owned: upper, shared: None });
            }
        }
        None
    }

    pub(crate) fn remove(&mut self, compare: impl Fn(&K) -> Ordering) -> Option<(K, V)> {
        self.take(self.find(compare)?)
    }

    pub(crate) fn first(&self) -> Option<&(K, V)> {
        self.shards.first()?.entries().front()
    }

    /// The one so many places behind the first, if it stands in the same shard.
    pub(crate) fn behind_first(&self, places: usize) -> Option<&(K, V)> {
        self.shards.first()?.entries().get(places)
    }

    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        self.take(Spot { shard: 0, at: 0 })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.shards.iter().flat_map(|shard| shard.entries().iter())
    }

    /// All entries, ascending, beginning with the first that is not `Less`.
    pub(crate) fn iter_from(&self, compare: impl Fn(&K) -> Ordering) -> impl Iterator<Item = (Spot, &(K, V))> {
        let first = self.shard_of(&compare);
        let skipped = match self.shards.get(first) {
            Some(shard) => shard.entries().partition_point(|(key, _)| compare(key) == Ordering::Less),
            None => 0,
        };
        let shards = self.shards.iter().enumerate().skip(first);
        let entries = shards.flat_map(|(shard, content)| {
            content.entries().iter().enumerate().map(move |(at, entry)| (Spot { shard, at }, entry))
        });
        entries.skip(skipped)
    }

    /// Every value, made writable: copies whatever a snapshot still holds.
    pub(crate) fn for_each_mut(&mut self, mut change: impl FnMut(&K, &mut V)) {
        for shard in &mut self.shards {
            for (key, value) in shard.make_mut() {
                change(key, value);
            }
        }
    }

    fn last(&self) -> Option<&(K, V)> {
        self.shards.last()?.entries().back()
    }

    /// The last shard that begins at or below the wanted key.
    fn shard_of(&self, compare: impl Fn(&K) -> Ordering) -> usize {
        self.shards.partition_point(|shard| compare(&shard.from) != Ordering::Greater).saturating_sub(1)
    }

    fn take(&mut self, spot: Spot) -> Option<(K, V)> {
        let entries = self.shards.get_mut(spot.shard)?.make_mut();
        let entry = entries.remove(spot.at)?;
        if entries.is_empty() {
            self.shards.remove(spot.shard);
        }
        self.len -= 1;
        Some(entry)
    }
}

impl<K: Clone, V: Clone> Shard<K, V> {
    fn entries(&self) -> &VecDeque<(K, V)> {
        self.shared.as_deref().unwrap_or(&self.owned)
    }

    fn make_mut(&mut self) -> &mut VecDeque<(K, V)> {
        if let Some(shared) = self.shared.take() {
            self.owned = Arc::unwrap_or_clone(shared);
        }
        &mut self.owned
    }

    fn snapshot(&mut self) -> Shard<K, V> {
        let owned = &mut self.owned;
        let shared = self.shared.get_or_insert_with(|| Arc::new(std::mem::take(owned)));
        Shard { from: self.from.clone(), owned: VecDeque::new(), shared: Some(Arc::clone(shared)) }
    }
}

/// A shard that grows at the end of the map most likely goes on growing there: leave it nearly full.
fn split_point(len: usize, is_last: bool) -> usize {
    if is_last { len - len / 8 } else { len / 2 }
}

impl<K, V> Default for Chunks<K, V> {
    fn default() -> Self {
        Chunks { shards: Vec::new(), len: 0 }
    }
}

/// Of a snapshot it shares everything; of anything else it copies all entries.
impl<K: Clone, V: Clone> Clone for Chunks<K, V> {
    fn clone(&self) -> Self {
        Chunks { shards: self.shards.clone(), len: self.len }
    }
}

impl<K: Clone, V: Clone> Clone for Shard<K, V> {
    fn clone(&self) -> Self {
        Shard { from: self.from.clone(), owned: self.owned.clone(), shared: self.shared.clone() }
    }
}

impl<K: Clone + Ord + fmt::Debug, V: Clone + fmt::Debug> fmt::Debug for Chunks<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(key, value)| (key, value))).finish()
    }
}

impl<K: Clone + Ord + Serialize, V: Clone + Serialize> Serialize for Chunks<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut sequence = serializer.serialize_seq(Some(self.len))?;
        for entry in self.iter() {
            sequence.serialize_element(entry)?;
        }
        sequence.end()
    }
}

impl<'de, K: Clone + Ord + Deserialize<'de>, V: Clone + Deserialize<'de>> Deserialize<'de> for Chunks<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Ascending(PhantomData))
    }
}

struct Ascending<K, V>(PhantomData<(K, V)>);

impl<'de, K: Clone + Ord + Deserialize<'de>, V: Clone + Deserialize<'de>> Visitor<'de> for Ascending<K, V> {
    type Value = Chunks<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("entries in strictly ascending order of their keys")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Chunks<K, V>, A::Error> {
        let mut chunks = Chunks::default();
        let mut last: Option<K> = None;
        while let Some((key, value)) = sequence.next_element::<(K, V)>()? {
            if last.is_some_and(|last| last >= key) {
                return Err(A::Error::custom("entries are not in strictly ascending order"));
            }
            last = Some(key.clone());
            chunks.insert(key, value);
        }
        Ok(chunks)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Change {
        Insert(u16, u32),
        Remove(u16),
        PopFirst,
        Update(u16),
        Snapshot,
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            8 => (any::<u16>(), any::<u32>()).prop_map(|(key, value)| Change::Insert(key % 4096, value)),
            2 => any::<u16>().prop_map(|key| Change::Remove(key % 4096)),
            1 => Just(Change::PopFirst),
            2 => any::<u16>().prop_map(|key| Change::Update(key % 4096)),
            1 => Just(Change::Snapshot),
        ]
    }

    fn content(chunks: &Chunks<u16, u32>) -> Vec<(u16, u32)> {
        chunks.iter().copied().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn it_does_what_a_sorted_map_does_and_snapshots_never_move(
            changes in proptest::collection::vec(change(), 1..3000),
        ) {
            let mut model = BTreeMap::new();
            let mut chunks = Chunks::default();
            let mut snapshot = (chunks.snapshot(), content(&chunks));
            for change in changes {
                match change {
                    Change::Insert(key, value) => prop_assert_eq!(chunks.insert(key, value), model.insert(key, value)),
                    Change::Remove(key) => {
                        let removed = chunks.remove(|stored| stored.cmp(&key)).map(|(_, value)| value);
                        prop_assert_eq!(removed, model.remove(&key));
                    }
                    Change::PopFirst => prop_assert_eq!(chunks.pop_first(), model.pop_first()),
                    Change::Update(key) => {
                        let found = chunks.get_mut(|stored| stored.cmp(&key)).map(|(_, value)| {
                            *value ^= 1;
                            *value
                        });
                        let expected = model.get_mut(&key).map(|value| {
                            *value ^= 1;
                            *value
                        });
                        prop_assert_eq!(found, expected);
                        let above = chunks.iter_from(|stored| stored.cmp(&key)).take(3);
                        let above: Vec<_> = above
                            .map(|(spot, entry)| {
                                assert_eq!(chunks.at(spot), Some(entry));
                                *entry
                            })
                            .collect();
                        let expected: Vec<_> = model.range(key..).take(3).map(|(key, value)| (*key, *value)).collect();
                        prop_assert_eq!(above, expected);
                    }
                    Change::Snapshot => {
                        prop_assert_eq!(content(&snapshot.0), snapshot.1);
                        snapshot = (chunks.snapshot(), content(&chunks));
                    }
                }
                prop_assert_eq!(chunks.len(), model.len());
                prop_assert_eq!(chunks.first().copied(), model.first_key_value().map(|(key, value)| (*key, *value)));
            }
            prop_assert_eq!(content(&snapshot.0), snapshot.1);
            prop_assert_eq!(content(&chunks), model.into_iter().collect::<Vec<_>>());
            let bytes = postcard::to_stdvec(&chunks).unwrap();
            let back: Chunks<u16, u32> = postcard::from_bytes(&bytes).unwrap();
            prop_assert_eq!(content(&back), content(&chunks));
            prop_assert_eq!(postcard::to_stdvec(&back).unwrap(), bytes);
        }
    }

    #[test]
    fn entries_out_of_order_are_refused() {
        let bytes = postcard::to_stdvec(&vec![(2u16, 0u32), (1, 0)]).unwrap();
        assert!(postcard::from_bytes::<Chunks<u16, u32>>(&bytes).is_err());
    }
}
