//! What the threads tell each other. Every channel is bounded; a barrier travels each of them in order.

use std::ops::Range;
use std::sync::Arc;

use crate::batch::{BaselineBatch, Batch, CriticBatch};
use crate::decode::DeadLetter;
use crate::learner::{Counters, Parts};
use crate::pipeline::{IntakeState, PipelineState};
use crate::position::{NextOffset, Offset, Partition, Position};
use crate::source::{RecordRef, Run};
use crate::time::EventTime;
use crate::trajectory::Trajectory;
use crate::validation::{Probe, ValidationState};

/// A cut through the whole path: everything before it is in the checkpoint, nothing after it is.
#[derive(Debug, Clone)]
pub struct Barrier {
    pub number: u64,
    pub purpose: Purpose,
    /// Partitions that fall idle or wake up at this cut (live mode).
    pub idle: Vec<IdleChange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Time or records since the last one.
    Routine,
    /// Every record of the range has been read; what is still open will be closed next.
    RangeRead,
    /// The range is complete: nothing is open any more.
    Complete,
    /// The process was asked to stop.
    Stop,
}

/// From this cut on the merge does not wait (or waits again) for the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct IdleChange {
    pub partition: Partition,
    pub idle: bool,
}

/// Neighboring records of one partition: a run, or what is left of it.
#[derive(Debug, Clone)]
pub struct Records {
    run: Arc<Run>,
    range: Range<usize>,
}

/// Source to lane worker.
pub enum LaneInput {
    Records(Records),
    /// The partition goes on here: retention deleted what lay before.
    Gap(Partition, NextOffset),
    Barrier(Arc<Barrier>),
    /// The partition has been read to the end of its range.
    RangeEnd(Partition),
    /// Close what is open: the range has ended.
    Finish,
}

/// Lane worker to core.
#[derive(Clone)]
pub enum Flow {
    Progress {
        partition: Partition,
        closed: Vec<Trajectory>,
        watermark: EventTime,
        dead_letters: Vec<DeadLetter>,
    },
    /// The merge need not wait for the partition until what is still open in it is closed.
    Read(Partition),
    Ended(Partition),
    Barrier {
        barrier: Arc<Barrier>,
        intakes: Vec<(Partition, IntakeState)>,
    },
}

/// Core to learner.
pub enum LearnerInput {
    Batch(Batch),
    /// What to ask the policy before the next batch.
    Probe(Probe),
    Critic(CriticBatch),
    /// The answer is a fit.
    Baseline(BaselineBatch),
    Barrier(u64),
}

/// Learner to writer: its side of a cut.
pub struct Learned {
    pub barrier: u64,
    pub parts: Parts,
    pub counters: Counters,
    pub validation: ValidationState,
}

/// Core to writer.
pub enum WriterInput {
    Decisions(Vec<u8>),
    DeadLetters(Vec<DeadLetter>),
    Seal(Box<Draft>),
}

/// A checkpoint still without the learner's parts.
pub struct Draft {
    pub barrier: Arc<Barrier>,
    pub intakes: Vec<(Partition, IntakeState)>,
    pub pipeline: PipelineState,
}

/// Writer to source: a seal that is durable.
#[derive(Debug, Clone)]
pub struct Sealed {
    pub barrier: Arc<Barrier>,
    pub position: Position,
}

impl Records {
    pub fn whole(run: Run) -> Records {
        let range = 0..run.len();
        Records { run: Arc::new(run), range }
    }

    pub fn partition(&self) -> Partition {
        self.run.partition()
    }

    pub fn len(&self) -> usize {
        self.range.len()
    }

    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = RecordRef<'_>> {
        self.range.clone().filter_map(|index| self.run.get(index))
    }

    pub fn last(&self) -> Option<RecordRef<'_>> {
        self.run.get(self.range.clone().next_back()?)
    }

    /// Of keys, values and headers, as if all records of the run were alike.
    pub fn bytes(&self) -> usize {
        self.run.bytes() * self.len() / self.run.len().max(1)
    }

    pub fn first_offset(&self) -> Option<Offset> {
        self.iter().next().map(|record| record.offset)
    }

    /// The position after these records; `None` when there are none.
    pub fn next_offset(&self) -> Option<NextOffset> {
        self.last().map(|record| record.offset.next())
    }

    /// Keeps what lies before `mark` and gives back the rest.
    pub fn split_off(&mut self, mark: NextOffset) -> Records {
        let before = self.iter().take_while(|record| mark.is_past(record.offset)).count();
        self.split_at(before)
    }

    /// Keeps the first `count` records and gives back the rest.
    pub fn split_at(&mut self, count: usize) -> Records {
        let before = count.min(self.len());
        let middle = self.range.start + before;
        let rest = Records { run: Arc::clone(&self.run), range: middle..self.range.end };
        self.range.end = middle;
        rest
    }
}
