//! One process: the stages of a job without their threads. Whose turn it is, the dice say.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, never, unbounded};

use super::dice::Dice;
use super::setup::Setup;
use super::student::Student;
use crate::checkpoint::{Appendix, Disk, End, Hold, Loaded, Sequence, SettingsDigests, Store};
use crate::learner::Parts;
use crate::live::Sessions;
use crate::pipeline::{Intake, Pipeline};
use crate::position::{NextOffset, Partition, Position};
use crate::runtime::board::Board;
use crate::runtime::content::{self, Content, Meta};
use crate::runtime::core::{Alignment, Core};
use crate::runtime::feeder::lane_of;
use crate::runtime::gauges::Gauges;
use crate::runtime::lanes::LaneWorker;
use crate::runtime::messages::{
    Barrier, Flow, IdleChange, LaneInput, Learned, LearnerInput, Purpose, Records, Sealed, WriterInput,
};
use crate::runtime::writer::{DEAD_LETTERS, DECISIONS, DeadLetters, Writer};
use crate::runtime::{JobError, Stopped};
use crate::score::NetworkFit;
use crate::source::{LogIdentity, Run};

pub const STATE: &str = "/data/state";
pub const DECISION_LOG: &str = "/data/out/decisions.jsonl";
pub const DEAD_LETTER_LOG: &str = "/data/out/dead-letters.jsonl";
/// Small, so that side files rotate.
const ROTATE_BYTES: NonZeroU64 = NonZeroU64::new(4000).unwrap();

pub fn meta() -> Meta {
    Meta {
        range: None,
        log: LogIdentity::Topic { cluster: None, topic: "world".to_owned() },
        settings: BTreeMap::new(),
        catalog: [0; 32],
        journal: Vec::new(),
        idle: Default::default(),
        restarts: 0,
    }
}

pub struct Life {
    pub board: Arc<Board>,
    workers: Vec<LaneWorker>,
    inputs: Vec<VecDeque<LaneInput>>,
    core: Core,
    alignment: Alignment,
    student: Student,
    for_student: Receiver<LearnerInput>,
    learned: Sender<Learned>,
    fits: Sender<NetworkFit>,
    writer: Writer,
    for_writer: Receiver<WriterInput>,
    next_for_writer: Option<WriterInput>,
    in_use: Option<Hold>,
    sealed: Receiver<Sealed>,
    next_barrier: u64,
}

/// Whose turn it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Lane(usize),
    Core(usize),
    /// The core again, with a fit for which it has waited.
    Fit,
    Student,
    Writer,
    /// The writer again, with a checkpoint.
    Seal,
}

struct Beginning {
    intakes: BTreeMap<Partition, Intake>,
    pipeline: Pipeline,
    student: Student,
    fit_in_flight: Option<NetworkFit>,
    meta: Meta,
    parent: Option<Sequence>,
    side_files: Option<BTreeMap<String, End>>,
}

impl Life {
    /// Goes on from `loaded`, or begins at `start`.
    pub fn begin(
        setup: &Setup,
        dice: &mut Dice,
        store: Store,
        loaded: Loaded,
        start: &Position,
    ) -> Result<Life, crate::checkpoint::Error> {
        let begin = Beginning::of(setup, loaded, start);
        let open = |path: &str, name: &str| {
            let end = begin.side_files.as_ref().map(|ends| ends.get(name).copied().unwrap_or_default());
            Appendix::open(store.disk(), Path::new(STATE), Path::new(path), ROTATE_BYTES, end)
        };
        let (decisions, dead_letters) = (open(DECISION_LOG, DECISIONS)?, open(DEAD_LETTER_LOG, DEAD_LETTERS)?);
        let board = Arc::new(Board::default());
        let live = Arc::new(Sessions::new(2));
        let count = 1 + dice.below(3) as usize;
        let (flows, lanes): (Vec<_>, Vec<_>) = (0..count).map(|_| unbounded()).unzip();
        let mut workers: Vec<LaneWorker> = flows
            .into_iter()
            .map(|output| LaneWorker {
                topic: Arc::from("world"),
                intakes: BTreeMap::new(),
                input: never(),
                outputs: vec![output],
                live: Arc::clone(&live),
            })
            .collect();
        for (partition, intake) in begin.intakes {
            workers[lane_of(partition, count)].intakes.insert(partition, intake);
        }
        let (learner, for_student) = unbounded();
        let (writer, for_writer) = unbounded();
        let (learned, parts) = unbounded();
        let (fits, fits_receiver) = unbounded();
        begin.fit_in_flight.into_iter().for_each(|fit| fits.send(fit).unwrap());
        let (sealed_sender, sealed) = unbounded();
        let gauges = Arc::new(Gauges::new(setup.partitions.iter().copied()));
        let core = Core {
            pipeline: begin.pipeline,
            lanes,
            learner,
            fits: fits_receiver,
            writer,
            gauges,
            board: Arc::clone(&board),
            cut: None,
        };
        let writer = Writer {
            store,
            parent: begin.parent,
            decisions: Some(decisions),
            dead_letters: DeadLetters::File(dead_letters),
            settings: SettingsDigests::default(),
            meta: begin.meta,
            input: never(),
            learner: parts,
            sealed: sealed_sender,
            announce: None,
            board: Arc::clone(&board),
        };
        Ok(Life {
            board,
            inputs: workers.iter().map(|_| VecDeque::new()).collect(),
            alignment: Alignment::new(workers.len()),
            workers,
            core,
            student: begin.student,
            for_student,
            learned,
            fits,
            in_use: writer.hold(),
            writer,
            for_writer,
            next_for_writer: None,
            sealed,
            next_barrier: 0,
        })
    }

    pub fn hand_over(&mut self, run: Run) {
        let lane = lane_of(run.partition(), self.workers.len());
        self.inputs[lane].push_back(LaneInput::Records(Records::whole(run)));
    }

    pub fn skip_to(&mut self, partition: Partition, to: NextOffset) {
        let lane = lane_of(partition, self.workers.len());
        self.inputs[lane].push_back(LaneInput::Gap(partition, to));
    }

    pub fn cut(&mut self, purpose: Purpose, idle: Vec<IdleChange>) {
        let barrier = Arc::new(Barrier { number: self.next_barrier, purpose, idle });
        self.next_barrier += 1;
        self.inputs.iter_mut().for_each(|input| input.push_back(LaneInput::Barrier(Arc::clone(&barrier))));
    }

    pub fn finish(&mut self) {
        self.inputs.iter_mut().for_each(|input| input.push_back(LaneInput::Finish));
    }

    /// Everybody who has something to do.
    pub fn turns(&mut self) -> Vec<Turn> {
        let lanes = (0..self.workers.len()).filter(|lane| !self.inputs[*lane].is_empty()).map(Turn::Lane);
        let mut turns: Vec<Turn> = lanes.collect();
        let is_waiting = self.core.is_waiting();
        if is_waiting && !self.core.fits.is_empty() {
            turns.push(Turn::Fit);
        }
        let is_ready =
            |lane: &usize| !is_waiting && self.alignment.is_awaited(*lane) && !self.core.lanes[*lane].is_empty();
        turns.extend((0..self.workers.len()).filter(is_ready).map(Turn::Core));
        if !self.for_student.is_empty() {
            turns.push(Turn::Student);
        }
        if self.next_for_writer.is_none() {
            self.next_for_writer = self.for_writer.try_recv().ok();
        }
        match &self.next_for_writer {
            Some(WriterInput::Seal(_)) if self.writer.learner.is_empty() => {}
            Some(WriterInput::Seal(_)) => turns.push(Turn::Seal),
            Some(WriterInput::Decisions(_) | WriterInput::DeadLetters(_)) => turns.push(Turn::Writer),
            None => {}
        }
        turns
    }

    pub fn take(&mut self, turn: Turn) -> Result<(), JobError> {
        match turn {
            Turn::Lane(lane) => {
                let input = self.inputs[lane].pop_front().unwrap();
                heard(self.workers[lane].step(input)?)
            }
            Turn::Core(lane) => {
                let flow: Flow = self.core.lanes[lane].try_recv().unwrap();
                heard(self.core.step(&mut self.alignment, lane, Some(flow))?)
            }
            Turn::Fit => {
                let fit = self.core.fits.try_recv().unwrap();
                heard(self.core.accept(fit)?)
            }
            Turn::Student => match self.for_student.try_recv().unwrap() {
                LearnerInput::Batch(batch) => self.student.update(&batch),
                LearnerInput::Probe(_) | LearnerInput::Critic(_) => panic!("nobody asked for these"),
                LearnerInput::Baseline(batch) => self.fits.send(self.student.learn_baseline(&batch)).unwrap(),
                LearnerInput::Barrier(barrier) => {
                    let (parts, counters) = (self.student.export(), self.student.counters());
                    self.learned.send(Learned { barrier, parts, counters, validation: Default::default() }).unwrap();
                }
            },
            Turn::Writer | Turn::Seal => {
                let input = self.next_for_writer.take().unwrap();
                assert!(self.writer.step(input, &mut self.in_use)?, "somebody listens to the writer");
            }
        }
        Ok(())
    }

    /// The checkpoint that has become durable since it was asked last.
    pub fn sealed(&mut self) -> Option<(Sequence, Sealed)> {
        let sealed = self.sealed.try_recv().ok()?;
        Some((self.writer.parent.unwrap(), sealed))
    }

    /// The number that the next checkpoint will have.
    pub fn next_sequence(&self) -> Sequence {
        self.writer.parent.map_or(Sequence::FIRST, Sequence::next)
    }

    pub fn meta(&self) -> &Meta {
        &self.writer.meta
    }

    pub fn intakes(&self) -> impl Iterator<Item = (&Partition, &Intake)> {
        self.workers.iter().flat_map(|worker| &worker.intakes)
    }
}

fn heard(outcome: Result<(), Stopped>) {
    outcome.expect("somebody listens to every stage");
}

impl Beginning {
    fn of(setup: &Setup, loaded: Loaded, start: &Position) -> Beginning {
        let decoder = || Arc::clone(&setup.decoder);
        let Some((sealed, parts)) = loaded.newest else {
            let intake = |(partition, start)| (partition, Intake::new(partition, start, decoder(), setup.sessions));
            return Beginning {
                intakes: start.clone().into_iter().map(intake).collect(),
                pipeline: setup.new_pipeline(),
                student: Student::new(setup),
                fit_in_flight: None,
                meta: meta(),
                parent: None,
                side_files: None,
            };
        };
        let (content, mut meta): (Content, Meta) = content::decode(&parts.state).unwrap();
        let learned = Parts { policy: parts.policy, optimizer: parts.optimizer };
        let digest = content::encode(&content, &meta, &learned, &mut std::io::sink()).unwrap();
        assert_eq!(digest, sealed.manifest.facts.digest, "what was read back is not what the manifest says");
        meta.restarts += 1;
        let intake =
            |(partition, state)| (partition, Intake::restore(partition, state, decoder(), setup.sessions).unwrap());
        let pipeline = setup.restored_pipeline(content.pipeline);
        let student = Student::restore(setup, &learned);
        let fit_in_flight = student.fit();
        assert_eq!(fit_in_flight.as_ref().map(|fit| fit.generation), pipeline.fit_in_flight());
        Beginning {
            intakes: content.intakes.into_iter().map(intake).collect(),
            pipeline,
            student,
            fit_in_flight,
            meta,
            parent: Some(sealed.sequence),
            side_files: Some(sealed.manifest.facts.side_files),
        }
    }
}

pub fn open(disk: Arc<dyn Disk>, setup: &Setup) -> Result<(Store, Loaded), crate::checkpoint::Error> {
    let mut store = Store::open(disk, Path::new(STATE), setup.keep)?;
    let loaded = store.load_newest()?;
    Ok((store, loaded))
}
