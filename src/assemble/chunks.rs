//! A sorted map whose snapshot costs nothing: small copy-on-write shards behind one shared list.
//!
//! A lane hands its state over at every seal and goes on at once. Entries therefore live in shards of at most
//! [`SHARD_LEN_MAX`] neighbors, each behind an `Arc`: a clone of the map copies one pointer, and a later write copies the
//! list of shards once and the shards that it really touches. Shards split by size and not by a fixed count, so that
//! one user with a million sessions does not end up with one shard of a million entries.
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
    shards: Arc<Vec<Shard<K, V>>>,
    len: usize,
}

struct Shard<K, V> {
    /// Not above the shard's first key, and above every key of the shard before. The first shard also takes what is
    /// below its own `from`.
    from: K,
    entries: Arc<VecDeque<(K, V)>>,
}

impl<K: Clone + Ord, V: Clone> Chunks<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get(&self, compare: impl Fn(&K) -> Ordering) -> Option<&V> {
        let shard = self.shards.get(self.shard_of(&compare))?;
        let at = shard.entries.binary_search_by(|(key, _)| compare(key)).ok()?;
        shard.entries.get(at).map(|(_, value)| value)
    }

    /// Copies what a snapshot still holds of the entry's shard.
    pub(crate) fn get_mut(&mut self, compare: impl Fn(&K) -> Ordering) -> Option<(&K, &mut V)> {
        let shard = self.shard_of(&compare);
        // Looked up before it is made writable: a miss must not copy anything.
        let at = self.shards.get(shard)?.entries.binary_search_by(|(key, _)| compare(key)).ok()?;
        let entries = Arc::make_mut(&mut Arc::make_mut(&mut self.shards).get_mut(shard)?.entries);
        entries.get_mut(at).map(|(key, value)| (&*key, value))
    }

    /// The value that `key` had before.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let index = self.shard_of(|stored: &K| stored.cmp(&key));
        let shards = Arc::make_mut(&mut self.shards);
        let is_last = index + 1 >= shards.len();
        let Some(shard) = shards.get_mut(index) else {
            shards.push(Shard { from: key.clone(), entries: Arc::new(VecDeque::from([(key, value)])) });
            self.len = 1;
            return None;
        };
        let entries = Arc::make_mut(&mut shard.entries);
        match entries.binary_search_by(|(stored, _)| stored.cmp(&key)) {
            Ok(at) => return entries.get_mut(at).map(|(_, old)| std::mem::replace(old, value)),
            Err(at) => entries.insert(at, (key, value)),
        }
        self.len += 1;
        if entries.len() > SHARD_LEN_MAX {
            let upper = entries.split_off(split_point(entries.len(), is_last));
            if let Some((from, _)) = upper.front() {
                let from = from.clone();
                shards.insert(index + 1, Shard { from, entries: Arc::new(upper) });
            }
        }
        None
    }

    pub(crate) fn remove(&mut self, compare: impl Fn(&K) -> Ordering) -> Option<(K, V)> {
        let shard = self.shard_of(&compare);
        let at = self.shards.get(shard)?.entries.binary_search_by(|(key, _)| compare(key)).ok()?;
        self.take(shard, at)
    }

    pub(crate) fn first(&self) -> Option<&(K, V)> {
        self.shards.first()?.entries.front()
    }

    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        self.take(0, 0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.shards.iter().flat_map(|shard| shard.entries.iter())
    }

    /// All entries, ascending, beginning with the first that is not `Less`.
    pub(crate) fn iter_from(&self, compare: impl Fn(&K) -> Ordering) -> impl Iterator<Item = &(K, V)> {
        let shard = self.shard_of(&compare);
        let skipped = match self.shards.get(shard) {
            Some(shard) => shard.entries.partition_point(|(key, _)| compare(key) == Ordering::Less),
            None => 0,
        };
        self.shards.iter().skip(shard).flat_map(|shard| shard.entries.iter()).skip(skipped)
    }

    /// Every value, made writable: copies whatever a snapshot still holds.
    pub(crate) fn for_each_mut(&mut self, mut change: impl FnMut(&K, &mut V)) {
        for shard in Arc::make_mut(&mut self.shards) {
            for (key, value) in Arc::make_mut(&mut shard.entries) {
                change(key, value);
            }
        }
    }

    /// The last shard that begins at or below the wanted key.
    fn shard_of(&self, compare: impl Fn(&K) -> Ordering) -> usize {
        self.shards.partition_point(|shard| compare(&shard.from) != Ordering::Greater).saturating_sub(1)
    }

    fn take(&mut self, shard: usize, at: usize) -> Option<(K, V)> {
        self.shards.get(shard)?.entries.get(at)?;
        let shards = Arc::make_mut(&mut self.shards);
        let entries = Arc::make_mut(&mut shards.get_mut(shard)?.entries);
        let entry = entries.remove(at)?;
        if entries.is_empty() {
            shards.remove(shard);
        }
        self.len -= 1;
        Some(entry)
    }
}

/// A shard that grows at the end of the map most likely goes on growing there: leave it nearly full.
fn split_point(len: usize, is_last: bool) -> usize {
    if is_last { len - len / 8 } else { len / 2 }
}

impl<K, V> Default for Chunks<K, V> {
    fn default() -> Self {
        Chunks { shards: Arc::default(), len: 0 }
    }
}

impl<K, V> Clone for Chunks<K, V> {
    fn clone(&self) -> Self {
        Chunks { shards: Arc::clone(&self.shards), len: self.len }
    }
}

impl<K: Clone, V> Clone for Shard<K, V> {
    fn clone(&self) -> Self {
        Shard { from: self.from.clone(), entries: Arc::clone(&self.entries) }
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
            let mut snapshot = (chunks.clone(), content(&chunks));
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
                        let above: Vec<_> = chunks.iter_from(|stored| stored.cmp(&key)).take(3).copied().collect();
                        let expected: Vec<_> = model.range(key..).take(3).map(|(key, value)| (*key, *value)).collect();
                        prop_assert_eq!(above, expected);
                    }
                    Change::Snapshot => {
                        prop_assert_eq!(content(&snapshot.0), snapshot.1);
                        snapshot = (chunks.clone(), content(&chunks));
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
