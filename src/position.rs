//! Where a record stands in a log.
//!
//! Two numbers look alike and must never be swapped: the *offset* of a record that was read, and the *next offset*,
//! the first one that was not. Only [`Offset::next`] turns one into the other, so an off-by-one does not compile.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One partition of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition(pub u32);

/// The place of one record inside its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(u64);

/// The first offset that has not been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NextOffset(u64);

/// The next offset of every partition.
pub type Position = BTreeMap<Partition, NextOffset>;

/// The place of one event: its record's offset, and its index among the events that the record fans out to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    pub offset: Offset,
    pub index: u32,
}

impl Offset {
    /// `None` for the negative numbers by which Kafka clients name logical offsets.
    pub fn new(raw: i64) -> Option<Offset> {
        u64::try_from(raw).ok().map(Offset)
    }

    pub fn from_count(records_before: u64) -> Offset {
        Offset(records_before)
    }

    pub fn next(self) -> NextOffset {
        NextOffset(self.0.saturating_add(1))
    }

    pub fn raw(self) -> u64 {
        self.0
    }
}

impl NextOffset {
    /// The start of a log that has lost nothing to retention.
    pub const ZERO: NextOffset = NextOffset(0);

    /// A boundary that was not made from a record that was read: the start or the end of a range.
    pub fn boundary(raw: u64) -> NextOffset {
        NextOffset(raw)
    }

    /// Has the record at `offset` already been read?
    pub fn is_past(self, offset: Offset) -> bool {
        offset.0 < self.0
    }

    /// The offset that the next record has if the log has no gap here.
    pub fn expected(self) -> Offset {
        Offset(self.0)
    }

    pub fn raw(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for NextOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
