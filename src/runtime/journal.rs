//! The idle decisions of an earlier `run`, and the places at which a replay repeats them.
//!
//! A decision belongs to a position of *all* partitions, so it is repeated when each of them has come to its mark. What a
//! range leaves out cannot move a decision to another side of what it holds: before the range's start every mark has been
//! reached, at its end every mark is.

use std::collections::VecDeque;

use super::JobError;
use super::messages::IdleChange;
use crate::position::{NextOffset, Partition, Position};
use crate::source::Range;

/// An idle decision of an earlier `run`, honored at the same place again.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct JournalEntry {
    pub position: Position,
    pub changes: Vec<IdleChange>,
}

/// What is still to be honored, in order.
#[derive(Debug, Default)]
pub struct Journal {
    entries: VecDeque<JournalEntry>,
}

impl Journal {
    /// What of `entries` concerns the range and was not honored before the checkpoint. A journal of other partitions, or
    /// another one than the checkpoint was made with, is refused.
    pub fn of(entries: Vec<JournalEntry>, range: &Range, honored: &[JournalEntry]) -> Result<Journal, JobError> {
        let refuse = |problem: String| Err(JobError::Journal(problem));
        let mut entries: VecDeque<JournalEntry> =
            entries.into_iter().filter(|entry| !entry.changes.is_empty()).collect();
        for (number, entry) in entries.iter().enumerate() {
            let is_same = entry.position.keys().eq(range.keys());
            if !is_same || entry.changes.iter().any(|change| !range.contains_key(&change.partition)) {
                return refuse(format!("entry {number} does not name the partitions of this log"));
            }
        }
        let order = |(earlier, later): (&JournalEntry, &JournalEntry)| {
            earlier.position.iter().all(|(partition, mark)| later.position.get(partition) >= Some(mark))
        };
        if let Some(number) = entries.iter().zip(entries.iter().skip(1)).position(|pair| !order(pair)) {
            return refuse(format!("entry {} lies before entry {number}", number + 1));
        }
        if let Some(behind) = entries.iter().position(|entry| is_behind(range, &entry.position)) {
            let decisions = entries.len() - behind;
            tracing::info!(decisions, "the journal goes on behind the end of the range");
            entries.truncate(behind);
        }
        // The place that a checkpoint notes may differ from the journal's where the range begins later or ends earlier.
        let is_repeated = honored
            .iter()
            .map(|entry| &entry.changes)
            .eq(entries.iter().map(|entry| &entry.changes).take(honored.len()));
        if !is_repeated {
            return refuse(format!(
                "the checkpoint was made with another journal, of which it honored {}",
                honored.len()
            ));
        }
        entries.drain(..honored.len());
        Ok(Journal { entries })
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where the next decision lies in this partition.
    pub fn mark(&self, partition: Partition) -> Option<NextOffset> {
        self.entries.front().and_then(|entry| entry.position.get(&partition)).copied()
    }

    /// The next decision, if every partition has come to it.
    pub fn next_if(&mut self, is_reached: impl Fn(Partition, NextOffset) -> bool) -> Option<Vec<IdleChange>> {
        let next = self.entries.front()?;
        if !next.position.iter().all(|(partition, mark)| is_reached(*partition, *mark)) {
            return None;
        }
        self.entries.pop_front().map(|entry| entry.changes)
    }
}

/// Was the decision made when all of the range had been read, and something behind it too?
fn is_behind(range: &Range, position: &Position) -> bool {
    let compared = |(partition, mark): (&Partition, &NextOffset)| {
        range.get(partition).and_then(|bounds| bounds.end).map(|end| mark.cmp(&end))
    };
    let compared: Vec<_> = position.iter().map(compared).collect();
    compared.iter().all(|order| order.is_some_and(|order| order.is_ge()))
        && compared.iter().flatten().any(|o| o.is_gt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Bounds;

    fn entry(marks: [u64; 2], partition: u32, idle: bool) -> JournalEntry {
        let position = (0..).map(Partition).zip(marks.map(NextOffset::boundary)).collect();
        JournalEntry { position, changes: vec![IdleChange { partition: Partition(partition), idle }] }
    }

    fn range(ends: [u64; 2]) -> Range {
        let bounds = |end| Bounds { start: NextOffset::ZERO, end: Some(NextOffset::boundary(end)) };
        (0..).map(Partition).zip(ends.map(bounds)).collect()
    }

    fn left(entries: &[JournalEntry], ends: [u64; 2], honored: usize) -> Result<usize, String> {
        let journal = Journal::of(entries.to_vec(), &range(ends), &entries[..honored]);
        journal.map(|journal| journal.entries.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_decision_at_the_end_of_the_range_belongs_to_it_and_one_behind_it_does_not() {
        let entries = [entry([3, 0], 1, true), entry([3, 5], 0, true), entry([3, 6], 1, true)];
        assert_eq!(left(&entries, [3, 5], 0), Ok(2));
        assert_eq!(left(&entries, [3, 6], 0), Ok(3));
        // Partition 0 ends early, but partition 1 has records behind the decision: it must be honored.
        assert_eq!(left(&entries, [2, 9], 0), Ok(3));
        assert_eq!(left(&entries, [2, 0], 0), Ok(0));
    }

    #[test]
    fn what_a_checkpoint_has_honored_is_not_honored_again() {
        let entries = [entry([3, 0], 1, true), entry([3, 5], 1, false)];
        assert_eq!(left(&entries, [9, 9], 1), Ok(1));
        assert_eq!(left(&entries, [9, 9], 2), Ok(0));
    }

    #[test]
    fn a_journal_of_another_log_or_another_checkpoint_is_refused() {
        let refused = |entries: &[JournalEntry], honored: &[JournalEntry]| {
            Journal::of(entries.to_vec(), &range([9, 9]), honored).unwrap_err().to_string()
        };
        let strange = entry([3, 0], 2, true);
        assert!(refused(&[strange], &[]).contains("partitions"));
        let mut short = entry([3, 0], 1, true);
        short.position.remove(&Partition(1));
        assert!(refused(&[short], &[]).contains("partitions"));
        assert!(refused(&[entry([3, 5], 1, true), entry([3, 4], 1, false)], &[]).contains("before entry 0"));
        assert!(refused(&[entry([3, 5], 1, true)], &[entry([3, 5], 0, true)]).contains("another journal"));
        assert!(refused(&[], &[entry([3, 5], 0, true)]).contains("another journal"));
    }
}
