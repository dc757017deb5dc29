//! How the process stands, as one snapshot that the pipeline publishes and the HTTP side shows.
//!
//! The pipeline publishes a whole new [`Status`] when it likes; readers take the last one. Neither waits for the other,
//! so `/status` answers while the pipeline stalls, and says for how long it has heard nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::clock::{self, WallTime};
use crate::validation::Summary;

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Restoring the state, waiting for the broker.
    #[default]
    Starting,
    /// Reading what was written before it started.
    CatchingUp,
    /// At the live end of the log.
    Live,
    /// Finishing and sealing.
    Stopping,
    /// About to end with an error.
    Failed,
}

/// Why records flow, or why they do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    #[default]
    Flowing,
    /// Everything has been read.
    NoData,
    /// The pipeline is busy and has paused the partitions.
    BackPressure,
    /// The broker has records and the client does not deliver them.
    ClientStuck,
}

/// What `/status` shows.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Status {
    pub phase: Phase,
    pub flow: Flow,
    /// Structural digest of the settings.
    pub settings_digest: String,
    pub partitions: Vec<PartitionStatus>,
    /// The conserved counters by name, as `replay --json` names them.
    pub counters: BTreeMap<String, u64>,
    pub open_sessions: u64,
    pub filter: FilterStatus,
    pub learner: LearnerStatus,
    /// Progressive validation; `None` before the first step was scored.
    pub validation: Option<Summary>,
    /// `None` before the first seal.
    pub checkpoint: Option<CheckpointStatus>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PartitionStatus {
    pub partition: u32,
    pub next_offset: u64,
    pub end_offset: Option<u64>,
    pub lag_records: Option<u64>,
    /// Event time, RFC 3339; `None` before the first event.
    pub watermark: Option<String>,
    pub paused: bool,
    pub idle: bool,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct FilterStatus {
    pub kappa: f64,
    pub level: f64,
    /// `None` while the window is filling up.
    pub threshold: Option<f64>,
    pub atom_share: f64,
    pub window_len: u64,
    pub admitted_share: f64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct LearnerStatus {
    pub updates: u64,
    pub refused_updates: u64,
    pub loss: Option<f64>,
    pub buffer_len: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct CheckpointStatus {
    pub sequence: u64,
    /// Wall time, RFC 3339.
    pub sealed_at: String,
    pub digest: String,
    pub records: u64,
}

/// The one place where the pipeline leaves its status and the HTTP side finds it.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    started_at: WallTime,
    last: RwLock<Published>,
}

#[derive(Debug, Clone)]
struct Published {
    status: Arc<Status>,
    at: Instant,
}

/// A status with what only the reading side knows.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub name: &'static str,
    pub version: &'static str,
    pub started_at: String,
    pub uptime_seconds: f64,
    /// How long the pipeline has published nothing: large when it stalls.
    pub age_seconds: f64,
    #[serde(flatten)]
    pub status: Arc<Status>,
}

impl Health {
    pub fn new() -> Health {
        let started = clock::instant();
        let last = Published { status: Arc::new(Status::default()), at: started };
        Health { started, started_at: clock::wall(), last: RwLock::new(last) }
    }

    pub fn publish(&self, status: Status) {
        let published = Published { status: Arc::new(status), at: clock::instant() };
        // Held for one assignment; a poisoned lock still holds a whole snapshot.
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = published;
    }

    pub fn report(&self) -> Report {
        let Published { status, at } = self.last.read().unwrap_or_else(PoisonError::into_inner).clone();
        let seconds = |since: Instant| clock::instant().saturating_duration_since(since).as_secs_f64();
        Report {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            started_at: self.started_at.to_string(),
            uptime_seconds: seconds(self.started),
            age_seconds: seconds(at),
            status,
        }
    }

    pub fn uptime(&self) -> Duration {
        clock::instant().saturating_duration_since(self.started)
    }

    /// Should a supervisor leave the process alone? `Err` says why not.
    pub fn live(&self) -> Result<(), &'static str> {
        match self.report().status.phase {
            Phase::Starting | Phase::CatchingUp | Phase::Live | Phase::Stopping => Ok(()),
            Phase::Failed => Err("failed"),
        }
    }

    /// Is it doing its work? `Err` says why not.
    pub fn ready(&self) -> Result<(), &'static str> {
        let Status { phase, flow, .. } = *self.report().status;
        match (phase, flow) {
            (Phase::Starting, _) => Err("starting"),
            (Phase::Stopping, _) => Err("stopping"),
            (Phase::Failed, _) => Err("failed"),
            (Phase::CatchingUp | Phase::Live, Flow::ClientStuck) => Err("client stuck"),
            (Phase::CatchingUp | Phase::Live, Flow::Flowing | Flow::NoData | Flow::BackPressure) => Ok(()),
        }
    }
}

impl Default for Health {
    fn default() -> Health {
        Health::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_follows_phase_and_flow() {
        let health = Health::new();
        assert_eq!(health.ready(), Err("starting"));
        let expected = [
            (Phase::CatchingUp, Flow::Flowing, Ok(())),
            (Phase::Live, Flow::NoData, Ok(())),
            (Phase::Live, Flow::BackPressure, Ok(())),
            (Phase::Live, Flow::ClientStuck, Err("client stuck")),
            (Phase::Stopping, Flow::Flowing, Err("stopping")),
            (Phase::Failed, Flow::Flowing, Err("failed")),
        ];
        for (phase, flow, ready) in expected {
            health.publish(Status { phase, flow, ..Status::default() });
            assert_eq!(health.ready(), ready, "{phase:?} {flow:?}");
            assert_eq!(health.live().is_err(), phase == Phase::Failed);
        }
    }

    #[test]
    fn the_report_is_one_flat_object() {
        let health = Health::new();
        health.publish(Status { phase: Phase::Live, ..Status::default() });
        let json = serde_json::to_value(health.report()).expect("serializable");
        assert_eq!(json["phase"], "live");
        assert_eq!(json["flow"], "flowing");
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
        assert!(json["age_seconds"].as_f64().is_some_and(|age| age >= 0.0));
    }
}
