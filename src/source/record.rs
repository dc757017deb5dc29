//! Records as a source hands them out: copied once, several to an allocation.

use std::ops;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::position::{NextOffset, Offset, Partition};

/// Neighboring records of one partition, in offset order, in one arena.
#[derive(Debug)]
pub struct Run {
    partition: Partition,
    buffers: Buffers,
    /// Where the buffers go in the end.
    spares: Option<Spares>,
}

#[derive(Debug, Default)]
struct Buffers {
    arena: Vec<u8>,
    records: Vec<Slot>,
    headers: Vec<HeaderSlot>,
}

/// Buffers of runs that are gone, for those to come. Memory that goes back to the system and comes again is cleared by it
/// each time, which costs as much as all the copying.
#[derive(Debug, Clone, Default)]
pub struct Spares(Arc<Mutex<Vec<Buffers>>>);

/// One record inside a run.
#[derive(Debug, Clone, Copy)]
pub struct RecordRef<'a> {
    pub partition: Partition,
    pub offset: Offset,
    /// Milliseconds since the Unix epoch; `None` if the producer gave none and the broker added none.
    pub timestamp: Option<i64>,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    run: &'a Run,
    headers: (u32, u32),
}

/// A record on its own, for the few that outlive their run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub partition: Partition,
    pub offset: Offset,
    pub timestamp: Option<i64>,
    pub key: Option<Box<[u8]>>,
    pub value: Option<Box<[u8]>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A part of the arena, as start and end.
#[derive(Debug, Clone, Copy)]
struct Part(u32, u32);

#[derive(Debug)]
struct Slot {
    offset: Offset,
    timestamp: Option<i64>,
    key: Option<Part>,
    value: Option<Part>,
    headers: (u32, u32),
}

#[derive(Debug)]
struct HeaderSlot {
    name: Part,
    value: Option<Part>,
}

impl Run {
    /// A run holds less than this, so that 32 bits address its arena.
    pub const BYTES_MAX: usize = 1 << 30;

    pub fn new(partition: Partition) -> Run {
        Run { partition, buffers: Buffers::default(), spares: None }
    }

    /// An empty run in the buffers of one that is gone, and they will serve the next one.
    pub fn reusing(spares: &Spares, partition: Partition) -> Run {
        Run { partition, buffers: spares.lock().pop().unwrap_or_default(), spares: Some(spares.clone()) }
    }

    /// Copies one record in. `false`, and nothing changed, when it does not fit any more.
    pub fn push<'h>(
        &mut self,
        (offset, timestamp): (Offset, Option<i64>),
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>,
    ) -> bool {
        let (arena_before, headers_before) = (self.buffers.arena.len(), self.buffers.headers.len());
        let key = key.map(|bytes| self.store(bytes));
        let value = value.map(|bytes| self.store(bytes));
        for (name, content) in headers {
            let slot =
                HeaderSlot { name: self.store(name.as_bytes()), value: content.map(|content| self.store(content)) };
            self.buffers.headers.push(slot);
        }
        if self.buffers.arena.len() > Run::BYTES_MAX && !self.buffers.records.is_empty() {
            self.buffers.arena.truncate(arena_before);
            self.buffers.headers.truncate(headers_before);
            return false;
        }
        let headers = (headers_before as u32, self.buffers.headers.len() as u32);
        self.buffers.records.push(Slot { offset, timestamp, key, value, headers });
        true
    }

    pub fn partition(&self) -> Partition {
        self.partition
    }

    pub fn len(&self) -> usize {
        self.buffers.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.buffers.records.is_empty()
    }

    /// Bytes of keys, values and headers.
    pub fn bytes(&self) -> usize {
        self.buffers.arena.len()
    }

    pub fn get(&self, index: usize) -> Option<RecordRef<'_>> {
        self.buffers.records.get(index).map(|slot| self.view(slot))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordRef<'_>> + DoubleEndedIterator {
        self.buffers.records.iter().map(|slot| self.view(slot))
    }

    /// The position after the run; `None` for an empty one.
    pub fn next_offset(&self) -> Option<NextOffset> {
        self.buffers.records.last().map(|slot| slot.offset.next())
    }

    fn view<'a>(&'a self, slot: &Slot) -> RecordRef<'a> {
        RecordRef {
            partition: self.partition,
            offset: slot.offset,
            timestamp: slot.timestamp,
            key: slot.key.map(|part| &self.buffers.arena[part.range()]),
            value: slot.value.map(|part| &self.buffers.arena[part.range()]),
            run: self,
            headers: slot.headers,
        }
    }

    fn store(&mut self, bytes: &[u8]) -> Part {
        let start = self.buffers.arena.len() as u32;
        self.buffers.arena.extend_from_slice(bytes);
        Part(start, self.buffers.arena.len() as u32)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let Some(spares) = &self.spares else { return };
        let mut buffers = std::mem::take(&mut self.buffers);
        buffers.arena.clear();
        buffers.records.clear();
        buffers.headers.clear();
        let mut spares = spares.lock();
        if buffers.arena.capacity() <= Spares::ARENA_MAX && spares.len() < Spares::COUNT_MAX {
            spares.push(buffers);
        }
    }
}

impl Spares {
    /// More than what usually waits on the way to the lanes would lie idle, and arenas of unusual size as well.
    const COUNT_MAX: usize = 64;
    const ARENA_MAX: usize = 1 << 20;

    /// A poisoned lock guards nothing but empty buffers.
    fn lock(&self) -> MutexGuard<'_, Vec<Buffers>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    fn range(self) -> ops::Range<usize> {
        self.0 as usize..self.1 as usize
    }
}

impl<'a> RecordRef<'a> {
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        let run = self.run;
        run.buffers.headers[self.headers.0 as usize..self.headers.1 as usize].iter().map(|slot| {
            // Names were copied from a `&str`, so the fallback is never taken.
            let name = std::str::from_utf8(&run.buffers.arena[slot.name.range()]).unwrap_or_default();
            (name, slot.value.map(|part| &run.buffers.arena[part.range()]))
        })
    }

    /// See [`Record::digest`].
    pub fn digest(&self) -> [u8; 32] {
        digest(self.offset, self.timestamp, self.key, self.value)
    }

    pub fn to_record(&self) -> Record {
        Record {
            partition: self.partition,
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.map(Box::from),
            value: self.value.map(Box::from),
            headers: self.headers().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect(),
        }
    }
}

impl Record {
    /// BLAKE3 over place, time, key and value: by it a restart sees whether the log is still the one that it read.
    pub fn digest(&self) -> [u8; 32] {
        digest(self.offset, self.timestamp, self.key.as_deref(), self.value.as_deref())
    }
}

fn digest(offset: Offset, timestamp: Option<i64>, key: Option<&[u8]>, value: Option<&[u8]>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&offset.raw().to_le_bytes());
    hasher.update(&[u8::from(timestamp.is_some())]);
    hasher.update(&timestamp.unwrap_or_default().to_le_bytes());
    for part in [key, value] {
        // The length goes first, so that bytes cannot move from the key to the value unseen; -1 marks absence.
        let length = part.map_or(-1, |bytes| bytes.len() as i64);
        hasher.update(&length.to_le_bytes());
        hasher.update(part.unwrap_or_default());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(raw: u64) -> Offset {
        Offset::from_count(raw)
    }

    #[test]
    fn a_run_gives_back_what_was_copied_in() {
        let mut run = Run::new(Partition(3));
        let headers = [("a", Some(&b"1"[..])), ("b", None)];
        assert!(run.push((offset(7), Some(5)), Some(b"key"), Some(b"value"), headers.into_iter()));
        assert!(run.push((offset(9), None), None, None, std::iter::empty()));
        let first = run.get(0).unwrap();
        assert_eq!((first.key, first.value, first.timestamp), (Some(&b"key"[..]), Some(&b"value"[..]), Some(5)));
        assert_eq!(first.headers().collect::<Vec<_>>(), headers);
        let second = run.get(1).unwrap();
        assert_eq!((second.key, second.value, second.headers().count()), (None, None, 0));
        assert_eq!(run.next_offset(), Some(NextOffset::boundary(10)));
        assert_eq!(first.to_record().digest(), first.digest());
    }

    #[test]
    fn buffers_serve_again_but_nothing_of_what_was_in_them() {
        let spares = Spares::default();
        let mut run = Run::reusing(&spares, Partition(3));
        run.push((offset(7), None), Some(b"key"), Some(b"value"), [("a", None)].into_iter());
        let capacity = run.buffers.arena.capacity();
        drop(run);
        let run = Run::reusing(&spares, Partition(4));
        assert_eq!((run.partition(), run.len(), run.bytes(), run.buffers.headers.len()), (Partition(4), 0, 0, 0));
        assert_eq!(run.buffers.arena.capacity(), capacity);
    }

    #[test]
    fn digests_tell_key_from_value_and_empty_from_absent() {
        let digests = [
            digest(offset(1), Some(2), Some(b"ab"), Some(b"c")),
            digest(offset(1), Some(2), Some(b"a"), Some(b"bc")),
            digest(offset(1), Some(2), None, Some(b"abc")),
            digest(offset(1), Some(2), Some(b""), Some(b"abc")),
            digest(offset(1), None, Some(b"ab"), Some(b"c")),
            digest(offset(2), Some(2), Some(b"ab"), Some(b"c")),
        ];
        for (index, left) in digests.iter().enumerate() {
            assert!(digests.iter().skip(index + 1).all(|right| left != right), "digest {index} is not its own");
        }
    }
}
