//! The figures of a running job: its threads write them, people look at them. Nothing that decides reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::counts::Counts;
use crate::checkpoint::{Facts, Sealed, Sequence};
use crate::clock;
use crate::learner::{Counters, Outcome, UpdateReport};
use crate::pipeline::Pipeline;
use crate::position::{NextOffset, Partition, Position};
use crate::telemetry::{Flow, declared};
use crate::time::EventTime;
use crate::validation::{Summary, Validation};

/// The latest figures. Written by the threads of a job, read by whoever wants to.
#[derive(Debug, Default)]
pub struct Board {
    figures: Mutex<Figures>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
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
    /// Weight of a unit that equals the threshold; 0 while there is none.
    pub atom_share: f64,
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
    /// `None` before the first step was scored.
    pub validation: Option<Summary>,
    pub checkpoint: Option<u64>,
    /// Records in the last seal, over all partitions.
    pub sealed_records: u64,
    pub seal_seconds: Option<f64>,
    pub restarts: u64,
    /// The conserved counts of the last seal, all zero before the first, by the names that `replay --json` uses.
    pub counters: BTreeMap<String, u64>,
    pub digest: Option<String>,
    /// Wall-clock milliseconds of the last seal.
    pub sealed_at: Option<i64>,
    pub caught_up: bool,
    pub known_ends: Position,
    pub paused: BTreeSet<Partition>,
    /// When records came last, or when there was nothing to come.
    #[serde(skip)]
    pub last_news: Option<Instant>,
    /// When somebody was last told of a refused update.
    #[serde(skip)]
    pub last_refusal: Option<Instant>,
}

/// With records to read and nothing paused, a client that brings none for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// Refused updates are told of this often.
const TELL_REFUSALS: Duration = Duration::from_secs(10);

impl Board {
    pub fn figures(&self) -> Figures {
        self.lock().clone()
    }

    /// Updates that the learner has made or refused in this process.
    pub fn updates(&self) -> u64 {
        let figures = self.lock();
        figures.updates + figures.refused_updates
    }

    pub fn begin(
        &self,
        records_total: Option<u64>,
        records_before: u64,
        position: &Position,
        restarts: u64,
        parent: Option<&Sealed>,
    ) {
        let mut figures = self.lock();
        (figures.records_total, figures.records_before) = (records_total, records_before);
        figures.position.clone_from(position);
        figures.sealed_records = position.values().map(|next| next.raw()).sum();
        figures.restarts = restarts;
        figures.counters = Counts::default().by_name();
        if let Some(parent) = parent {
            figures.know(parent.sequence, &parent.manifest.facts);
            let count = |name: &str| figures.counters.get(name).copied().unwrap_or_default();
            (figures.updates, figures.refused_updates) = (count("updates"), count("refused_updates"));
        }
    }

    pub fn read(&self, partition: Partition, records: u64, next: NextOffset) {
        let mut figures = self.lock();
        figures.last_news = Some(clock::instant());
        figures.records += records;
        figures.position.insert(partition, next);
    }

    /// How the reading stands: the ends of the partitions as last heard of, and what is paused.
    pub fn reading(&self, ends: &Position, paused: &BTreeSet<Partition>) {
        let mut figures = self.lock();
        if figures.paused != *paused {
            figures.paused.clone_from(paused);
        }
        if figures.known_ends != *ends {
            figures.known_ends.clone_from(ends);
        }
        let lag = ends.iter().map(|(partition, end)| {
            let next = figures.position.get(partition).map_or(0, |next| next.raw());
            end.raw().saturating_sub(next)
        });
        let lag: u64 = lag.sum();
        figures.lag_records = Some(lag);
        figures.caught_up = lag == 0 && !ends.is_empty();
        if lag == 0 || !paused.is_empty() || figures.last_news.is_none() {
            figures.last_news = Some(clock::instant());
        }
    }

    pub fn judged(&self, pipeline: &mut Pipeline) {
        let cut = pipeline.filter().cut();
        let (threshold, atom_share) = (cut.map(|cut| cut.threshold.value()), cut.map_or(0.0, |cut| cut.atom_share));
        let (level, kappa, window_len) = {
            let filter = pipeline.filter();
            (filter.level(), filter.kappa(), filter.window_len())
        };
        let totals = *pipeline.totals();
        let filtered = *pipeline.filter().totals();
        let merge = pipeline.merge();
        let mut figures = self.lock();
        let partitions: Vec<Partition> = figures.position.keys().copied().collect();
        figures.idle = partitions.iter().copied().filter(|partition| merge.is_idle(*partition)).collect();
        figures.watermarks =
            partitions.iter().filter_map(|partition| Some((*partition, merge.watermark_of(*partition)?))).collect();
        (figures.level, figures.kappa, figures.window_len, figures.threshold) = (level, kappa, window_len, threshold);
        figures.atom_share = atom_share;
        (figures.trajectories, figures.steps) = (totals.trajectories, totals.steps);
        figures.mean_return = (totals.trajectories > 0).then(|| totals.reward / totals.trajectories as f64);
        (figures.judged, figures.admitted) = (filtered.judged, filtered.admitted);
        (figures.filtered, figures.held) = (filtered.filtered, filtered.held);
        figures.admitted_share = filtered.admitted_share();
        figures.queued_trajectories = merge.queued();
        figures.buffer_len = pipeline.buffer().len();
        figures.batches = pipeline.buffer().batches();
    }

    pub fn updated(&self, report: &UpdateReport, counters: &Counters) {
        let mut figures = self.lock();
        (figures.updates, figures.refused_updates) = (counters.updates, counters.refused());
        match report.outcome {
            Outcome::Applied => {
                figures.loss = Some(report.loss);
                figures.gradient_norm = Some(report.gradient_norm);
            }
            Outcome::Refused(reason) => {
                tracing::debug!(?reason, "update refused");
                // One line stands for many: a policy at its limits is refused a thousand times.
                if figures.last_refusal.is_none_or(|told| told.elapsed() > TELL_REFUSALS) {
                    figures.last_refusal = Some(clock::instant());
                    tracing::warn!(?reason, so_far = figures.refused_updates, "updates are refused");
                }
            }
        }
    }

    /// Progressive validation after another step; the window is summed now and then, for it is long.
    pub fn validated(&self, validation: &Validation) {
        if let Some(summary) = validation.due_summary() {
            self.lock().validation = Some(summary);
        }
    }

    pub fn sealed(&self, sequence: Sequence, facts: &Facts, took: Duration) {
        declared::SEALS.add(1);
        declared::SEAL_SECONDS.record(took.as_secs_f64());
        let mut figures = self.lock();
        figures.know(sequence, facts);
        figures.seal_seconds = Some(took.as_secs_f64());
    }

    /// The last words before a seeded crash: by these the parent knows what the crash was worth.
    pub fn announce_kill(&self) {
        let figures = self.lock();
        let read: u64 = figures.position.values().map(|next| next.raw()).sum();
        let checkpoint = figures.checkpoint.unwrap_or(0);
        eprintln!("sluicebox-kill checkpoint={checkpoint} unsealed={}", read.saturating_sub(figures.sealed_records));
    }

    /// A poisoned lock only means that a thread panicked while it wrote figures.
    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Figures {
    /// The newest seal, made now or before this process started.
    fn know(&mut self, sequence: Sequence, facts: &Facts) {
        self.checkpoint = Some(sequence.0);
        self.sealed_records = facts.position.values().map(|next| next.raw()).sum();
        self.counters.clone_from(&facts.counters);
        self.digest = Some(facts.digest.to_string());
        self.sealed_at = facts.sealed_at_ms.and_then(|at| i64::try_from(at).ok());
    }

    /// Why records flow, or why they do not.
    pub(super) fn flow(&self) -> Flow {
        let is_silent = self.last_news.is_some_and(|last| last.elapsed() > STUCK_AFTER);
        match (self.paused.is_empty(), self.caught_up) {
            (false, _) => Flow::BackPressure,
            (true, true) => Flow::NoData,
            (true, false) if is_silent => Flow::ClientStuck,
            (true, false) => Flow::Flowing,
        }
    }

    /// How old the news is that has not been read: by the slowest partition with something left to read.
    pub(super) fn lag_seconds(&self, now: i64) -> f64 {
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
        board.begin(None, 0, &Position::from([(partition, NextOffset::ZERO)]), 0, None);
        board.reading(&ends, &BTreeSet::new());
        assert_eq!(board.figures().flow(), Flow::Flowing);
        let long_ago = clock::instant().checked_sub(2 * STUCK_AFTER);
        board.lock().last_news = long_ago;
        assert_eq!(board.figures().flow(), Flow::ClientStuck);
        board.reading(&ends, &BTreeSet::from([partition]));
        assert_eq!(board.figures().flow(), Flow::BackPressure);
        board.reading(&ends, &BTreeSet::new());
        assert_eq!(board.figures().flow(), Flow::Flowing, "the silence begins when the pause ends");
        board.read(partition, 5, NextOffset::boundary(5));
        board.reading(&ends, &BTreeSet::new());
        board.lock().last_news = long_ago;
        assert_eq!(board.figures().flow(), Flow::NoData);
    }

    #[test]
    fn the_lag_in_seconds_is_that_of_the_slowest_partition_with_something_to_read() {
        let time = |millis: i64| EventTime::new(1_700_000_000_000 + millis).unwrap();
        let position = |offsets: [u64; 2]| (0..).map(Partition).zip(offsets.map(NextOffset::boundary)).collect();
        let mut figures = Figures {
            position: position([3, 4]),
            known_ends: position([9, 4]),
            watermarks: BTreeMap::from([(Partition(0), time(5_000)), (Partition(1), time(1_000))]),
            ..Figures::default()
        };
        assert_eq!(figures.lag_seconds(1_700_000_008_000), 3.0);
        figures.known_ends = position([3, 4]);
        assert_eq!(figures.lag_seconds(1_700_000_008_000), 0.0);
    }
}
