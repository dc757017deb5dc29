//! A spooled file as a [`Source`].

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::FilesError;
use super::split::KeyOf;
use super::spool::{Frame, FrameReader, Spool};
use crate::position::{NextOffset, Offset, Partition, Position};
use crate::source::{LogIdentity, Polled, Range, Record, Run, Source, SourceError, Spares};

/// A run ends here, so that partitions take turns and memory stays bounded.
const RUN_RECORDS: usize = 1024;
const RUN_BYTES: usize = 1 << 20;
/// A file cannot wake anybody up: while all partitions are paused, a poll looks again after this.
const IDLE_WAIT: Duration = Duration::from_millis(2);

/// Reads every partition of a spooled file from its own position.
pub struct FileSource {
    spool: Spool,
    cursors: BTreeMap<Partition, Cursor>,
    /// Whose turn it is; holds every partition that has something left and is not paused.
    turns: VecDeque<Partition>,
    /// Partitions at their end of which that has not been told yet.
    ended: VecDeque<Partition>,
    frame: Frame,
    spares: Spares,
}

struct Cursor {
    next: u64,
    end: u64,
    has_range_end: bool,
    is_paused: bool,
    reader: Option<FrameReader>,
}

impl FileSource {
    /// Splits `input` into `partitions` under `spool_directory`, or reuses what an earlier start has split.
    ///
    /// `splitting` is a digest of everything that `key_of` depends on: another mapping makes another log.
    pub fn open(
        input: &Path,
        spool_directory: &Path,
        (partitions, splitting): (u32, [u8; 32]),
        key_of: KeyOf<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<FileSource, FilesError> {
        let spool = Spool::open(input, spool_directory, (partitions, splitting), key_of, progress)?;
        let (cursors, turns, ended) = Default::default();
        Ok(FileSource { spool, cursors, turns, ended, frame: Frame::default(), spares: Spares::default() })
    }

    /// Records of all partitions.
    pub fn records(&self) -> u64 {
        (0..self.spool.partitions()).map(|partition| self.spool.records(Partition(partition))).sum()
    }

    fn each(&self, place: impl Fn(Partition) -> Result<u64, FilesError>) -> Result<Position, FilesError> {
        let one = |partition| Ok((partition, NextOffset::boundary(place(partition)?)));
        (0..self.spool.partitions()).map(Partition).map(one).collect()
    }

    fn read_run(&mut self, partition: Partition) -> Result<Run, FilesError> {
        let mut run = Run::reusing(&self.spares, partition);
        let Some(cursor) = self.cursors.get_mut(&partition) else { return Ok(run) };
        if cursor.reader.is_none() {
            cursor.reader = self.spool.read_from(partition, cursor.next)?;
        }
        let Some(reader) = &mut cursor.reader else { return Ok(run) };
        while cursor.next < cursor.end && run.len() < RUN_RECORDS && run.bytes() < RUN_BYTES {
            if !reader.next(&mut self.frame)? {
                return Err(reader.ended_early());
            }
            let place = (Offset::from_count(cursor.next), Some(self.frame.timestamp));
            // Always fits: the run is far below its limit, and a line is bounded.
            run.push(place, self.frame.key(), Some(self.frame.value()), std::iter::empty());
            cursor.next += 1;
        }
        Ok(run)
    }

    fn end_of(&self, partition: Partition) -> Polled {
        match self.cursors.get(&partition) {
            Some(cursor) if cursor.has_range_end => Polled::RangeEnd(partition),
            Some(_) | None => Polled::CaughtUp(partition),
        }
    }
}

impl Source for FileSource {
    fn identity(&self) -> LogIdentity {
        self.spool.identity.clone()
    }

    fn partitions(&self) -> Vec<Partition> {
        (0..self.spool.partitions()).map(Partition).collect()
    }

    fn start_offsets(&mut self) -> Result<Position, SourceError> {
        Ok(self.each(|_| Ok(0))?)
    }

    fn end_offsets(&mut self) -> Result<Position, SourceError> {
        Ok(self.known_ends())
    }

    fn offsets_at(&mut self, millis: i64) -> Result<Position, SourceError> {
        Ok(self.each(|partition| self.spool.first_at(partition, millis))?)
    }

    fn newest_timestamp(&mut self) -> Result<Option<i64>, SourceError> {
        let mut newest = None;
        for partition in self.partitions() {
            let Some(last) = self.spool.records(partition).checked_sub(1) else { continue };
            let record = self.fetch_one(partition, Offset::from_count(last))?;
            newest = newest.max(record.and_then(|record| record.timestamp));
        }
        Ok(newest)
    }

    fn fetch_one(&mut self, partition: Partition, offset: Offset) -> Result<Option<Record>, SourceError> {
        let Some(mut reader) = self.spool.read_from(partition, offset.raw())? else { return Ok(None) };
        let mut frame = Frame::default();
        if !reader.next(&mut frame)? {
            return Ok(None);
        }
        let (key, value) = (frame.key().map(Box::from), Some(Box::from(frame.value())));
        Ok(Some(Record { partition, offset, timestamp: Some(frame.timestamp), key, value, headers: Vec::new() }))
    }

    fn assign(&mut self, range: &Range) -> Result<(), SourceError> {
        self.cursors.clear();
        self.turns.clear();
        self.ended.clear();
        for (partition, bounds) in range {
            let records = self.spool.records(*partition);
            let end = bounds.end.map_or(records, |end| end.raw().min(records));
            let next = bounds.start.raw();
            let cursor = Cursor { next, end, has_range_end: bounds.end.is_some(), is_paused: false, reader: None };
            self.cursors.insert(*partition, cursor);
            if next < end {
                self.turns.push_back(*partition);
            } else {
                self.ended.push_back(*partition);
            }
        }
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Result<Polled, SourceError> {
        if let Some(partition) = self.ended.pop_front() {
            return Ok(self.end_of(partition));
        }
        let Some(partition) = self.turns.pop_front() else {
            thread::sleep(timeout.min(IDLE_WAIT));
            return Ok(Polled::Nothing);
        };
        let run = self.read_run(partition)?;
        match self.cursors.get(&partition) {
            Some(cursor) if cursor.next < cursor.end => self.turns.push_back(partition),
            Some(_) | None => self.ended.push_back(partition),
        }
        Ok(Polled::Records(vec![run]))
    }

    fn pause(&mut self, partitions: &[Partition]) -> Result<(), SourceError> {
        for partition in partitions {
            if let Some(cursor) = self.cursors.get_mut(partition) {
                cursor.is_paused = true;
            }
        }
        self.turns.retain(|turn| !partitions.contains(turn));
        Ok(())
    }

    fn resume(&mut self, partitions: &[Partition]) -> Result<(), SourceError> {
        for partition in partitions {
            let Some(cursor) = self.cursors.get_mut(partition) else { continue };
            if cursor.is_paused && cursor.next < cursor.end {
                self.turns.push_back(*partition);
            }
            cursor.is_paused = false;
        }
        Ok(())
    }

    /// A file has no dashboards.
    fn commit(&mut self, _position: &Position) -> Result<(), SourceError> {
        Ok(())
    }

    fn known_ends(&self) -> Position {
        let end = |partition| (partition, NextOffset::boundary(self.spool.records(partition)));
        (0..self.spool.partitions()).map(Partition).map(end).collect()
    }

    fn last_complaint(&self) -> Option<String> {
        None
    }
}
