//! What people look at while a job runs: progress, `/status`, metrics. Nothing that decides reads it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::checkpoint::Sequence;
use crate::learner::{Counters, Outcome, UpdateReport};
use crate::pipeline::Pipeline;
use crate::position::{NextOffset, Partition, Position};

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
}

impl Board {
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
        status.records += records;
        status.position.insert(partition, next);
    }

    pub fn known_ends(&self, ends: &Position) {
        let mut status = self.lock();
        let lag = ends.iter().map(|(partition, end)| {
            let next = status.position.get(partition).map_or(0, |next| next.raw());
            end.raw().saturating_sub(next)
        });
        status.lag_records = Some(lag.sum());
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

    pub fn sealed(&self, sequence: Sequence, position: &Position, took: Duration) {
        let mut status = self.lock();
        status.checkpoint = Some(sequence.0);
        status.sealed_records = position.values().map(|next| next.raw()).sum();
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
