//! From event to update, on a live job at a steady rate.
//!
//! A unit's clock starts when its session's last event is handed to the client of the broker, and stops at the first update
//! that could draw it: the one that the decision log names as following it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::LATENCY_PARTITIONS;
use super::report::Latency;
use crate::bench::workload::{Shape, Workload};
use crate::cli::args::BenchStage;
use crate::cli::plan::{self, Paths, job_failure};
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::filter::Verdict;
use crate::kafka::{Compression, KafkaError, Outgoing, Producer};
use crate::pipeline::Judged;
use crate::position::Partition;
use crate::runtime::{self, Board, Job, JobError, Mode};
use crate::settings::Settings;
use crate::source::{Bounds, Range, Source};

const EVENTS_PER_SECOND: u64 = 10_000;
/// How often the count of updates is looked at, which is how exact the figures are.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How long the job may take to read what was written.
const PATIENCE: Duration = Duration::from_secs(30);
const NOT_IN_TIME: &str = "no unit was admitted and learned from while the log was written: the machine is too busy to measure a \
                           latency, or --seconds is too short";

/// When each record was handed over, by partition and offset.
type Sent = Vec<Vec<Instant>>;

pub fn measure(settings: &Settings, arguments: &BenchStage) -> Result<Latency, Failure> {
    let directory = tempfile::tempdir().map_err(|error| Exit::Io.because(error))?;
    let decisions = directory.path().join("decisions.jsonl");
    let paths = Paths {
        state: directory.path().join("state"),
        decisions: Some(decisions.clone()),
        kill: None,
        mode: Mode::Live { idle_after: settings.idle.after },
    };
    let topic = settings.kafka.topic().map_err(|error| error.exit().because(error))?;
    let spec = plan::job(settings, topic, paths)?;
    let (store, _) = runtime::open_store(&spec).map_err(job_failure)?;
    let mut source = plan::topic_source(settings)?;
    let starts = source.start_offsets().map_err(|error| job_failure(JobError::Source(error)))?;
    let range: Range = starts.into_iter().map(|(partition, start)| (partition, Bounds { start, end: None })).collect();
    let job = Job::start(spec, store, None, Box::new(source), range).map_err(job_failure)?;

    let events = EVENTS_PER_SECOND * arguments.seconds;
    let (board, over) = (Arc::clone(job.board()), AtomicBool::new(false));
    let (sent, updates) = thread::scope(|scope| {
        let looker = scope.spawn(|| look(&board, &over));
        let sent = write(settings, arguments.seed, events).and_then(|sent| {
            wait_for(&board, events)?;
            Ok(sent)
        });
        over.store(true, Ordering::Relaxed);
        (sent, looker.join().unwrap_or_default())
    });
    let sent = sent?;
    job.stop_flag().store(true, Ordering::Relaxed);
    job.join().map_err(job_failure)?;

    let text = fs::read_to_string(&decisions).map_err(|error| Exit::Io.because(error))?;
    let judged = text.lines().map(serde_json::from_str::<Judged>).collect::<Result<Vec<_>, _>>();
    let judged = judged.map_err(|error| Exit::Bug.because(error))?;
    let mut latencies = latencies(&judged, &sent, &updates);
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let rank = (share * latencies.len() as f64).ceil() as usize;
        latencies.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    };
    if latencies.is_empty() {
        return Err(Exit::Busy.because(NOT_IN_TIME));
    }
    let events_per_second = EVENTS_PER_SECOND as f64;
    Ok(Latency { p50: at(0.5), p99: at(0.99), events_per_second, units: latencies.len() as u64 })
}

/// In milliseconds, of the units that were admitted in the later two thirds of the time.
fn latencies(judged: &[Judged], sent: &Sent, updates: &[(u64, Instant)]) -> Vec<f64> {
    let Some(first) = sent.iter().filter_map(|sent| sent.first()).min() else { return Vec::new() };
    let Some(last) = sent.iter().filter_map(|sent| sent.last()).max() else { return Vec::new() };
    let begin = *first + (*last - *first) / 3;
    let latency = |unit: &Judged| {
        let sent = sent.get(unit.partition as usize)?.get(unit.last_offset as usize)?;
        if *sent < begin || unit.verdict != Verdict::Admit {
            return None;
        }
        let after = updates.partition_point(|(count, _)| *count <= unit.batches);
        let (_, at) = updates.get(after)?;
        Some(at.saturating_duration_since(*sent).as_secs_f64() * 1e3)
    };
    judged.iter().filter_map(latency).collect()
}

fn write(settings: &Settings, seed: u64, events: u64) -> Result<Sent, Failure> {
    let failed = |error: KafkaError| job_failure(JobError::Source(error.into()));
    let topic = settings.kafka.topic().map_err(|error| error.exit().because(error))?;
    let mut connection = plan::connection(settings);
    // A producer that is asked for latency does not collect for as long as one that is asked for throughput.
    connection.properties.insert("linger.ms".to_owned(), "5".to_owned());
    let mut producer = Producer::new(&connection, topic, Compression::default()).map_err(failed)?;
    let shape = Shape { seed, users: 256, partitions: LATENCY_PARTITIONS, rate: EVENTS_PER_SECOND, ends: true };
    let mut workload = Workload::new(shape);
    let mut sent: Sent = vec![Vec::new(); LATENCY_PARTITIONS as usize];
    let begun = clock::instant();
    for event in 0..events {
        let due = begun + Duration::from_nanos(event * 1_000_000_000 / EVENTS_PER_SECOND);
        while let Some(wait) = due.checked_duration_since(clock::instant()).filter(|wait| !wait.is_zero()) {
            producer.serve();
            thread::park_timeout(wait.max(Duration::from_micros(500)));
        }
        let line = workload.next_line();
        let record = Outgoing {
            partition: Some(Partition(line.partition)),
            timestamp: Some(line.timestamp),
            value: Some(line.value.as_bytes()),
            ..Outgoing::default()
        };
        producer.send(record).map_err(failed)?;
        sent[line.partition as usize].push(clock::instant());
    }
    producer.flush(PATIENCE).map_err(failed)?;
    Ok(sent)
}

/// Until all has been read; the job then goes on with the last of it.
fn wait_for(board: &Board, events: u64) -> Result<(), Failure> {
    let begun = clock::instant();
    while board.figures().records < events {
        if begun.elapsed() > PATIENCE {
            return Err(Exit::Busy.because("the job does not keep up with 10,000 events per second"));
        }
        thread::park_timeout(Duration::from_millis(20));
    }
    thread::park_timeout(Duration::from_millis(300));
    Ok(())
}

/// Notes when each count of updates was first seen.
fn look(board: &Board, over: &AtomicBool) -> Vec<(u64, Instant)> {
    let mut seen: Vec<(u64, Instant)> = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let count = board.updates();
        if seen.last().is_none_or(|(last, _)| *last < count) {
            seen.push((count, clock::instant()));
        }
        thread::park_timeout(LOOK_EVERY);
    }
    seen
}
