//! Whatever the timing of source and seals, idle decisions take effect at the same place, and nothing is lost or doubled.
//!
//! Each test runs the feeder once for *every* order in which records, ends of ranges and seals can come.

use crossbeam_channel::unbounded;

use super::super::journal::JournalEntry;
use super::*;
use crate::merge::MergeGauge;
use crate::source::{Bounds, LogIdentity, Range, Record, Run, SourceError};
use crate::time::Span;

/// Takes the branches of one run after another until all have been taken.
#[derive(Default)]
struct Branches {
    /// (taken, possible) at each fork of the present run.
    forks: Vec<(usize, usize)>,
    depth: usize,
}

impl Branches {
    fn choose(&mut self, possible: usize) -> usize {
        if possible <= 1 {
            return 0;
        }
        if self.depth == self.forks.len() {
            self.forks.push((0, possible));
        }
        let (taken, known) = self.forks[self.depth];
        assert_eq!(known, possible, "the same choices must lead to the same fork");
        self.depth += 1;
        taken
    }

    /// The next run; `false` after the last.
    fn advance(&mut self) -> bool {
        self.depth = 0;
        while let Some((taken, possible)) = self.forks.pop() {
            if taken + 1 < possible {
                self.forks.push((taken + 1, possible));
                return true;
            }
        }
        false
    }
}

type Shared<T> = Arc<std::sync::Mutex<T>>;

struct Scripted {
    branches: Shared<Branches>,
    /// What is left of each partition, then the end of its range.
    left: Vec<VecDeque<Option<Offset>>>,
    paused: BTreeSet<Partition>,
    commits: Shared<u64>,
    /// Hands out what it had fetched before a pause.
    is_heedless: bool,
}

impl Source for Scripted {
    fn poll(&mut self, _: Duration) -> Result<Polled, SourceError> {
        let is_ready = |number: &usize| {
            let is_paused = self.paused.contains(&Partition(*number as u32));
            match self.left[*number].front() {
                Some(Some(_)) => self.is_heedless || !is_paused,
                Some(None) => true,
                None => false,
            }
        };
        let ready: Vec<usize> = (0..self.left.len()).filter(is_ready).collect();
        if ready.is_empty() {
            return Ok(Polled::Nothing);
        }
        let number = ready[self.branches.lock().unwrap().choose(ready.len())];
        let partition = Partition(number as u32);
        Ok(match self.left[number].pop_front().flatten() {
            Some(offset) => {
                let mut run = Run::new(partition);
                run.push((offset, None), None, Some(b"{}"), std::iter::empty());
                Polled::Records(vec![run])
            }
            None => Polled::RangeEnd(partition),
        })
    }

    fn pause(&mut self, partitions: &[Partition]) -> Result<(), SourceError> {
        self.paused.extend(partitions);
        Ok(())
    }

    fn resume(&mut self, partitions: &[Partition]) -> Result<(), SourceError> {
        self.paused.retain(|partition| !partitions.contains(partition));
        Ok(())
    }

    fn commit(&mut self, _: &Position) -> Result<(), SourceError> {
        *self.commits.lock().unwrap() += 1;
        Ok(())
    }

    fn known_ends(&self) -> Position {
        Position::new()
    }

    fn identity(&self) -> LogIdentity {
        LogIdentity::Topic { cluster: None, topic: "scripted".to_owned() }
    }

    fn partitions(&self) -> Vec<Partition> {
        (0..self.left.len() as u32).map(Partition).collect()
    }

    fn start_offsets(&mut self) -> Result<Position, SourceError> {
        unreachable!("the feeder is given its positions")
    }

    fn end_offsets(&mut self) -> Result<Position, SourceError> {
        unreachable!("the feeder is given its positions")
    }

    fn offsets_at(&mut self, _: i64) -> Result<Position, SourceError> {
        unreachable!("the feeder is given its positions")
    }

    fn newest_timestamp(&mut self) -> Result<Option<i64>, SourceError> {
        unreachable!("the feeder is given its positions")
    }

    fn fetch_one(&mut self, _: Partition, _: Offset) -> Result<Option<Record>, SourceError> {
        unreachable!("the feeder is given its positions")
    }

    fn assign(&mut self, _: &Range) -> Result<(), SourceError> {
        unreachable!("the feeder is given its positions")
    }

    fn last_complaint(&self) -> Option<String> {
        None
    }
}

#[derive(Clone)]
struct Case {
    /// Offsets of the records of each partition, and the end of its range.
    log: Vec<(&'static [u64], u64)>,
    /// Marks by partition, and the change there.
    journal: Vec<(&'static [u64], u32, bool)>,
    plan: SealPlan,
    is_heedless: bool,
    patience: Duration,
    /// The merge holds so many trajectories of this partition back.
    queued: Option<u32>,
    commit: bool,
}

impl Case {
    fn new(log: &[(&'static [u64], u64)], journal: &[(&'static [u64], u32, bool)]) -> Case {
        let plan = SealPlan { every: None, every_records: None };
        let (log, journal) = (log.to_vec(), journal.to_vec());
        Case {
            log,
            journal,
            plan,
            is_heedless: false,
            patience: Duration::from_secs(3600),
            queued: None,
            commit: false,
        }
    }

    /// The same under every plan of seals, with sources that heed a pause at once and late.
    fn under_all_plans(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for every_records in [None, Some(1), Some(2)] {
            for every in [None, Some(Duration::ZERO)] {
                for is_heedless in [false, true] {
                    let plan = SealPlan { every, every_records };
                    cases.push(Case { plan, is_heedless, ..self.clone() });
                }
            }
        }
        cases.push(Case { patience: Duration::ZERO, is_heedless: true, ..self.clone() });
        cases
    }

    /// What the lanes were told, as one story, in each possible order of things.
    fn stories(&self) -> BTreeSet<Vec<Told>> {
        let branches = Shared::<Branches>::default();
        let mut stories = BTreeSet::new();
        for runs in 1.. {
            stories.insert(self.story(&branches));
            assert!(runs < 300_000, "too many to try them all");
            if !branches.lock().unwrap().advance() {
                break;
            }
        }
        stories
    }

    fn feeder(
        &self,
        branches: &Shared<Branches>,
        commits: &Shared<u64>,
        lanes: Vec<Sender<LaneInput>>,
        sealed: Receiver<Sealed>,
    ) -> Feeder {
        let partitions = || (0..).map(Partition);
        let bounds =
            |(_, end): &(&[u64], u64)| Bounds { start: NextOffset::ZERO, end: Some(NextOffset::boundary(*end)) };
        let range: Range = partitions().zip(self.log.iter().map(bounds)).collect();
        let entry = |(marks, partition, idle): &(&[u64], u32, bool)| JournalEntry {
            position: partitions().zip(marks.iter().map(|mark| NextOffset::boundary(*mark))).collect(),
            changes: vec![IdleChange { partition: Partition(*partition), idle: *idle }],
        };
        let left = |(offsets, _): &(&[u64], u64)| {
            offsets.iter().map(|offset| Some(Offset::from_count(*offset))).chain([None]).collect()
        };
        let gauges = Gauges::new(range.keys().copied());
        if let Some(partition) = self.queued {
            gauges.set(Partition(partition), MergeGauge { queued: 9, lead: Span::ZERO });
        }
        Feeder {
            source: Box::new(Scripted {
                branches: Arc::clone(branches),
                left: self.log.iter().map(left).collect(),
                paused: BTreeSet::new(),
                commits: Arc::clone(commits),
                is_heedless: self.is_heedless,
            }),
            lanes,
            sealed: vec![sealed],
            stop: Arc::default(),
            gauges: Arc::new(gauges),
            limits: Limits { queue_max: 8, ahead_max: Span::ZERO },
            plan: self.plan,
            idle: None,
            journal: Journal::of(self.journal.iter().map(entry).collect(), &range, &[]).unwrap(),
            kill: None,
            commit: self.commit,
            patience: self.patience,
            position: range.iter().map(|(partition, bounds)| (*partition, bounds.start)).collect(),
            next_barrier: 0,
            board: Arc::default(),
        }
    }

    fn story(&self, branches: &Shared<Branches>) -> Vec<Told> {
        let (lanes, told): (Vec<_>, Vec<_>) = self.log.iter().map(|_| unbounded()).unzip();
        let (seal, sealed) = unbounded();
        let commits = Shared::<u64>::default();
        let mut feeder = self.feeder(branches, &commits, lanes, sealed);
        let mut reading = Reading::new(self.log.len());
        let mut story = Story::new(self.log.len());
        let (mut steps, mut seals) = (0, 0);
        while !matches!(feeder.step(&mut reading).unwrap(), Step::End) {
            // The lanes see what was flushed at the next step.
            story.listen(&told);
            let is_stuck = !feeder.source.poll_would_bring(&reading) || feeder.is_held_up(&reading);
            if let Some(barrier) = story.unsealed.front().cloned()
                && (is_stuck || branches.lock().unwrap().choose(2) == 1)
            {
                story.unsealed.pop_front();
                seals += 1;
                seal.send(Sealed { barrier, position: Position::new() }).unwrap();
            }
            assert!(*commits.lock().unwrap() <= seals, "the broker has heard of a seal that is not durable yet");
            steps += 1;
            assert!(steps < 500, "the feeder makes no progress: {:?}", story.told);
        }
        assert_eq!(*commits.lock().unwrap(), if self.commit { seals } else { 0 });
        story.told
    }
}

impl dyn Source {
    /// Is anything left that has not been handed out? Seals must then be waited for no longer.
    fn poll_would_bring(&self, reading: &Reading) -> bool {
        self.partitions()
            .iter()
            .any(|partition| !reading.ended.contains(partition) && !reading.paused.contains(partition))
    }
}

/// What the lanes were told that the result depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// Where each partition stood when one fell idle or woke up.
    Idle(Vec<u64>, Vec<(u32, bool)>),
    RangeRead(Vec<u64>),
    Complete,
}

struct Story {
    told: Vec<Told>,
    next: Vec<u64>,
    has_ended: Vec<bool>,
    has_finished: Vec<bool>,
    at_barrier: Vec<VecDeque<Arc<Barrier>>>,
    waiting: Vec<VecDeque<LaneInput>>,
    unsealed: VecDeque<Arc<Barrier>>,
}

impl Story {
    fn new(lanes: usize) -> Story {
        Story {
            told: Vec::new(),
            next: vec![0; lanes],
            has_ended: vec![false; lanes],
            has_finished: vec![false; lanes],
            at_barrier: vec![VecDeque::new(); lanes],
            waiting: (0..lanes).map(|_| VecDeque::new()).collect(),
            unsealed: VecDeque::new(),
        }
    }

    /// Each lane reads on to the barrier, and no lane reads beyond it before all have come to it.
    fn listen(&mut self, lanes: &[Receiver<LaneInput>]) {
        for (waiting, lane) in self.waiting.iter_mut().zip(lanes) {
            waiting.extend(lane.try_iter());
        }
        loop {
            for lane in 0..lanes.len() {
                while self.at_barrier[lane].is_empty()
                    && let Some(input) = self.waiting[lane].pop_front()
                {
                    self.observe(lane, input);
                }
            }
            if self.at_barrier.iter().any(VecDeque::is_empty) {
                return;
            }
            let barriers: Vec<_> = self.at_barrier.iter_mut().filter_map(VecDeque::pop_front).collect();
            assert!(barriers.iter().all(|barrier| barrier.number == barriers[0].number));
            self.align(&barriers[0]);
        }
    }

    fn observe(&mut self, lane: usize, input: LaneInput) {
        match input {
            LaneInput::Records(records) => {
                assert!(!self.has_ended[lane], "a record after the end of the range");
                assert!(records.first_offset().unwrap().raw() >= self.next[lane], "a record twice, or out of order");
                self.next[lane] = records.next_offset().unwrap().raw();
            }
            LaneInput::Gap(..) => panic!("the script has no gaps"),
            LaneInput::RangeEnd(partition) => {
                assert_eq!(partition.0 as usize, lane);
                assert!(!std::mem::replace(&mut self.has_ended[lane], true), "an end told twice");
            }
            LaneInput::Finish => {
                assert!(matches!(self.told.last(), Some(Told::RangeRead(_))), "finished before the range was sealed");
                self.has_finished[lane] = true;
            }
            LaneInput::Barrier(barrier) => self.at_barrier[lane].push_back(barrier),
        }
    }

    fn align(&mut self, barrier: &Arc<Barrier>) {
        self.unsealed.push_back(Arc::clone(barrier));
        assert_eq!(self.unsealed.len(), 1, "one seal at a time");
        if !barrier.idle.is_empty() {
            assert!(!self.has_ended.contains(&true), "the merge of the run still waited for this partition");
            let changes = barrier.idle.iter().map(|change| (change.partition.0, change.idle)).collect();
            self.told.push(Told::Idle(self.next.clone(), changes));
        }
        match barrier.purpose {
            Purpose::Routine => {}
            Purpose::RangeRead => {
                assert!(!self.has_ended.contains(&false), "the merge would not be empty");
                self.told.push(Told::RangeRead(self.next.clone()));
            }
            Purpose::Complete => {
                assert!(!self.has_finished.contains(&false));
                self.told.push(Told::Complete);
            }
            Purpose::Stop => panic!("nobody asked for a stop"),
        }
    }
}

fn check(case: &Case, expected: &[Told]) {
    for case in case.under_all_plans() {
        let stories = case.stories();
        assert!(
            stories.len() == 1 && stories.iter().all(|story| story == expected),
            "seals {:?}, heedless {}: expected {expected:?}, came {stories:?}",
            case.plan,
            case.is_heedless
        );
    }
}

fn idle(position: &[u64], partition: u32, idle: bool) -> Told {
    Told::Idle(position.to_vec(), vec![(partition, idle)])
}

fn read(position: &[u64]) -> Told {
    Told::RangeRead(position.to_vec())
}

#[test]
fn a_range_without_a_journal_is_read_sealed_closed_and_sealed() {
    let case = Case::new(&[(&[0, 1, 2], 3), (&[0], 1)], &[]);
    check(&case, &[read(&[3, 1]), Told::Complete]);
}

#[test]
fn decisions_in_the_middle_take_effect_at_their_marks() {
    let case = Case::new(&[(&[0, 1, 2], 3), (&[0, 1], 2)], &[(&[2, 0], 1, true), (&[3, 0], 1, false)]);
    check(&case, &[idle(&[2, 0], 1, true), idle(&[3, 0], 1, false), read(&[3, 2]), Told::Complete]);
}

#[test]
fn decisions_at_the_end_of_the_range_are_honored_each_of_them() {
    let case = Case::new(&[(&[0, 1], 2), (&[0], 1)], &[(&[2, 1], 0, true), (&[2, 1], 1, true)]);
    check(&case, &[idle(&[2, 1], 0, true), idle(&[2, 1], 1, true), read(&[2, 1]), Told::Complete]);
}

#[test]
fn decisions_before_the_first_record_and_several_at_one_place_keep_their_order() {
    let case = Case::new(
        &[(&[0, 1], 2), (&[0], 1)],
        &[(&[0, 0], 1, true), (&[1, 0], 0, true), (&[1, 0], 0, false), (&[1, 0], 1, false)],
    );
    let expected = [idle(&[0, 0], 1, true), idle(&[1, 0], 0, true), idle(&[1, 0], 0, false), idle(&[1, 0], 1, false)];
    check(&case, &[&expected[..], &[read(&[2, 1]), Told::Complete]].concat());
}

#[test]
fn a_mark_inside_a_gap_of_the_offsets_is_reached() {
    // Offset 2 was a marker of a transaction for the run, or has been compacted since.
    let case = Case::new(&[(&[0, 1, 3], 5), (&[0], 2)], &[(&[3, 1], 1, true), (&[4, 2], 1, false)]);
    check(&case, &[idle(&[2, 1], 1, true), idle(&[4, 1], 1, false), read(&[4, 1]), Told::Complete]);
}

#[test]
fn a_range_that_ends_before_a_mark_has_reached_it_at_its_end() {
    // Partition 0 ends early, but records of partition 1 lie behind the decision.
    let case = Case::new(&[(&[0], 1), (&[0, 1], 2)], &[(&[3, 0], 1, true), (&[4, 1], 1, false)]);
    check(&case, &[idle(&[1, 0], 1, true), idle(&[1, 1], 1, false), read(&[1, 2]), Told::Complete]);
}

#[test]
fn a_partition_over_its_limit_is_read_on_while_another_stands_at_its_mark() {
    let mut case = Case::new(&[(&[0, 1, 2], 3), (&[0], 1)], &[(&[3, 0], 1, true)]);
    case.queued = Some(0);
    check(&case, &[idle(&[3, 0], 1, true), read(&[3, 1]), Told::Complete]);
}

#[test]
fn the_broker_hears_of_a_position_only_when_it_is_sealed() {
    let mut case = Case::new(&[(&[0, 1, 2], 3), (&[0], 1)], &[]);
    case.commit = true;
    check(&case, &[read(&[3, 1]), Told::Complete]);
}

#[test]
fn a_gap_is_told_after_what_lies_before_it_and_before_what_lies_behind_it() {
    let case = Case::new(&[(&[], 9)], &[]);
    let (lane, told) = unbounded();
    let (_seal, sealed) = unbounded();
    let mut feeder = case.feeder(&Default::default(), &Default::default(), vec![lane], sealed);
    let mut reading = Reading::new(1);
    let records = |offset: u64| {
        let mut run = Run::new(Partition(0));
        run.push((Offset::from_count(offset), None), None, Some(b"{}"), std::iter::empty());
        Records::whole(run)
    };
    // Records wait for a cut when the source finds, twice, that those behind them are gone.
    reading.behind_cut = vec![records(0), records(5)];
    reading.gaps = [3, 8].map(|to| (Partition(0), NextOffset::boundary(to))).to_vec();
    feeder.release_waiting(&mut reading);
    feeder.hand_over(&mut reading, records(8));
    feeder.flush(&mut reading);
    let told: Vec<(bool, u64)> = told
        .try_iter()
        .map(|input| match input {
            LaneInput::Gap(_, to) => (true, to.raw()),
            LaneInput::Records(records) => (false, records.first_offset().unwrap().raw()),
            LaneInput::Barrier(_) | LaneInput::RangeEnd(_) | LaneInput::Finish => panic!("nothing has ended"),
        })
        .collect();
    assert_eq!(told, [(false, 0), (true, 3), (false, 5), (true, 8), (false, 8)]);
}
