//! What people look at while a job runs: progress, `/status`, metrics. Nothing that decides reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::checkpoint::{Facts, Sequence};
use crate::clock::{self, WallTime};
use crate::learner::{Counters, Outcome, UpdateReport};
use crate::pipeline::Pipeline;
use crate::position::{NextOffset, Partition, Position};
use crate::telemetry::{
    self, CheckpointStatus, Counter, FilterStatus, Flow, LearnerStatus, PartitionStatus, Phase, declared,
};
use crate::time::EventTime;

/// The latest figures. Written by the threads of a job, read by whoever wants to.
#[derive(Debug, Default)]
pub struct Board {
    status: Mutex<Status>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// Records handed to the lanes since this process started.
    pub records: u64,
    /// Records that the checkpoint had already when this process started.
    pub records_before: u64,
    /// Records of the whole range, when it has an end.
    pub records_total: Option<u64>,
    pub position: Position,
    /// Records between the position and the last known end, over all partitions.
    pub lag_records: Option<u64>,
    pub trajectories: u64,
    pub steps: u64,
    pub judged: u64,
    pub admitted: u64,
    pub filtered: u64,
    pub held: u64,
    pub admitted_share: Option<f64>,
    pub threshold: Option<f32>,
    pub level: f64,
    pub kappa: f64,
    pub window_len: usize,
    /// Mean undiscounted return of the trajectories so far.
    pub mean_return: Option<f64>,
    pub queued_trajectories: usize,
    /// Event time up to which each partition has been read; none for one without events.
    pub watermarks: BTreeMap<Partition, EventTime>,
    /// Partitions for which the merge does not wait.
    pub idle: BTreeSet<Partition>,
    /// Admitted steps from which batches are drawn.
    pub buffer_len: usize,
    pub batches: u64,
    pub updates: u64,
    pub refused_updates: u64,
    pub loss: Option<f64>,
    pub gradient_norm: Option<f64>,
    pub checkpoint: Option<u64>,
    /// Records in the last seal, over all partitions.
    pub sealed_records: u64,
    pub seal_seconds: Option<f64>,
    pub restarts: u64,
    /// The conserved counts of the last seal, by the names that `replay --json` uses.
    pub counters: BTreeMap<String, u64>,
    pub digest: Option<String>,
    /// Wall-clock milliseconds of the last seal.
    pub sealed_at: Option<i64>,
    pub caught_up: bool,
    pub known_ends: Position,
    pub paused: BTreeSet<Partition>,
    /// Records that retention deleted before they were read.
    pub lost: u64,
    /// When records came last, or when there was nothing to come.
    #[serde(skip)]
    pub last_news: Option<Instant>,
}

/// With records to read and nothing paused, a client that brings none for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// Which counter of the state each metric shows: a restart goes on counting where the state stands.
const COUNTERS: &[(&str, Counter)] = &[
    ("decoded", declared::DECODED_RECORDS),
    ("ignored", declared::IGNORED_RECORDS),
    ("tombstones", declared::TOMBSTONE_RECORDS),
    ("events", declared::EVENTS),
    ("applied", declared::APPLIED_EVENTS),
    ("duplicates", declared::DUPLICATE_EVENTS),
    ("late", declared::LATE_EVENTS),
    ("orphan", declared::ORPHAN_EVENTS),
    ("steps", declared::CLOSED_STEPS),
    ("admitted", declared::ADMITTED_UNITS),
    ("filtered", declared::FILTERED_UNITS),
    ("held", declared::HELD_UNITS),
    ("expired", declared::EXPIRED_UNITS),
    ("steps_admitted", declared::ADMITTED_STEPS),
    ("alarms", declared::SILENCES),
    ("batches", declared::BATCHES),
    ("draws", declared::DRAWS),
    ("stale_draws", declared::REJECTED_DRAWS),
    ("updates", declared::UPDATES),
    ("refused_updates", declared::REFUSED_UPDATES),
    ("rollbacks", declared::ROLLBACKS),
];

impl Board {
    /// What `/status` shows.
    pub fn shown(&self, settings_digest: &str) -> telemetry::Status {
        let status = self.status();
        let partition = |(partition, next): (&Partition, &NextOffset)| {
            let end = status.known_ends.get(partition).map(|end| end.raw());
            PartitionStatus {
                partition: partition.0,
                next_offset: next.raw(),
                end_offset: end,
                lag_records: end.map(|end| end.saturating_sub(next.raw())),
                watermark: status
                    .watermarks
                    .get(partition)
                    .map(|time| WallTime::from_millis(time.millis()).to_string()),
                paused: status.paused.contains(partition),
                idle: status.idle.contains(partition),
            }
        };
        telemetry::Status {
            phase: if status.caught_up { Phase::Live } else { Phase::CatchingUp },
            flow: status.flow(),
            settings_digest: settings_digest.to_owned(),
            partitions: status.position.iter().map(partition).collect(),
            counters: status.counters.clone(),
            open_sessions: status.counters.get("open_sessions").copied().unwrap_or_default(),
            filter: FilterStatus {
                kappa: status.kappa,
                level: status.level,
                threshold: status.threshold.map(f64::from),
                atom_share: 0.0,
                window_len: status.window_len as u64,
                admitted_share: status.admitted_share.unwrap_or_default(),
            },
            learner: LearnerStatus {
                updates: status.updates,
                refused_updates: status.refused_updates,
                loss: status.loss,
                buffer_len: status.buffer_len as u64,
            },
            checkpoint: status.checkpoint.map(|sequence| CheckpointStatus {
                sequence,
                sealed_at: status.sealed_at.map(|at| WallTime::from_millis(at).to_string()).unwrap_or_default(),
                digest: status.digest.clone().unwrap_or_default(),
                records: status.sealed_records,
            }),
        }
    }

    /// Brings the metrics up to date.
    pub fn publish_metrics(&self, now: i64) {
        let status = self.status();
        for (name, counter) in COUNTERS {
            counter.reach(status.counters.get(*name).copied().unwrap_or_default());
        }
        for (partition, next) in &status.position {
            declared::READ_RECORDS.reach(partition.to_string(), next.raw());
            if let Some(end) = status.known_ends.get(partition) {
                let lag = end.raw().saturating_sub(next.raw());
                declared::LAG_RECORDS.set(partition.to_string(), lag as f64);
            }
        }
        declared::PAUSED.set(status.paused.len() as f64);
        declared::IDLE.set(status.idle.len() as f64);
        declared::LAG_SECONDS.set(status.lag_seconds(now));
        declared::LOST_RECORDS.reach(status.lost);
        declared::BUFFER.set(status.buffer_len as f64);
        declared::PARKED_EVENTS.set(status.counters.get("parked").copied().unwrap_or_default() as f64);
        declared::OPEN_SESSIONS.set(status.counters.get("open_sessions").copied().unwrap_or_default() as f64);
        declared::MERGING_UNITS.set(status.queued_trajectories as f64);
        declared::WINDOW.set(status.window_len as f64);
        declared::KAPPA.set(status.kappa);
        declared::LEVEL.set(status.level);
        if let Some(threshold) = status.threshold {
            declared::THRESHOLD.set(f64::from(threshold));
        }
        if let Some(share) = status.admitted_share {
            declared::ADMITTED_SHARE.set(share);
        }
        if let Some(mean) = status.mean_return {
            declared::RETURN.set(mean);
        }
        if let (Some(loss), Some(norm)) = (status.loss, status.gradient_norm) {
            declared::LOSS.set(loss);
            declared::GRADIENT.set(norm);
        }
        if let Some(at) = status.sealed_at {
            declared::CHECKPOINT_AGE.set((now - at).max(0) as f64 / 1e3);
        }
    }

    pub fn status(&self) -> Status {
        self.lock().clone()
    }

    pub fn begin(
        &self,
        records_total: Option<u64>,
        records_before: u64,
        position: &Position,
        checkpoint: Option<u64>,
        restarts: u64,
    ) {
        let mut status = self.lock();
        (status.records_total, status.records_before) = (records_total, records_before);
        status.position.clone_from(position);
        status.checkpoint = checkpoint;
        status.sealed_records = position.values().map(|next| next.raw()).sum();
        status.restarts = restarts;
    }

    pub fn read(&self, partition: Partition, records: u64, next: NextOffset) {
        let mut status = self.lock();
        status.last_news = Some(clock::instant());
        status.records += records;
        status.position.insert(partition, next);
    }

    /// How the reading stands: the ends of the partitions as last heard of, and what is paused.
    pub fn reading(&self, ends: &Position, paused: &BTreeSet<Partition>) {
        let mut status = self.lock();
        if status.paused != *paused {
            status.paused.clone_from(paused);
        }
        if status.known_ends != *ends {
            status.known_ends.clone_from(ends);
        }
        let lag = ends.iter().map(|(partition, end)| {
            let next = status.position.get(partition).map_or(0, |next| next.raw());
            end.raw().saturating_sub(next)
        });
        let lag: u64 = lag.sum();
        status.lag_records = Some(lag);
        status.caught_up = lag == 0 && !ends.is_empty();
        if lag == 0 || !paused.is_empty() || status.last_news.is_none() {
            status.last_news = Some(clock::instant());
        }
    }

    pub fn lost(&self, records: u64) {
        self.lock().lost += records;
    }

    pub fn judged(&self, pipeline: &mut Pipeline) {
        let threshold = pipeline.filter().cut().map(|cut| cut.threshold.value());
        let (level, kappa, window_len) = {
            let filter = pipeline.filter();
            (filter.level(), filter.kappa(), filter.window_len())
        };
        let totals = *pipeline.totals();
        let filtered = *pipeline.filter().totals();
        let merge = pipeline.merge();
        let mut status = self.lock();
        let partitions: Vec<Partition> = status.position.keys().copied().collect();
        status.idle = partitions.iter().copied().filter(|partition| merge.is_idle(*partition)).collect();
        status.watermarks =
            partitions.iter().filter_map(|partition| Some((*partition, merge.watermark_of(*partition)?))).collect();
        (status.level, status.kappa, status.window_len, status.threshold) = (level, kappa, window_len, threshold);
        (status.trajectories, status.steps) = (totals.trajectories, totals.steps);
        status.mean_return = (totals.trajectories > 0).then(|| totals.reward / totals.trajectories as f64);
        (status.judged, status.admitted) = (filtered.judged, filtered.admitted);
        (status.filtered, status.held) = (filtered.filtered, filtered.held);
        status.admitted_share = filtered.admitted_share();
        status.queued_trajectories = merge.queued();
        status.buffer_len = pipeline.buffer().len();
        status.batches = pipeline.buffer().batches();
    }

    pub fn updated(&self, report: &UpdateReport, counters: &Counters) {
        let mut status = self.lock();
        (status.updates, status.refused_updates) = (counters.updates, counters.refused());
        match report.outcome {
            Outcome::Applied => {
                status.loss = Some(report.loss);
                status.gradient_norm = Some(report.gradient_norm);
            }
            Outcome::Refused(reason) => tracing::warn!(?reason, "update refused"),
        }
    }

    pub fn sealed(&self, sequence: Sequence, facts: &Facts, took: Duration) {
        declared::SEALS.add(1);
        declared::SEAL_SECONDS.record(took.as_secs_f64());
        let mut status = self.lock();
        status.checkpoint = Some(sequence.0);
        status.sealed_records = facts.position.values().map(|next| next.raw()).sum();
        status.counters.clone_from(&facts.counters);
        status.digest = Some(facts.digest.to_string());
        status.sealed_at = Some(clock::wall().millis());
        status.seal_seconds = Some(took.as_secs_f64());
    }

    /// The last words before a seeded crash: by these the parent knows what the crash was worth.
    pub fn announce_kill(&self) {
        let status = self.lock();
        let read: u64 = status.position.values().map(|next| next.raw()).sum();
        let checkpoint = status.checkpoint.unwrap_or(0);
        eprintln!("sluicebox-kill checkpoint={checkpoint} unsealed={}", read.saturating_sub(status.sealed_records));
    }

    /// A poisoned lock only means that a thread panicked while it wrote figures.
    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    /// Why records flow, or why they do not.
    fn flow(&self) -> Flow {
        let is_silent = self.last_news.is_some_and(|last| last.elapsed() > STUCK_AFTER);
        match (self.paused.is_empty(), self.caught_up) {
            (false, _) => Flow::BackPressure,
            (true, true) => Flow::NoData,
            (true, false) if is_silent => Flow::ClientStuck,
            (true, false) => Flow::Flowing,
        }
    }

    /// How old the news is that has not been read: by the slowest partition with something left to read.
    fn lag_seconds(&self, now: i64) -> f64 {
        let has_lag = |partition: &Partition| {
            let next = self.position.get(partition).map_or(0, |next| next.raw());
            self.known_ends.get(partition).is_some_and(|end| end.raw() > next)
        };
        let slowest =
            self.watermarks.iter().filter(|(partition, _)| has_lag(partition)).map(|(_, time)| time.millis()).min();
        slowest.map_or(0.0, |slowest| (now - slowest).max(0) as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_tells_no_data_from_back_pressure_from_a_stuck_client() {
        let board = Board::default();
        let (partition, ends) = (Partition(0), Position::from([(Partition(0), NextOffset::boundary(5))]));
        board.begin(None, 0, &Position::from([(partition, NextOffset::ZERO)]), None, 0);
        board.reading(&ends, &BTreeSet::new());
        assert_eq!(board.status().flow(), Flow::Flowing);
        let long_ago = clock::instant().checked_sub(2 * STUCK_AFTER);
        board.lock().last_news = long_ago;
        assert_eq!(board.status().flow(), Flow::ClientStuck);
        board.reading(&ends, &BTreeSet::from([partition]));
        assert_eq!(board.status().flow(), Flow::BackPressure);
        board.reading(&ends, &BTreeSet::new());
        assert_eq!(board.status().flow(), Flow::Flowing, "the silence begins when the pause ends");
        board.read(partition, 5, NextOffset::boundary(5));
        board.reading(&ends, &BTreeSet::new());
        board.lock().last_news = long_ago;
        assert_eq!(board.status().flow(), Flow::NoData);
    }

    #[test]
    fn the_lag_in_seconds_is_that_of_the_slowest_partition_with_something_to_read() {
        let time = |millis| EventTime::new(1_700_000_000_000 + millis).unwrap();
        let position = |offsets: [u64; 2]| (0..).map(Partition).zip(offsets.map(NextOffset::boundary)).collect();
        let mut status = Status {
            position: position([3, 4]),
            known_ends: position([9, 4]),
            watermarks: BTreeMap::from([(Partition(0), time(5_000)), (Partition(1), time(1_000))]),
            ..Status::default()
        };
        assert_eq!(status.lag_seconds(1_700_000_008_000), 3.0);
        status.known_ends = position([3, 4]);
        assert_eq!(status.lag_seconds(1_700_000_008_000), 0.0);
    }
}
