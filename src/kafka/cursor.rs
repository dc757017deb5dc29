//! How far one partition of a range has been read.

use crate::position::{NextOffset, Offset};
use crate::source::Bounds;

#[derive(Debug)]
pub(super) struct Cursor {
    pub next: NextOffset,
    pub end: Option<NextOffset>,
    pub is_paused: bool,
    /// The end of the range has been told; nothing more is read.
    pub has_ended: bool,
    /// The client said that it stands at the end of the log, and nothing came since.
    pub is_exhausted: bool,
}

impl Cursor {
    pub fn new(bounds: Bounds) -> Cursor {
        let (next, end) = (bounds.start, bounds.end);
        Cursor { next, end, is_paused: false, has_ended: false, is_exhausted: false }
    }

    /// Moves on past a record; `false` for one that does not belong to the range.
    pub fn accept(&mut self, offset: Offset) -> bool {
        if self.has_ended || self.next.is_past(offset) {
            return false;
        }
        if let Some(end) = self.end.filter(|end| !end.is_past(offset)) {
            // Offsets have gaps: the first record behind the end shows that nothing is left before it.
            self.next = end;
            return false;
        }
        self.next = offset.next();
        self.is_exhausted = false;
        true
    }

    pub fn is_at_end(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(start: u64, end: u64) -> Cursor {
        Cursor::new(Bounds { start: NextOffset::boundary(start), end: Some(NextOffset::boundary(end)) })
    }

    #[test]
    fn only_records_of_the_range_are_accepted_and_each_once() {
        let mut cursor = cursor(3, 6);
        let accepted: Vec<u64> =
            [2, 3, 3, 5, 4, 6, 7].into_iter().filter(|raw| cursor.accept(Offset::from_count(*raw))).collect();
        assert_eq!(accepted, [3, 5]);
    }

    #[test]
    fn the_first_record_behind_the_end_ends_a_range_with_a_gap_before_it() {
        let mut cursor = cursor(0, 6);
        assert!(cursor.accept(Offset::from_count(2)) && !cursor.is_at_end());
        assert!(!cursor.accept(Offset::from_count(9)) && cursor.is_at_end());
    }
}
