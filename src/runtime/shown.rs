//! The figures of a job as `/status` and the metrics show them.

use super::board::Board;
use crate::clock::WallTime;
use crate::position::{NextOffset, Partition};
use crate::telemetry::{
    self, CheckpointStatus, Counter, FilterStatus, LearnerStatus, PartitionStatus, Phase, declared,
};
use crate::validation::Summary;

/// Which counter of the state each metric shows: a restart goes on counting where the state stands.
const COUNTERS: &[(&str, Counter)] = &[
    ("decoded", declared::DECODED_RECORDS),
    ("lost", declared::LOST_RECORDS),
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
        let figures = self.figures();
        let partition = |(partition, next): (&Partition, &NextOffset)| {
            let end = figures.known_ends.get(partition).map(|end| end.raw());
            PartitionStatus {
                partition: partition.0,
                next_offset: next.raw(),
                end_offset: end,
                lag_records: end.map(|end| end.saturating_sub(next.raw())),
                watermark: figures
                    .watermarks
                    .get(partition)
                    .map(|time| WallTime::from_millis(time.millis()).to_string()),
                paused: figures.paused.contains(partition),
                idle: figures.idle.contains(partition),
            }
        };
        telemetry::Status {
            phase: if figures.caught_up { Phase::Live } else { Phase::CatchingUp },
            flow: figures.flow(),
            settings_digest: settings_digest.to_owned(),
            partitions: figures.position.iter().map(partition).collect(),
            counters: figures.counters.clone(),
            open_sessions: figures.counters.get("open_sessions").copied().unwrap_or_default(),
            filter: FilterStatus {
                kappa: figures.kappa,
                level: figures.level,
                threshold: figures.threshold.map(f64::from),
                atom_share: figures.atom_share,
                window_len: figures.window_len as u64,
                admitted_share: figures.admitted_share.unwrap_or_default(),
            },
            learner: LearnerStatus {
                updates: figures.updates,
                refused_updates: figures.refused_updates,
                loss: figures.loss,
                buffer_len: figures.buffer_len as u64,
            },
            validation: figures.validation,
            checkpoint: figures.checkpoint.map(|sequence| CheckpointStatus {
                sequence,
                sealed_at: figures.sealed_at.map(|at| WallTime::from_millis(at).to_string()).unwrap_or_default(),
                digest: figures.digest.clone().unwrap_or_default(),
                records: figures.sealed_records,
            }),
        }
    }

    /// Brings the metrics up to date.
    pub fn publish_metrics(&self, now: i64) {
        let figures = self.figures();
        for (name, counter) in COUNTERS {
            counter.reach(figures.counters.get(*name).copied().unwrap_or_default());
        }
        for (partition, next) in &figures.position {
            declared::READ_RECORDS.reach(partition.to_string(), next.raw());
            if let Some(end) = figures.known_ends.get(partition) {
                let lag = end.raw().saturating_sub(next.raw());
                declared::LAG_RECORDS.set(partition.to_string(), lag as f64);
            }
        }
        declared::PAUSED.set(figures.paused.len() as f64);
        declared::IDLE.set(figures.idle.len() as f64);
        declared::LAG_SECONDS.set(figures.lag_seconds(now));
        declared::BUFFER.set(figures.buffer_len as f64);
        declared::PARKED_EVENTS.set(figures.counters.get("parked").copied().unwrap_or_default() as f64);
        declared::OPEN_SESSIONS.set(figures.counters.get("open_sessions").copied().unwrap_or_default() as f64);
        declared::MERGING_UNITS.set(figures.queued_trajectories as f64);
        declared::WINDOW.set(figures.window_len as f64);
        declared::KAPPA.set(figures.kappa);
        declared::LEVEL.set(figures.level);
        if let Some(threshold) = figures.threshold {
            declared::THRESHOLD.set(f64::from(threshold));
        }
        if let Some(share) = figures.admitted_share {
            declared::ADMITTED_SHARE.set(share);
        }
        if let Some(mean) = figures.mean_return {
            declared::RETURN.set(mean);
        }
        if let (Some(loss), Some(norm)) = (figures.loss, figures.gradient_norm) {
            declared::LOSS.set(loss);
            declared::GRADIENT.set(norm);
        }
        if let Some(validation) = &figures.validation {
            publish_validation(validation);
        }
        if let Some(at) = figures.sealed_at {
            declared::CHECKPOINT_AGE.set((now - at).max(0) as f64 / 1e3);
        }
    }
}

fn publish_validation(validation: &Summary) {
    declared::VALIDATED_STEPS.reach(validation.scored);
    let all = ("all", &validation.all);
    let by_delay = validation.by_delay.iter().map(|group| (group.delay.name(), &group.figures));
    for (delay, figures) in [all].into_iter().chain(by_delay) {
        let gauges = [
            (declared::VALIDATION_HITS, figures.hit_rate),
            (declared::VALIDATION_LIKELIHOOD, figures.log_likelihood),
            (declared::VALIDATION_VALUE, figures.snips),
        ];
        for (gauge, value) in gauges {
            if let Some(value) = value {
                gauge.set(delay.to_owned(), value);
            }
        }
    }
}
