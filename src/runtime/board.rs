//! What people look at while a job runs: progress, `/status`, metrics. Nothing that decides reads it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::checkpoint::{Facts, Sequence};
use crate::clock::{self, WallTime};
use crate::learner::{Counters, Outcome, UpdateReport};
use crate::pipeline::Pipeline;
use crate::position::{NextOffset, Partition, Position};
use crate::telemetry::{
    self, CheckpointStatus, Counter, FilterStatus, Flow, LearnerStatus, PartitionStatus, Phase, declared,
};

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
    pub paused: u64,
}

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
                ..PartitionStatus::default()
            }
        };
        telemetry::Status {
            phase: if status.caught_up { Phase::Live } else { Phase::CatchingUp },
            flow: match (status.paused > 0, status.caught_up) {
                (true, _) => Flow::BackPressure,
                (false, true) => Flow::NoData,
                (false, false) => Flow::Flowing,
            },
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
                buffer_len: status.batches,
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
        declared::PAUSED.set(status.paused as f64);
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

    /// Updates that the learner has made or refused in this process.
    pub fn updates(&self) -> u64 {
        let status = self.lock();
        status.updates + status.refused_updates
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
        status.records += records;
        status.position.insert(partition, next);
    }

    /// How the reading stands: the ends of the partitions as last heard of, and what is paused.
    pub fn reading(&self, ends: &Position, paused: usize) {
        let mut status = self.lock();
        status.paused = paused as u64;
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
    }

    pub fn judged(&self, pipeline: &mut Pipeline) {
        let threshold = pipeline.filter().cut().map(|cut| cut.threshold.value());
        let (level, kappa, window_len) = {
            let filter = pipeline.filter();
            (filter.level(), filter.kappa(), filter.window_len())
        };
        let totals = *pipeline.totals();
        let filtered = *pipeline.filter().totals();
        let mut status = self.lock();
        (status.level, status.kappa, status.window_len, status.threshold) = (level, kappa, window_len, threshold);
        (status.trajectories, status.steps) = (totals.trajectories, totals.steps);
        status.mean_return = (totals.trajectories > 0).then(|| totals.reward / totals.trajectories as f64);
        (status.judged, status.admitted) = (filtered.judged, filtered.admitted);
        (status.filtered, status.held) = (filtered.filtered, filtered.held);
        status.admitted_share = filtered.admitted_share();
        status.queued_trajectories = pipeline.merge().queued();
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
