//! A job: one log read by one learner, from its last checkpoint to its end, to a stop, or to the first failure.

use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::board::Board;
use super::content::{self, Content, Meta};
use super::core::Core;
use super::feeder::{Feeder, PATIENCE, SealPlan, lane_of};
use super::gauges::{Gauges, Limits};
use super::idle::IdleWatch;
use super::journal::{Journal, JournalEntry};
use super::kill::{KillMark, kill_self};
use super::lanes::LaneWorker;
use super::messages::Flow;
use super::trainer::Trainer;
use super::writer::{DEAD_LETTERS, DECISIONS, DeadLetters, Writer};
use super::{JobError, messages};
use crate::assemble::SessionRules;
use crate::catalog::{Vocabulary, VocabularyState};
use crate::checkpoint::{Appendix, Disk, End, MarkedDisk, Parts, RealDisk, Sealed, SettingsDigests, Store};
use crate::decode::Decoder;
use crate::kafka::DeadLetterTopic;
use crate::learner::{self, Learner, LearnerSettings};
use crate::live::Sessions;
use crate::pipeline::{Breaker, Intake, Pipeline, PipelineRules};
use crate::position::{Partition, Position};
use crate::score::{ScoreRules, Scorer};
use crate::source::{Range, Source};
use crate::state::StateEncoder;

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
    /// Where the job tells how it stands.
    pub board: Arc<Board>,
}

/// A policy, and the numbers by which it knows the items: they mean nothing without each other.
#[derive(Debug, Clone)]
pub struct WarmStart {
    pub policy: Vec<u8>,
    pub vocabulary: VocabularyState,
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

/// A job on its threads.
pub struct Job {
    threads: Vec<(String, JoinHandle<Result<(), JobError>>)>,
    stop: Arc<AtomicBool>,
    board: Arc<Board>,
}

/// A checkpoint as it was read back, in all its parts.
pub struct Restored {
    pub sealed: Sealed,
    pub content: Content,
    pub meta: Meta,
    pub learned: learner::Parts,
}

/// What the newest checkpoint holds when a job has ended.
pub type Outcome = Restored;

/// Opens the checkpoints of a state directory; broken ones are passed over, loudly.
pub fn open_store(spec: &JobSpec) -> Result<(Store, Option<Restored>), JobError> {
    let disk: Arc<dyn Disk> = match spec.kill {
        Some(KillMark::Disk(mark)) => {
            let board = Arc::clone(&spec.board);
            let die = move || {
                board.announce_kill();
                kill_self()
            };
            Arc::new(MarkedDisk::new(Arc::new(RealDisk), mark, die))
        }
        Some(KillMark::Record(_)) | None => Arc::new(RealDisk),
    };
    let mut store = Store::open(disk, &spec.state, spec.keep).map_err(JobError::Checkpoint)?;
    let loaded = store.load_newest().map_err(JobError::Checkpoint)?;
    for passed_over in &loaded.passed_over {
        crate::telemetry::declared::BROKEN_CHECKPOINTS.add(1);
        tracing::error!(sequence = %passed_over.sequence, flaw = %passed_over.flaw, "checkpoint is broken and was passed over");
    }
    let restored = loaded.newest.map(|(sealed, parts)| restore(sealed, parts)).transpose()?;
    Ok((store, restored))
}

/// The newest intact checkpoint of a state directory, for looking at.
pub fn read_outcome(state: &Path) -> Result<Option<Outcome>, JobError> {
    let loaded = crate::checkpoint::read_newest(&RealDisk, state).map_err(JobError::Checkpoint)?;
    loaded.newest.map(|(sealed, parts)| restore(sealed, parts)).transpose()
}

/// The checkpoint of a replay from before it closed what its range had left open.
pub fn read_unclosed(state: &Path) -> Result<Option<Restored>, JobError> {
    let is_unclosed = |sealed: &Sealed| !sealed.manifest.facts.complete;
    let loaded = crate::checkpoint::read_newest_where(&RealDisk, state, is_unclosed).map_err(JobError::Checkpoint)?;
    loaded.newest.map(|(sealed, parts)| restore(sealed, parts)).transpose()
}

/// What `--warm-start` takes: from one checkpoint, or from the newest of a state directory.
pub fn read_warm_start(path: &Path) -> Result<WarmStart, JobError> {
    let is_checkpoint = path.join("manifest.json").is_file();
    let restored = if is_checkpoint {
        let (sealed, parts) = crate::checkpoint::read_checkpoint(&RealDisk, path).map_err(JobError::Checkpoint)?;
        Some(restore(sealed, parts)?)
    } else {
        read_outcome(path)?
    };
    let missing = || JobError::Config(format!("--warm-start {}: there is no checkpoint", path.display()));
    let Restored { content, learned, .. } = restored.ok_or_else(missing)?;
    Ok(WarmStart { policy: learned.policy, vocabulary: content.pipeline.vocabulary })
}

pub fn restore(sealed: Sealed, parts: Parts) -> Result<Restored, JobError> {
    let sequence = sealed.sequence.0;
    let (content, meta) = content::decode(&parts.state).map_err(|problem| JobError::Restore { sequence, problem })?;
    let learned = learner::Parts { policy: parts.policy, optimizer: parts.optimizer };
    Ok(Restored { sealed, content, meta, learned })
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

/// The state from which the threads start.
struct Beginning {
    intakes: BTreeMap<Partition, Intake>,
    pipeline: Pipeline,
    learner: Learner,
    meta: Meta,
    position: Position,
    parent: Option<crate::checkpoint::Sequence>,
    side_files: Option<BTreeMap<String, End>>,
}

impl Beginning {
    fn of(
        spec: &JobSpec,
        restored: Option<Restored>,
        range: &Range,
        source: &dyn Source,
    ) -> Result<Beginning, JobError> {
        let scorer = Scorer::new(spec.score.clone(), &spec.encoder);
        match restored {
            None => {
                let learner = match &spec.warm_start {
                    Some(warm) => Learner::warm_start(spec.learner.clone(), &warm.policy),
                    None => Learner::new(spec.learner.clone()),
                };
                let learner = learner.map_err(|error| JobError::Config(error.to_string()))?;
                Ok(Beginning::fresh(spec, range, source, learner, scorer))
            }
            Some(restored) => Beginning::resumed(spec, restored, scorer),
        }
    }

    fn fresh(spec: &JobSpec, range: &Range, source: &dyn Source, learner: Learner, scorer: Scorer) -> Beginning {
        let rules = spec.sessions;
        let intake = |(partition, bounds): (&Partition, &crate::source::Bounds)| {
            let intake = Intake::new(*partition, bounds.start, Arc::clone(&spec.decoder), rules);
            (*partition, intake.with_breaker(spec.breaker))
        };
        let capacity = spec.vocabulary_capacity;
        let vocabulary = match &spec.warm_start {
            Some(warm) => Vocabulary::restore(warm.vocabulary.clone(), capacity),
            None => Vocabulary::new(&spec.encoder.catalog, capacity),
        };
        let encoder = Arc::clone(&spec.encoder);
        Beginning {
            intakes: range.iter().map(intake).collect(),
            pipeline: Pipeline::new(range.keys().copied(), spec.pipeline.clone(), encoder, scorer, vocabulary),
            learner,
            meta: Meta {
                range: matches!(spec.mode, Mode::Range { .. }).then(|| range.clone()),
                log: source.identity(),
                settings: spec.settings.clone(),
                catalog: spec.encoder.catalog.fingerprint(),
                journal: Vec::new(),
                idle: Default::default(),
                restarts: 0,
            },
            position: range.iter().map(|(partition, bounds)| (*partition, bounds.start)).collect(),
            parent: None,
            side_files: None,
        }
    }

    fn resumed(spec: &JobSpec, restored: Restored, scorer: Scorer) -> Result<Beginning, JobError> {
        let sequence = restored.sealed.sequence;
        let failed = |problem: String| JobError::Restore { sequence: sequence.0, problem };
        let learner = Learner::restore(spec.learner.clone(), &restored.learned);
        let learner = learner.map_err(|error| failed(error.to_string()))?;
        let Restored { sealed, content, mut meta, .. } = restored;
        let position = content.position();
        let rules = spec.sessions;
        let intakes = content.intakes.into_iter().map(|(partition, state)| {
            let intake = Intake::restore(partition, state, Arc::clone(&spec.decoder), rules);
            intake.map(|intake| (partition, intake.with_breaker(spec.breaker)))
        });
        let intakes = intakes.collect::<Result<BTreeMap<_, _>, _>>().map_err(failed)?;
        let pipeline = Pipeline::restore(
            content.pipeline,
            spec.pipeline.clone(),
            Arc::clone(&spec.encoder),
            scorer,
            spec.vocabulary_capacity,
        );
        meta.restarts += 1;
        if matches!(spec.mode, Mode::Live { .. }) {
            meta.range = None;
        }
        meta.settings.clone_from(&spec.settings);
        Ok(Beginning {
            intakes,
            pipeline: pipeline.map_err(failed)?,
            learner,
            meta,
            position,
            parent: Some(sequence),
            // What another state directory has written beside its checkpoints stays there.
            side_files: sealed.directory.starts_with(&spec.state).then_some(sealed.manifest.facts.side_files),
        })
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
        for (number, (spec, store, begin)) in jobs.into_iter().enumerate() {
            let (flows, flow_receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| bounded(LANE_QUEUE)).unzip();
            outputs.iter_mut().zip(flows).for_each(|(outputs, flow)| outputs.push(flow));
            spec.board.begin(total, before, &position, begin.parent.map(|parent| parent.0), begin.meta.restarts);
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
        let (writer_sender, writer_receiver) = bounded(WRITER_QUEUE);
        let (sealed_sender, sealed_receiver) = bounded::<messages::Sealed>(1);
        let core = Core {
            pipeline: begin.pipeline,
            lanes,
            learner: learner_sender,
            writer: writer_sender,
            gauges,
            board: Arc::clone(&board),
        };
        let trainer =
            Trainer { learner: begin.learner, input: learner_receiver, parts: parts_sender, board: Arc::clone(&board) };
        let writer = Writer {
            store,
            parent: begin.parent,
            decisions,
            dead_letters,
            settings: spec.settings_digests,
            meta: begin.meta,
            input: writer_receiver,
            learner: parts_receiver,
            sealed: sealed_sender,
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
