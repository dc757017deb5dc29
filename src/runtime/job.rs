//! A job: one log read by one learner, from its last checkpoint to its end, to a stop, or to the first failure.

use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::beginning::{Beginning, Restored, WarmStart};
use super::board::Board;
use super::core::Core;
use super::feeder::{Feeder, PATIENCE, SealPlan, lane_of};
use super::gauges::{Gauges, Limits};
use super::idle::IdleWatch;
use super::journal::{Journal, JournalEntry};
use super::kill::KillMark;
use super::lanes::LaneWorker;
use super::messages::Flow;
use super::publisher::Announce;
use super::trainer::Trainer;
use super::writer::{DEAD_LETTERS, DECISIONS, DeadLetters, Writer};
use super::{JobError, messages};
use crate::assemble::SessionRules;
use crate::checkpoint::{Appendix, SettingsDigests, Store};
use crate::decode::Decoder;
use crate::kafka::DeadLetterTopic;
use crate::learner::LearnerSettings;
use crate::live::Sessions;
use crate::pipeline::{Breaker, PipelineRules};
use crate::position::Partition;
use crate::score::ScoreRules;
use crate::source::{Range, Source};
use crate::state::StateEncoder;
use crate::validation::{Validation, ValidationRules};

/// Everything that shapes a job, already validated.
pub struct JobSpec {
    pub topic: Arc<str>,
    pub decoder: Arc<Decoder>,
    pub sessions: SessionRules,
    pub encoder: Arc<StateEncoder>,
    pub score: ScoreRules,
    pub pipeline: PipelineRules,
    pub vocabulary_capacity: usize,
    pub learner: LearnerSettings,
    pub validation: ValidationRules,
    pub breaker: Breaker,
    pub limits: Limits,
    pub seals: SealPlan,
    pub keep: NonZeroUsize,
    pub threads: usize,
    /// Effective settings by name with their digests.
    pub settings: BTreeMap<String, String>,
    pub settings_digests: SettingsDigests,
    pub state: PathBuf,
    pub decisions: Option<PathBuf>,
    pub dead_letters: PathBuf,
    pub dead_letter_topic: Option<Box<DeadLetterTopic>>,
    pub kill: Option<KillMark>,
    pub mode: Mode,
    /// What a state that is not there yet begins with.
    pub warm_start: Option<WarmStart>,
    pub live: Arc<Sessions>,
    /// Who hears of the sealed policies.
    pub announce: Option<Announce>,
    /// Where the job tells how it stands.
    pub board: Arc<Board>,
}

#[derive(Debug, Clone)]
pub enum Mode {
    /// `run`: no end; the broker hears of every seal.
    Live { idle_after: Option<Duration> },
    /// `replay`: to the end of the range, honoring the idle decisions of an earlier run.
    Range { journal: Vec<JournalEntry> },
}

/// Side files grow to this size before the next one begins.
const ROTATE_BYTES: NonZeroU64 = NonZeroU64::MIN.saturating_add(1 << 30);
/// Runs of records on the way to one lane worker, closed work on the way to the core.
const LANE_QUEUE: usize = 8;
/// Batches on the way to the learner.
const LEARNER_QUEUE: usize = 32;
const WRITER_QUEUE: usize = 64;
/// Fits on the way back: judging waits for one before it asks for the next but one, so the learner never waits here.
const FITS_QUEUE: usize = 2;

/// A job on its threads.
pub struct Job {
    threads: Vec<(String, JoinHandle<Result<(), JobError>>)>,
    stop: Arc<AtomicBool>,
    board: Arc<Board>,
}

impl Job {
    /// Goes on from `restored`, or begins anew at the start of `range`.
    pub fn start(
        spec: JobSpec,
        store: Store,
        restored: Option<Restored>,
        source: Box<dyn Source>,
        range: Range,
    ) -> Result<Job, JobError> {
        let begin = Beginning::of(&spec, restored, &range, &*source)?;
        Job::begin(vec![(spec, store, begin)], source, range)
    }

    /// Several learners beside each other, each with its own state, over one reading of the log from its beginning.
    ///
    /// They read and assemble as the first of them says. Back-pressure is the slowest one's.
    pub fn start_together(jobs: Vec<(JobSpec, Store)>, source: Box<dyn Source>, range: Range) -> Result<Job, JobError> {
        let jobs = jobs.into_iter().map(|(spec, store)| {
            let begin = Beginning::of(&spec, None, &range, &*source)?;
            Ok((spec, store, begin))
        });
        let jobs = jobs.collect::<Result<Vec<_>, JobError>>()?;
        Job::begin(jobs, source, range)
    }

    fn begin(
        jobs: Vec<(JobSpec, Store, Beginning)>,
        mut source: Box<dyn Source>,
        range: Range,
    ) -> Result<Job, JobError> {
        let position = jobs.first().map(|(_, _, begin)| begin.position.clone()).unwrap_or_default();
        let remaining: Range = range
            .iter()
            .map(|(partition, bounds)| {
                let start = position.get(partition).copied().unwrap_or(bounds.start);
                (*partition, crate::source::Bounds { start, end: bounds.end })
            })
            .collect();
        source.assign(&remaining).map_err(JobError::Source)?;
        Wiring::new(jobs, source, range)?.spawn()
    }

    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Asks for a last seal and an end.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(|(_, thread)| thread.is_finished())
    }

    /// Waits for all threads; the first failure on the data path is the cause of the others.
    pub fn join(self) -> Result<(), JobError> {
        let mut failure = None;
        for (name, thread) in self.threads {
            let outcome = thread.join().unwrap_or_else(|panic| {
                let message = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                    .unwrap_or_default();
                Err(JobError::Panicked { thread: name, message })
            });
            if let Err(error) = outcome {
                failure.get_or_insert(error);
            }
        }
        self.stop.store(true, Ordering::Relaxed);
        failure.map_or(Ok(()), Err)
    }
}

/// Channels and threads of one job: one reading, and behind it one tail for each learner.
struct Wiring {
    feeder: Feeder,
    lanes: Vec<LaneWorker>,
    tails: Vec<Tail>,
}

/// What follows the merge.
struct Tail {
    core: Core,
    trainer: Trainer,
    writer: Writer,
}

impl Wiring {
    fn new(
        mut jobs: Vec<(JobSpec, Store, Beginning)>,
        source: Box<dyn Source>,
        range: Range,
    ) -> Result<Wiring, JobError> {
        let Some((spec, _, begin)) = jobs.first_mut() else {
            return Err(JobError::Config("no learner to read for".to_owned()));
        };
        let (idle, journal, commit) = match spec.mode.clone() {
            Mode::Live { idle_after } => {
                let watch = idle_after.map(|after| IdleWatch::new(after, range.keys().copied(), &begin.meta.idle));
                (watch, Journal::default(), true)
            }
            // What was honored before a restart stands in the checkpoint's own journal.
            Mode::Range { journal } => (None, Journal::of(journal, &range, &begin.meta.journal)?, false),
        };
        let total = range.values().map(|bounds| Some(bounds.end?.raw() - bounds.start.raw())).sum();
        let before = begin.intakes.values().map(|intake| intake.counters().records).sum();
        let (position, intakes) = (begin.position.clone(), std::mem::take(&mut begin.intakes));
        let (topic, live, board) = (Arc::clone(&spec.topic), Arc::clone(&spec.live), Arc::clone(&spec.board));
        let (limits, plan, kill) = (spec.limits, spec.seals, spec.kill);
        let workers = spec.threads.clamp(1, range.len().max(1));
        let gauges = Arc::new(Gauges::new(range.keys().copied()));
        let (lane_inputs, lane_receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| bounded(LANE_QUEUE)).unzip();
        let mut outputs: Vec<Vec<Sender<Flow>>> = vec![Vec::new(); workers];
        let (mut tails, mut sealed) = (Vec::new(), Vec::new());
        for (number, (spec, store, mut begin)) in jobs.into_iter().enumerate() {
            let (flows, flow_receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| bounded(LANE_QUEUE)).unzip();
            outputs.iter_mut().zip(flows).for_each(|(outputs, flow)| outputs.push(flow));
            spec.board.begin(total, before, &position, begin.meta.restarts, begin.parent.as_ref());
            spec.board.judged(&mut begin.pipeline);
            // All merge the same, so what the first one's queues say holds for all.
            let gauges = if number == 0 { Arc::clone(&gauges) } else { Arc::new(Gauges::new([])) };
            let (tail, receiver) = Tail::new(spec, store, begin, flow_receivers, gauges)?;
            tails.push(tail);
            sealed.push(receiver);
        }
        let lanes =
            spread(intakes, workers).into_iter().zip(lane_receivers).zip(outputs).map(|((intakes, input), outputs)| {
                LaneWorker { topic: Arc::clone(&topic), intakes, input, outputs, live: Arc::clone(&live) }
            });
        let lanes = lanes.collect();
        let feeder = Feeder {
            source,
            lanes: lane_inputs,
            sealed,
            stop: Arc::new(AtomicBool::new(false)),
            gauges,
            limits,
            plan,
            idle,
            journal,
            kill,
            commit,
            patience: PATIENCE,
            position,
            next_barrier: 0,
            board,
        };
        Ok(Wiring { feeder, lanes, tails })
    }

    /// Starts the threads in the order in which a failure is told: the end of the path first, because what fails there
    /// makes those before it stop.
    fn spawn(self) -> Result<Job, JobError> {
        let Wiring { feeder, lanes, tails } = self;
        let (stop, board) = (Arc::clone(&feeder.stop), Arc::clone(&feeder.board));
        let mut threads = Vec::new();
        for Tail { core, trainer, writer } in tails {
            threads.push(start("writer", move || writer.run())?);
            threads.push(start("learner", move || trainer.run())?);
            threads.push(start("core", move || core.run())?);
        }
        for (number, lane) in lanes.into_iter().enumerate() {
            threads.push(start(&format!("lanes-{number}"), move || lane.run())?);
        }
        threads.push(start("feeder", move || feeder.run())?);
        Ok(Job { threads, stop, board })
    }
}

impl Tail {
    fn new(
        spec: JobSpec,
        store: Store,
        begin: Beginning,
        lanes: Vec<Receiver<Flow>>,
        gauges: Arc<Gauges>,
    ) -> Result<(Tail, Receiver<messages::Sealed>), JobError> {
        let disk = store.disk();
        let sealed_end = |name: &str| begin.side_files.as_ref().map(|ends| ends.get(name).copied().unwrap_or_default());
        let open = |path: &Path, name: &str| {
            Appendix::open(Arc::clone(&disk), &spec.state, path, ROTATE_BYTES, sealed_end(name))
                .map_err(JobError::Checkpoint)
        };
        let decisions = spec.decisions.as_deref().map(|path| open(path, DECISIONS)).transpose()?;
        let dead_letters = match spec.dead_letter_topic {
            Some(topic) => DeadLetters::Topic(topic),
            None => DeadLetters::File(open(&spec.dead_letters, DEAD_LETTERS)?),
        };
        let board = spec.board;
        let (learner_sender, learner_receiver) = bounded(LEARNER_QUEUE);
        let (parts_sender, parts_receiver) = bounded(1);
        let (fits_sender, fits_receiver) = bounded(FITS_QUEUE);
        if let Some(fit) = begin.fit_in_flight {
            // There is room: nothing has been sent yet.
            let _ = fits_sender.send(fit);
        }
        let (writer_sender, writer_receiver) = bounded(WRITER_QUEUE);
        let (sealed_sender, sealed_receiver) = bounded::<messages::Sealed>(1);
        let core = Core {
            pipeline: begin.pipeline,
            lanes,
            learner: learner_sender,
            fits: fits_receiver,
            writer: writer_sender,
            gauges,
            board: Arc::clone(&board),
            cut: None,
        };
        let trainer = Trainer {
            learner: begin.learner,
            validation: Validation::new(spec.validation, Arc::clone(&spec.encoder.catalog), begin.validation),
            input: learner_receiver,
            parts: parts_sender,
            fits: fits_sender,
            board: Arc::clone(&board),
        };
        let writer = Writer {
            store,
            parent: begin.parent.map(|parent| parent.sequence),
            decisions,
            dead_letters,
            settings: spec.settings_digests,
            meta: begin.meta,
            input: writer_receiver,
            learner: parts_receiver,
            sealed: sealed_sender,
            announce: spec.announce,
            board,
        };
        Ok((Tail { core, trainer, writer }, sealed_receiver))
    }
}

type Started = (String, JoinHandle<Result<(), JobError>>);

fn start(name: &str, body: impl FnOnce() -> Result<(), JobError> + Send + 'static) -> Result<Started, JobError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(body).map_err(JobError::Thread)?;
    Ok((name.to_owned(), thread))
}

fn spread<T>(items: BTreeMap<Partition, T>, workers: usize) -> Vec<BTreeMap<Partition, T>> {
    let mut lanes: Vec<BTreeMap<Partition, T>> = (0..workers).map(|_| BTreeMap::new()).collect();
    for (partition, item) in items {
        lanes[lane_of(partition, workers)].insert(partition, item);
    }
    lanes
}
