//! Cuts while a million sessions are open: what they hold up, what a seal writes, and how long it takes to come back.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::report::Checkpoint;
use super::topic::{pipeline, spec};
use crate::bench::usage;
use crate::bench::workload::{CONTEXT, Shape, Workload};
use crate::checkpoint::{Facts, RealDisk, Sequence, Store, read_newest};
use crate::cli::args::BenchStage;
use crate::cli::plan::job_failure;
use crate::clock::Stopwatch;
use crate::exit::{Exit, Failure};
use crate::learner::{self, Learner};
use crate::pipeline::{Intake, Observed, Pipeline};
use crate::position::{NextOffset, Partition};
use crate::runtime::{Content, JobError, JobSpec, Meta, Sealing, decode_state};
use crate::score::Scorer;
use crate::settings::Settings;
use crate::source::{Bounds, LogIdentity, Range};

const PARTITIONS: u32 = 8;
/// Records between two cuts.
const BETWEEN: u64 = 10_000;
/// Of event time, after the sessions have begun: what comes in the same moment is handled at once.
const EVENTS_PER_SECOND: u64 = 20_000;
/// Event time in which all sessions begin: well within the gap that would end them.
const BEGINNING_MS: u64 = 400_000;

/// The part of a job that a cut concerns, on one thread.
struct World {
    spec: JobSpec,
    intakes: BTreeMap<Partition, Intake>,
    pipeline: Pipeline,
    workload: Workload,
    sessions: u64,
    events: u64,
}

pub fn measure(settings: &Settings, arguments: &BenchStage) -> Result<Checkpoint, Failure> {
    let before = usage::resident_bytes();
    let mut world = World::begin(settings, arguments)?;
    let grown = usage::resident_bytes().zip(before).map(|(after, before)| after.saturating_sub(before));
    let learned = Learner::new(world.spec.learner.clone()).map_err(|error| Exit::Bug.because(error))?.export();
    let sealed = AtomicBool::new(false);
    let directory = arguments.directory.join("checkpoint-stage");
    // These records also let the last decisions out of the reorder buffers.
    let mut stalls = vec![world.go_on_and_cut()?];
    let (bytes, seal_seconds) = thread::scope(|scope| {
        let (content, first) = world.cut();
        stalls.push(first);
        let (sealed, directory) = (&sealed, &directory);
        let writer = scope.spawn(move || {
            let outcome = seal(&content, learned, directory);
            sealed.store(true, Ordering::Relaxed);
            outcome
        });
        // Further cuts come while the first one is being written, as after a stop of the disk.
        while stalls.len() < arguments.snapshots.max(1) as usize || !sealed.load(Ordering::Relaxed) {
            stalls.push(world.go_on_and_cut()?);
        }
        writer.join().unwrap_or_else(|_| Err(Exit::Bug.because("the seal panicked")))
    })?;
    let watch = Stopwatch::start();
    let restored = restore(&world.spec, &directory)?;
    let restore_seconds = watch.seconds();
    if restored != arguments.sessions {
        return Err(Exit::Bug.because(format!("{restored} sessions came back of {}", arguments.sessions)));
    }
    let at = |share: f64, of: &dyn Fn(&Stall) -> Duration| {
        let mut values: Vec<Duration> = stalls.iter().map(of).collect();
        values.sort_unstable();
        let rank = (share * values.len() as f64).ceil() as usize;
        values.get(rank.saturating_sub(1)).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    Ok(Checkpoint {
        open_sessions: arguments.sessions,
        stall_p50_ms: at(0.5, &|stall| stall.cpu),
        stall_p99_ms: at(0.99, &|stall| stall.cpu),
        stall_wall_p99_ms: at(0.99, &|stall| stall.wall),
        bytes,
        seal_seconds,
        restore_seconds,
        memory_bytes_per_session: grown.map(|grown| grown as f64 / (arguments.sessions as f64).max(1.0)),
        step_bytes: step_bytes(),
    })
}

/// The step itself, its context and its item.
fn step_bytes() -> u64 {
    (size_of::<crate::trajectory::Step>() + CONTEXT * size_of::<f32>() + "item-123".len()) as u64
}

/// What one cut held up.
#[derive(Debug, Clone, Copy)]
struct Stall {
    cpu: Duration,
    wall: Duration,
}

/// Both clocks at once.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    cpu: Duration,
    wall: Stopwatch,
}

impl Clocks {
    fn start() -> Clocks {
        Clocks { cpu: usage::thread_cpu_time(), wall: Stopwatch::start() }
    }

    fn stop(self) -> Stall {
        Stall { cpu: usage::thread_cpu_time().saturating_sub(self.cpu), wall: self.wall.elapsed() }
    }
}

impl World {
    /// Opens the sessions, one decision each.
    fn begin(settings: &Settings, arguments: &BenchStage) -> Result<World, Failure> {
        let spec = spec(settings)?;
        let bounds = Bounds { start: NextOffset::ZERO, end: None };
        let range: Range = (0..PARTITIONS).map(|partition| (Partition(partition), bounds)).collect();
        let intake = |partition: Partition| {
            (partition, Intake::new(partition, NextOffset::ZERO, Arc::clone(&spec.decoder), spec.sessions))
        };
        let shape = Shape { seed: arguments.seed, users: 1, partitions: PARTITIONS, rate: 1_000, ends: false };
        let mut world = World {
            intakes: range.keys().copied().map(intake).collect(),
            pipeline: pipeline(&spec, &range),
            spec,
            workload: Workload::new(shape),
            sessions: arguments.sessions,
            events: 0,
        };
        for session in 0..arguments.sessions {
            let time = session * BEGINNING_MS / arguments.sessions.max(1);
            let World { workload, intakes, .. } = &mut world;
            observe(intakes, session, workload.lone_decision(session, time))?;
        }
        Ok(world)
    }

    /// Everything as the writer gets it.
    fn cut(&mut self) -> (Content, Stall) {
        let clocks = Clocks::start();
        let intakes = self.intakes.iter_mut().map(|(partition, intake)| (*partition, intake.snapshot())).collect();
        let pipeline = self.pipeline.snapshot();
        let stall = clocks.stop();
        (Content { intakes, pipeline, validation: Default::default() }, stall)
    }

    /// A cut, and the records after it while the writer holds what it was given: some of them pay for copies.
    fn go_on_and_cut(&mut self) -> Result<Stall, Failure> {
        let (held, cut) = self.cut();
        let mut longest = Stall { cpu: Duration::ZERO, wall: Duration::ZERO };
        for _ in 0..BETWEEN {
            self.events += 1;
            let session = self.events.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.sessions.max(1);
            let time = BEGINNING_MS + 1_000 + self.events * 1_000 / EVENTS_PER_SECOND;
            let World { workload, intakes, events, .. } = self;
            let line = workload.lone_feedback(session, time, *events);
            let clocks = Clocks::start();
            observe(intakes, session, line)?;
            let took = clocks.stop();
            longest = Stall { cpu: longest.cpu.max(took.cpu), wall: longest.wall.max(took.wall) };
        }
        drop(held);
        Ok(Stall { cpu: cut.cpu + longest.cpu, wall: cut.wall + longest.wall })
    }
}

fn observe(intakes: &mut BTreeMap<Partition, Intake>, session: u64, line: &str) -> Result<(), Failure> {
    let partition = Partition((session % u64::from(PARTITIONS)) as u32);
    let Some(intake) = intakes.get_mut(&partition) else { return Ok(()) };
    let (offset, mut closed) = (intake.next_offset().expected(), Vec::new());
    match intake.observe(offset, None, Some(line.as_bytes()), &mut |_| {}, &mut closed) {
        Observed::Taken if closed.is_empty() => Ok(()),
        observed => Err(Exit::Bug.because(format!("{line}: {observed:?}, {} closed", closed.len()))),
    }
}

/// Bytes written, and seconds from the cut to a durable checkpoint.
fn seal(content: &Content, learned: learner::Parts, directory: &Path) -> Result<(u64, f64), Failure> {
    let failed = |error| job_failure(JobError::Checkpoint(error));
    let watch = Stopwatch::start();
    let mut store = Store::open(Arc::new(RealDisk), directory, NonZeroUsize::MIN).map_err(failed)?;
    let meta = meta();
    let mut sealing = Sealing { content, meta: &meta, learned: &learned, facts: Facts::default() };
    let parts = store.seal(Sequence::FIRST, &mut sealing).map_err(failed)?.manifest.parts;
    Ok((parts.policy.bytes + parts.optimizer.bytes + parts.state.bytes, watch.seconds()))
}

fn meta() -> Meta {
    Meta {
        range: None,
        log: LogIdentity::Topic { cluster: None, topic: "bench".to_owned() },
        settings: BTreeMap::new(),
        catalog: [0; 32],
        journal: Vec::new(),
        idle: Default::default(),
        restarts: 0,
    }
}

/// From the disk to a job that could go on; answers how many sessions are open.
fn restore(spec: &JobSpec, directory: &Path) -> Result<u64, Failure> {
    let bug = |problem: String| Exit::Bug.because(problem);
    let loaded = read_newest(&RealDisk, directory).map_err(|error| job_failure(JobError::Checkpoint(error)))?;
    let (_, parts) = loaded.newest.ok_or_else(|| bug("the checkpoint is not there".to_owned()))?;
    let (content, _) = decode_state(&parts.state).map_err(bug)?;
    let mut intakes = Vec::with_capacity(content.intakes.len());
    let mut open = 0;
    for (partition, state) in content.intakes {
        let intake = Intake::restore(partition, state, Arc::clone(&spec.decoder), spec.sessions).map_err(bug)?;
        open += intake.lane().counters().open;
        intakes.push(intake);
    }
    let scorer = Scorer::new(spec.score.clone(), &spec.encoder);
    let encoder = Arc::clone(&spec.encoder);
    Pipeline::restore(content.pipeline, spec.pipeline.clone(), encoder, scorer, spec.vocabulary_capacity)
        .map_err(bug)?;
    let learned = learner::Parts { policy: parts.policy, optimizer: parts.optimizer };
    Learner::restore(spec.learner.clone(), &learned).map_err(|error| bug(error.to_string()))?;
    Ok(open)
}
