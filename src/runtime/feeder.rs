//! The feeder: owns the source, hands records to the lanes, and decides where the cuts are.
//!
//! It never blocks on a lane. What a lane cannot take yet waits here, and the partitions concerned are paused while the
//! source goes on being polled.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError};

use super::JobError;
use super::board::Board;
use super::gauges::{Gauges, Limits};
use super::idle::IdleWatch;
use super::journal::Journal;
use super::kill::{KillMark, kill_self};
use super::messages::{Barrier, IdleChange, LaneInput, Purpose, Records, Sealed};
use crate::clock;
use crate::position::{NextOffset, Offset, Partition, Position};
use crate::source::{Polled, Source};

/// When to seal on the way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SealPlan {
    pub every: Option<Duration>,
    pub every_records: Option<u64>,
}

pub struct Feeder {
    pub source: Box<dyn Source>,
    pub lanes: Vec<Sender<LaneInput>>,
    /// One for each writer; a cut is durable when all have said so.
    pub sealed: Vec<Receiver<Sealed>>,
    pub stop: Arc<AtomicBool>,
    pub gauges: Arc<Gauges>,
    pub limits: Limits,
    pub plan: SealPlan,
    /// `None` for a range, which ends by itself.
    pub idle: Option<IdleWatch>,
    /// Idle decisions of an earlier run that are still to be honored.
    pub journal: Journal,
    pub kill: Option<KillMark>,
    pub commit: bool,
    /// How long reading waits for a seal or a lane before the source is paused and polled on.
    pub patience: Duration,
    pub position: Position,
    pub next_barrier: u64,
    pub board: Arc<Board>,
}

/// What may wait for one lane worker before reading does: bytes, because a run may be one record or thousands; and runs,
/// because each costs something as well.
const WAITING_BYTES_MAX: usize = 4 << 20;
const WAITING_RUNS_MAX: usize = 1024;
/// See [`Feeder::patience`].
pub const PATIENCE: Duration = Duration::from_millis(250);
/// How often reading looks again while it waits.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

struct Reading {
    waiting: Vec<VecDeque<LaneInput>>,
    paused: BTreeSet<Partition>,
    /// Partitions read to the end of their range.
    ended: BTreeSet<Partition>,
    /// Those of them whose lanes have been told.
    told: BTreeSet<Partition>,
    in_flight: bool,
    /// Writers that have not yet made the cut in flight durable.
    unsealed: BTreeSet<usize>,
    records: u64,
    records_since_cut: u64,
    last_cut: Instant,
    /// Since when a lane has more waiting than it may.
    full_since: Option<Instant>,
    /// Where partitions go on whose next records retention has deleted, in the order in which that was found.
    gaps: Vec<(Partition, NextOffset)>,
    /// Records behind the next cut, where a mark of the journal or a full count puts it.
    behind_cut: Vec<Records>,
    stage: Stage,
}

/// What comes after one round.
enum Step {
    Go,
    /// Nothing can be done for a moment.
    Wait,
    /// Everything is done, or nobody is left to do it for.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reading,
    /// The last cut of this stage has been sent; the stage after it begins when it is durable.
    Sealing(Purpose),
    Done,
}

impl Feeder {
    /// Until the range is complete and sealed, or until a stop is sealed.
    pub fn run(mut self) -> Result<(), JobError> {
        let mut reading = Reading::new(self.lanes.len());
        loop {
            match self.step(&mut reading)? {
                Step::Go => {}
                Step::Wait => std::thread::park_timeout(LOOK_AGAIN),
                Step::End => return Ok(()),
            }
        }
    }

    fn step(&mut self, reading: &mut Reading) -> Result<Step, JobError> {
        if !self.flush(reading) || !self.take_seals(reading)? || reading.stage == Stage::Done {
            return Ok(Step::End);
        }
        if reading.stage == Stage::Reading {
            self.tell_ends(reading);
            self.cut_if_due(reading);
        }
        // Seals and lanes take milliseconds, and a client that is paused forgets what it has prefetched: wait a little
        // first.
        let is_full = reading.waiting.iter().any(is_full);
        reading.full_since = is_full.then(|| reading.full_since.unwrap_or_else(clock::instant));
        let waits_for_lane = reading.full_since.is_some_and(|since| since.elapsed() < self.patience);
        if waits_for_lane || (self.is_held_up(reading) && reading.last_cut.elapsed() < self.patience) {
            return Ok(Step::Wait);
        }
        self.pause_and_resume(reading)?;
        self.poll(reading)?;
        Ok(Step::Go)
    }

    /// Moves what waits into the lanes, in order, without blocking. `false` when a lane has gone.
    fn flush(&self, reading: &mut Reading) -> bool {
        for (lane, waiting) in self.lanes.iter().zip(&mut reading.waiting) {
            while let Some(input) = waiting.pop_front() {
                match lane.try_send(input) {
                    Ok(()) => {}
                    Err(TrySendError::Full(input)) => {
                        waiting.push_front(input);
                        break;
                    }
                    Err(TrySendError::Disconnected(_)) => return false,
                }
            }
        }
        true
    }

    /// `false` when the writer has gone.
    fn take_seals(&mut self, reading: &mut Reading) -> Result<bool, JobError> {
        loop {
            let mut newest = None;
            for (writer, sealed) in self.sealed.iter().enumerate() {
                match sealed.try_recv() {
                    Ok(sealed) => {
                        reading.unsealed.remove(&writer);
                        newest = Some(sealed);
                    }
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => return Ok(false),
                }
            }
            let Some(sealed) = newest.filter(|_| reading.unsealed.is_empty()) else { return Ok(true) };
            reading.in_flight = false;
            // Only what is durable may be committed: the other way round a crash would skip records.
            if self.commit {
                self.source.commit(&sealed.position).map_err(JobError::Source)?;
            }
            match sealed.barrier.purpose {
                Purpose::Routine => {}
                Purpose::Complete | Purpose::Stop => reading.stage = Stage::Done,
                Purpose::RangeRead => {
                    reading.waiting.iter_mut().for_each(|waiting| waiting.push_back(LaneInput::Finish));
                    self.cut(reading, Purpose::Complete, Vec::new());
                }
            }
        }
    }

    fn cut_if_due(&mut self, reading: &mut Reading) {
        if reading.in_flight {
            return;
        }
        if self.stop.load(Ordering::Relaxed) {
            return self.cut(reading, Purpose::Stop, Vec::new());
        }
        // A decision may lie at the very end of the range: the range has not been read before it is honored.
        if let Some(changes) =
            self.journal.next_if(|partition, mark| reading.has_reached(&self.position, partition, mark))
        {
            self.cut(reading, Purpose::Routine, changes);
            return self.release_waiting(reading);
        }
        if reading.ended.len() == self.position.len() && reading.behind_cut.is_empty() && self.journal.is_empty() {
            return self.cut(reading, Purpose::RangeRead, Vec::new());
        }
        let changes = self.idle.as_mut().map(IdleWatch::changes).unwrap_or_default();
        if !changes.is_empty() || self.is_routine_due(reading) {
            self.cut(reading, Purpose::Routine, changes);
            self.release_waiting(reading);
        }
    }

    /// From here on the merge need not wait for partitions that have ended. Not while a journal is being honored: it says
    /// for whom the merge of that run waited, and what came out before the next decision depends on it.
    fn tell_ends(&mut self, reading: &mut Reading) {
        if !self.journal.is_empty() {
            return;
        }
        let new = reading.ended.difference(&reading.told).copied();
        let new: Vec<Partition> = new.filter(|partition| reading.first_behind_cut(*partition).is_none()).collect();
        for partition in new {
            self.pass_gaps(reading, partition, None);
            reading.waiting[lane_of(partition, self.lanes.len())].push_back(LaneInput::RangeEnd(partition));
            reading.told.insert(partition);
        }
    }

    fn is_routine_due(&self, reading: &Reading) -> bool {
        let by_records = self.plan.every_records.is_some_and(|every| reading.records_since_cut >= every);
        let by_time = self.plan.every.is_some_and(|every| reading.last_cut.elapsed() >= every);
        by_records || (by_time && reading.records_since_cut > 0)
    }

    fn cut(&mut self, reading: &mut Reading, purpose: Purpose, idle: Vec<IdleChange>) {
        let barrier = Arc::new(Barrier { number: self.next_barrier, purpose, idle });
        self.next_barrier += 1;
        reading.waiting.iter_mut().for_each(|waiting| waiting.push_back(LaneInput::Barrier(Arc::clone(&barrier))));
        reading.in_flight = true;
        reading.unsealed = (0..self.sealed.len()).collect();
        reading.records_since_cut = 0;
        reading.last_cut = clock::instant();
        if purpose != Purpose::Routine {
            reading.stage = Stage::Sealing(purpose);
        }
    }

    /// A seal that is due but must wait for the one in flight stops the reading: else a slow disk would let the distance
    /// between two seals grow without bound.
    fn is_held_up(&self, reading: &Reading) -> bool {
        reading.stage != Stage::Reading
            || (reading.in_flight && self.is_routine_due(reading) && self.plan.every_records.is_some())
    }

    fn pause_and_resume(&mut self, reading: &mut Reading) -> Result<(), JobError> {
        let held_up = self.is_held_up(reading);
        let awaits_journal = self.position.keys().any(|partition| self.is_at_mark(reading, *partition));
        let wanted: BTreeSet<Partition> = self
            .position
            .keys()
            .filter(|partition| {
                held_up
                    || is_full(&reading.waiting[lane_of(**partition, self.lanes.len())])
                    // The one that the merge waits for may stand at its mark, and go on only when this one has come to its own.
                    || (!awaits_journal && self.gauges.is_ahead(**partition, &self.limits))
                    || self.idle.as_ref().is_some_and(|idle| idle.is_waking(**partition))
                    || self.is_at_mark(reading, **partition)
            })
            .copied()
            .collect();
        let pause: Vec<Partition> = wanted.difference(&reading.paused).copied().collect();
        let resume: Vec<Partition> = reading.paused.difference(&wanted).copied().collect();
        if !pause.is_empty() {
            self.source.pause(&pause).map_err(JobError::Source)?;
        }
        if !resume.is_empty() {
            self.source.resume(&resume).map_err(JobError::Source)?;
        }
        reading.paused = wanted;
        self.board.reading(&self.source.known_ends(), &reading.paused);
        Ok(())
    }

    fn is_at_mark(&self, reading: &Reading, partition: Partition) -> bool {
        self.journal.mark(partition).is_some_and(|mark| reading.has_reached(&self.position, partition, mark))
    }

    fn poll(&mut self, reading: &mut Reading) -> Result<(), JobError> {
        // Short while something waits for a lane or a seal, long enough otherwise to cost next to nothing when idle.
        let busy = reading.in_flight || reading.waiting.iter().any(|waiting| !waiting.is_empty());
        let timeout = Duration::from_millis(if busy { 1 } else { 50 });
        match self.source.poll(timeout).map_err(JobError::Source)? {
            Polled::Records(runs) => {
                for run in runs {
                    self.dispatch(reading, Records::whole(run));
                }
            }
            Polled::Nothing => {}
            Polled::Lost { partition, to, .. } => {
                reading.gaps.push((partition, to));
            }
            Polled::RangeEnd(partition) => {
                reading.ended.insert(partition);
            }
            Polled::CaughtUp(partition) => {
                if let Some(idle) = &mut self.idle {
                    idle.caught_up(partition);
                }
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, reading: &mut Reading, records: Records) {
        // Records of an idle partition wait for the cut at which it wakes up.
        let admitted = match &mut self.idle {
            Some(idle) => idle.admit(records),
            None => Some(records),
        };
        if let Some(records) = admitted {
            self.hand_over(reading, records);
        }
    }

    fn release_waiting(&mut self, reading: &mut Reading) {
        let awoken = self.idle.as_mut().map(IdleWatch::awoken).unwrap_or_default();
        let beyond = std::mem::take(&mut reading.behind_cut);
        for records in awoken.into_iter().chain(beyond) {
            self.hand_over(reading, records);
        }
    }

    fn hand_over(&mut self, reading: &mut Reading, mut records: Records) {
        let partition = records.partition();
        // What lies behind the next cut waits for it.
        let behind_mark = self.journal.mark(partition).map(|mark| records.split_off(mark));
        let behind_count = records.split_at(self.room(reading));
        reading.behind_cut.extend([Some(behind_count), behind_mark].into_iter().flatten().filter(|r| !r.is_empty()));
        let Some(next) = records.next_offset() else { return };
        let count = records.len() as u64;
        self.pass_gaps(reading, partition, records.first_offset());
        self.position.insert(partition, next);
        let lane = lane_of(partition, self.lanes.len());
        reading.waiting[lane].push_back(LaneInput::Records(records));
        reading.records += count;
        reading.records_since_cut += count;
        self.board.read(partition, count, next);
        if let Some(KillMark::Record(mark)) = self.kill
            && reading.records >= mark
        {
            self.board.announce_kill();
            kill_self();
        }
    }

    /// A gap is part of the state together with what comes after it, the record `first`; and not before, for what lies before
    /// the gap may still wait for a cut.
    fn pass_gaps(&mut self, reading: &mut Reading, partition: Partition, first: Option<Offset>) {
        let is_passed =
            |(gap, to): &(Partition, NextOffset)| *gap == partition && first.is_none_or(|first| !to.is_past(first));
        for (_, to) in reading.gaps.extract_if(.., |gap| is_passed(gap)) {
            self.position.insert(partition, to);
            reading.waiting[lane_of(partition, self.lanes.len())].push_back(LaneInput::Gap(partition, to));
        }
    }

    /// Records that may still be handed over before the next cut by count, or before the death that was asked for.
    fn room(&self, reading: &Reading) -> usize {
        let cut = self.plan.every_records.map(|every| every.saturating_sub(reading.records_since_cut));
        let death = match self.kill {
            Some(KillMark::Record(mark)) => Some(mark.saturating_sub(reading.records)),
            Some(KillMark::Disk(_)) | None => None,
        };
        let room = cut.into_iter().chain(death).min().unwrap_or(u64::MAX);
        usize::try_from(room).unwrap_or(usize::MAX)
    }
}

fn is_full(waiting: &VecDeque<LaneInput>) -> bool {
    let bytes = |input: &LaneInput| match input {
        LaneInput::Records(records) => records.bytes(),
        LaneInput::Gap(..) | LaneInput::Barrier(_) | LaneInput::RangeEnd(_) | LaneInput::Finish => 0,
    };
    waiting.len() > WAITING_RUNS_MAX || waiting.iter().map(bytes).sum::<usize>() > WAITING_BYTES_MAX
}

impl Reading {
    fn new(lanes: usize) -> Reading {
        Reading {
            waiting: (0..lanes).map(|_| VecDeque::new()).collect(),
            paused: BTreeSet::new(),
            ended: BTreeSet::new(),
            told: BTreeSet::new(),
            in_flight: false,
            unsealed: BTreeSet::new(),
            records: 0,
            records_since_cut: 0,
            last_cut: clock::instant(),
            full_since: None,
            gaps: Vec::new(),
            behind_cut: Vec::new(),
            stage: Stage::Reading,
        }
    }

    fn first_behind_cut(&self, partition: Partition) -> Option<Offset> {
        self.behind_cut.iter().find(|records| records.partition() == partition).and_then(Records::first_offset)
    }

    /// Has everything before `mark` been handed over, and nothing behind it? Offsets have gaps, so the position alone
    /// does not say it: the record behind the mark does, or the end of the range.
    fn has_reached(&self, position: &Position, partition: Partition, mark: NextOffset) -> bool {
        match self.first_behind_cut(partition) {
            Some(waiting) => !mark.is_past(waiting),
            None => position.get(&partition).is_some_and(|next| *next >= mark) || self.ended.contains(&partition),
        }
    }
}

/// Which lane worker owns a partition.
pub fn lane_of(partition: Partition, workers: usize) -> usize {
    partition.0 as usize % workers
}

#[cfg(test)]
mod tests;
