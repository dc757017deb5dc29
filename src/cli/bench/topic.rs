//! The stages over a topic: its writing, its bare consumption, and what each further part of the path adds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::PARTITIONS;
use super::report::Stage;
use super::stage::measured;
use crate::bench::workload::{Shape, Workload};
use crate::catalog::Vocabulary;
use crate::cli::plan::{self, Paths, job_failure};
use crate::clock::Stopwatch;
use crate::exit::{Exit, Failure};
use crate::filter::ReplayRatio;
use crate::kafka::{Compression, Outgoing, Producer, TopicSource, create_topic};
use crate::pipeline::{Intake, Observed, Outputs, Pipeline};
use crate::position::Partition;
use crate::runtime::{self, Job, JobError, JobSpec, Mode};
use crate::score::Scorer;
use crate::settings::Settings;
use crate::source::range::{Boundary, resolve};
use crate::source::{Polled, Range, Run, Source};
use crate::time::EventTime;
use crate::trajectory::Trajectory;

/// The producer's property: bytes of a batch.
pub const BATCH_SIZE: &str = "batch.size";
const FLUSH_TIMEOUT: Duration = Duration::from_secs(90);
const POLL_TIMEOUT: Duration = Duration::from_millis(50);
/// Records after which the clock is looked at when there is a rate to keep.
const PACE: u64 = 1_000;
/// As in the job.
const QUEUE: usize = 8;

/// Writes the log, at most so many records a second, and answers how many records it has.
pub fn write(settings: &Settings, shape: Shape, events: u64, rate: Option<u64>) -> Result<u64, Failure> {
    let mut connection = plan::connection(settings);
    // Batches of a hundred and some records, as producers of events make them, and not of thousands.
    connection.properties.entry(BATCH_SIZE.to_owned()).or_insert_with(|| "65536".to_owned());
    let topic = settings.kafka.topic().map_err(|error| error.exit().because(error))?;
    let failed = |error: crate::kafka::KafkaError| job_failure(JobError::Source(error.into()));
    create_topic(&connection, topic, PARTITIONS).map_err(failed)?;
    let mut producer = Producer::new(&connection, topic, Compression::default()).map_err(failed)?;
    let mut workload = Workload::new(shape);
    let watch = Stopwatch::start();
    for event in 0..events {
        if let Some(rate) = rate.filter(|_| event.is_multiple_of(PACE)) {
            let ahead = event as f64 / rate.max(1) as f64 - watch.seconds();
            thread::sleep(Duration::from_secs_f64(ahead.max(0.0)));
        }
        let line = workload.next_line();
        let record = Outgoing {
            partition: Some(Partition(line.partition)),
            timestamp: Some(line.timestamp),
            value: Some(line.value.as_bytes()),
            ..Outgoing::default()
        };
        producer.send(record).map_err(failed)?;
    }
    producer.flush(FLUSH_TIMEOUT).map_err(failed)?;
    Ok(events)
}

/// The client alone: records copied into runs, and dropped.
pub fn consume(settings: &Settings, events: u64) -> Result<Stage, Failure> {
    let (mut source, range) = open(settings)?;
    measured(events, || {
        let mut count = 0;
        read(&mut source, &range, |run| {
            count += run.len() as u64;
            true
        })?;
        Ok(count)
    })
}

pub fn decode(settings: &Settings, events: u64) -> Result<Stage, Failure> {
    let decoder = plan::decoder(settings)?;
    let (mut source, range) = open(settings)?;
    let decoded = AtomicU64::new(0);
    let work = |runs: Receiver<Run>| {
        let (mut events, mut count) = (Vec::new(), 0);
        for run in runs {
            for record in run.iter() {
                events.clear();
                // What does not decode is missed in the count.
                let _ = decoder.decode(record.offset, record.timestamp, record.value, &mut events);
                count += events.len() as u64;
            }
        }
        decoded.fetch_add(count, Ordering::Relaxed);
    };
    measured(events, || {
        thread::scope(|scope| {
            let lanes: Vec<Sender<Run>> = (0..settings.runtime.lane_threads())
                .map(|_| {
                    let (sender, receiver) = bounded(QUEUE);
                    scope.spawn(|| work(receiver));
                    sender
                })
                .collect();
            read(&mut source, &range, |run| hand_over(&lanes, run))
        })?;
        Ok(decoded.load(Ordering::Relaxed))
    })
}

/// Everything but the learner and the disk.
pub fn filter(settings: &Settings, events: u64) -> Result<Stage, Failure> {
    let spec = spec(settings)?;
    let (mut source, range) = open(settings)?;
    let threads = spec.threads;
    let mut pipeline = pipeline(&spec, &range);
    let taken = AtomicU64::new(0);
    measured(events, || {
        thread::scope(|scope| {
            let (flows, core) = bounded(QUEUE);
            scope.spawn(|| merge(&mut pipeline, core));
            let (taken, spec, range) = (&taken, &spec, &range);
            let lanes: Vec<Sender<Run>> = (0..threads)
                .map(|lane| {
                    let (sender, receiver) = bounded(QUEUE);
                    let flows = flows.clone();
                    let own = range.iter().filter(move |(partition, _)| partition.0 as usize % threads == lane);
                    let intakes = own.map(|(partition, bounds)| {
                        let decoder = Arc::clone(&spec.decoder);
                        (*partition, Intake::new(*partition, bounds.start, decoder, spec.sessions))
                    });
                    let intakes = intakes.collect();
                    scope.spawn(move || assemble(intakes, &receiver, &flows, taken));
                    sender
                })
                .collect();
            drop(flows);
            read(&mut source, range, |run| hand_over(&lanes, run))
        })?;
        Ok(taken.load(Ordering::Relaxed))
    })
}

/// The product's own job, with learning and a seal at the end.
pub fn job(settings: &Settings, events: u64) -> Result<Stage, Failure> {
    let directory = tempfile::tempdir().map_err(|error| Exit::Io.because(error))?;
    let paths = Paths {
        state: directory.path().join("state"),
        decisions: None,
        kill: None,
        mode: Mode::Range { journal: Vec::new() },
    };
    let topic = settings.kafka.topic().map_err(|error| error.exit().because(error))?;
    let spec = plan::job(settings, topic, paths)?;
    let (state, board) = (spec.state.clone(), Arc::clone(&spec.board));
    let (store, _) = runtime::open_store(&spec).map_err(job_failure)?;
    let (source, range) = open(settings)?;
    let stage = measured(events, || {
        Job::start(spec, store, None, Box::new(source), range).and_then(Job::join).map_err(job_failure)?;
        Ok(board.figures().records)
    })?;
    let outcome = runtime::read_outcome(&state).map_err(job_failure)?;
    let counters = outcome.map(|outcome| outcome.sealed.manifest.facts.counters).unwrap_or_default();
    let count = |name: &str| counters.get(name).copied().unwrap_or_default();
    let learns = settings.learner.replay_ratio != ReplayRatio::Fixed(0.0);
    let had_enough = count("admitted") >= 2 * settings.learner.batch as u64;
    if count("applied") != events || (learns && had_enough && count("updates") == 0) {
        return Err(Exit::Bug.because(format!("the job did not do its work: {counters:?}")));
    }
    Ok(stage)
}

pub(super) fn spec(settings: &Settings) -> Result<JobSpec, Failure> {
    let mode = Mode::Range { journal: Vec::new() };
    plan::job(settings, "bench", Paths { state: "unused".into(), decisions: None, kill: None, mode })
}

pub(super) fn pipeline(spec: &JobSpec, range: &Range) -> Pipeline {
    let scorer = Scorer::new(spec.score.clone(), &spec.encoder);
    let vocabulary = Vocabulary::new(&spec.encoder.catalog, spec.vocabulary_capacity);
    let encoder = Arc::clone(&spec.encoder);
    Pipeline::new(range.keys().copied(), spec.pipeline.clone(), encoder, scorer, vocabulary)
}

fn open(settings: &Settings) -> Result<(TopicSource, Range), Failure> {
    let mut source = plan::topic_source(settings)?;
    let range = resolve(&mut source, &Boundary::Earliest, Some(&Boundary::Latest));
    let range = range.map_err(|error| job_failure(JobError::Source(error)))?;
    Ok((source, range))
}

/// Reads the range to its end, or until nobody wants more.
fn read(source: &mut TopicSource, range: &Range, mut take: impl FnMut(Run) -> bool) -> Result<(), Failure> {
    let failed = |error| job_failure(JobError::Source(error));
    source.assign(range).map_err(failed)?;
    let mut ended = BTreeSet::new();
    while ended.len() < range.len() {
        match source.poll(POLL_TIMEOUT).map_err(failed)? {
            Polled::Records(runs) => {
                for run in runs {
                    if !take(run) {
                        return Ok(());
                    }
                }
            }
            Polled::RangeEnd(partition) => drop(ended.insert(partition)),
            Polled::Nothing | Polled::CaughtUp(_) | Polled::Lost { .. } => {}
        }
    }
    Ok(())
}

fn hand_over(lanes: &[Sender<Run>], run: Run) -> bool {
    lanes[run.partition().0 as usize % lanes.len()].send(run).is_ok()
}

/// What a lane tells of one run; without a watermark it was the last.
struct Progress {
    partition: Partition,
    closed: Vec<Trajectory>,
    watermark: Option<EventTime>,
}

fn assemble(
    mut intakes: BTreeMap<Partition, Intake>,
    runs: &Receiver<Run>,
    flows: &Sender<Progress>,
    taken: &AtomicU64,
) {
    let mut count = 0;
    for run in runs {
        let partition = run.partition();
        let Some(intake) = intakes.get_mut(&partition) else { continue };
        let mut closed = Vec::new();
        for record in run.iter() {
            let observed = intake.observe(record.offset, record.timestamp, record.value, &mut |_| {}, &mut closed);
            count += u64::from(matches!(observed, Observed::Taken));
        }
        if let Some(last) = run.iter().next_back() {
            intake.remember(last.offset, last.timestamp, last.value);
        }
        if flows.send(Progress { partition, closed, watermark: Some(intake.watermark()) }).is_err() {
            return;
        }
    }
    for (partition, mut intake) in intakes {
        let mut closed = Vec::new();
        intake.finish(&mut closed);
        if flows.send(Progress { partition, closed, watermark: None }).is_err() {
            return;
        }
    }
    taken.fetch_add(count, Ordering::Relaxed);
}

fn merge(pipeline: &mut Pipeline, flows: Receiver<Progress>) {
    for Progress { partition, closed, watermark } in flows {
        let merge = pipeline.merge_mut();
        for trajectory in closed {
            // All partitions are of the range that the pipeline was made for.
            let _ = merge.offer(trajectory);
        }
        let _ = match watermark {
            Some(watermark) => merge.watermark(partition, watermark),
            None => merge.end(partition),
        };
        pipeline.drain(&mut Outputs::default());
    }
}
