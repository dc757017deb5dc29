//! `inspect`: what a checkpoint holds. It takes no lock, so it may look at a directory that a process works in.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::plan::job_failure;
use super::{args, print_json, print_text, settings_from};
use crate::checkpoint::{self, PassedOver, RealDisk, read_checkpoint, read_newest};
use crate::exit::{Exit, Failure};
use crate::policy::Policy;
use crate::position::{NextOffset, Partition};
use crate::runtime::{self, JobError, Outcome};
use crate::settings::parse_length;
use crate::time::Span;

/// What `inspect --json` prints; `schemas/inspect-report.v1.schema.json`.
#[derive(Debug, Serialize)]
struct Report {
    checkpoint: PathBuf,
    sequence: u64,
    parent: Option<u64>,
    format: u32,
    created_by: String,
    sealed_at_ms: Option<u64>,
    /// The end of the range was reached.
    complete: bool,
    digest: String,
    platform: String,
    log: String,
    restarts: u64,
    counters: BTreeMap<String, u64>,
    lanes: Vec<LaneReport>,
    filter: FilterReport,
    /// Admitted steps from which batches are drawn.
    buffer: usize,
    policy: Vec<TensorReport>,
    idle: Vec<Partition>,
    /// Idle decisions of the run so far.
    journal: usize,
    parts: BTreeMap<&'static str, u64>,
    settings: BTreeMap<String, String>,
    /// Newer checkpoints that are broken, and how.
    passed_over: Vec<String>,
}

#[derive(Debug, Serialize)]
struct LaneReport {
    partition: Partition,
    next_offset: NextOffset,
    /// `start` before the first event, `end` when the range has been read.
    watermark: String,
    open_sessions: u64,
    immature_trajectories: u64,
    parked_events: u64,
}

#[derive(Debug, Serialize)]
struct FilterReport {
    kappa: f64,
    level: f64,
    threshold: Option<f32>,
    window_len: usize,
    admitted_share: Option<f64>,
    alarms: u64,
}

#[derive(Debug, Serialize)]
struct TensorReport {
    name: String,
    shape: Vec<usize>,
}

pub fn inspect(arguments: &args::Inspect) -> Result<Exit, Failure> {
    let place = match arguments.place() {
        Some(place) => place.clone(),
        None => settings_from(&arguments.settings)?.checkpoint.directory,
    };
    let (outcome, passed_over) = read(&place)?;
    let report = Report::of(&outcome, &passed_over);
    if arguments.json {
        print_json(&report)?;
    } else {
        print_text(&format!("{}{}", outcome.sealed.manifest.describe(), report.in_words()))?;
    }
    Ok(Exit::Success)
}

/// The checkpoint of this name, or the newest intact one of a state directory with the newer ones that are broken.
pub fn read(place: &Path) -> Result<(Outcome, Vec<PassedOver>), Failure> {
    let failed = |error: checkpoint::Error| job_failure(JobError::Checkpoint(error));
    if place.join("manifest.json").exists() || is_named_like_one(place) {
        let (sealed, parts) = read_checkpoint(&RealDisk, place).map_err(failed)?;
        return Ok((runtime::restore(sealed, parts).map_err(job_failure)?, Vec::new()));
    }
    let loaded = read_newest(&RealDisk, place).map_err(failed)?;
    let Some((sealed, parts)) = loaded.newest else {
        return Err(Exit::Data.because(format!("there is no checkpoint in {}", place.display())));
    };
    Ok((runtime::restore(sealed, parts).map_err(job_failure)?, loaded.passed_over))
}

fn is_named_like_one(place: &Path) -> bool {
    let sequence = place.file_name().and_then(|name| name.to_str()?.strip_prefix("checkpoint-"));
    sequence.is_some_and(|sequence| sequence.parse::<u64>().is_ok())
}

impl Report {
    fn of(outcome: &Outcome, passed_over: &[PassedOver]) -> Report {
        let (manifest, meta) = (&outcome.sealed.manifest, &outcome.meta);
        let (facts, pipeline) = (&manifest.facts, &outcome.content.pipeline);
        let seals = [("policy", manifest.parts.policy), ("optimizer", manifest.parts.optimizer)];
        let seals = seals.into_iter().chain([("state", manifest.parts.state)]);
        Report {
            checkpoint: outcome.sealed.directory.clone(),
            sequence: manifest.sequence.0,
            parent: facts.parent.map(|parent| parent.0),
            format: manifest.format,
            created_by: manifest.created_by.clone(),
            sealed_at_ms: facts.sealed_at_ms,
            complete: facts.complete,
            digest: facts.digest.to_string(),
            platform: facts.platform.clone(),
            log: facts.log.name.clone(),
            restarts: meta.restarts,
            counters: facts.counters.clone(),
            lanes: lanes(outcome),
            filter: FilterReport {
                kappa: pipeline.filter.kappa(),
                level: pipeline.filter.level,
                threshold: pipeline.filter.threshold,
                window_len: pipeline.filter.window.len(),
                admitted_share: pipeline.filter.totals.admitted_share(),
                alarms: pipeline.filter.totals.alarms,
            },
            buffer: pipeline.buffer.len(),
            policy: tensors(&outcome.learned.policy),
            idle: meta.idle.iter().copied().collect(),
            journal: meta.journal.len(),
            parts: seals.map(|(name, seal)| (name, seal.bytes)).collect(),
            settings: meta.settings.clone(),
            passed_over: passed_over.iter().map(PassedOver::to_string).collect(),
        }
    }

    fn in_words(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<14} {value}");
        };
        for lane in &self.lanes {
            line(
                "lane",
                format!(
                    "partition {}: next offset {}, watermark {}, {} open sessions, {} immature, {} events parked",
                    lane.partition,
                    lane.next_offset.raw(),
                    lane.watermark,
                    lane.open_sessions,
                    lane.immature_trajectories,
                    lane.parked_events
                ),
            );
        }
        let filter = &self.filter;
        let optional = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        line("threshold", optional(filter.threshold.map(f64::from)));
        line("window", format!("{} units, level {:.4}, kappa {}", filter.window_len, filter.level, filter.kappa));
        line("admitted share", optional(filter.admitted_share));
        line("buffer", format!("{} admitted steps", self.buffer));
        for tensor in &self.policy {
            line("tensor", format!("{} {:?}", tensor.name, tensor.shape));
        }
        line("restarts", self.restarts.to_string());
        line("journal", format!("{} idle decisions, idle now: {:?}", self.journal, self.idle));
        for broken in &self.passed_over {
            line("BROKEN", broken.clone());
        }
        text
    }
}

fn lanes(outcome: &Outcome) -> Vec<LaneReport> {
    // As sealed: the watermark is the greatest event time less the lateness that was in force.
    let lateness = outcome.meta.settings.get("time.lateness");
    let lateness = lateness.and_then(|text| serde_json::from_str::<String>(text).ok());
    let lateness = lateness.and_then(|text| parse_length(&text)).map_or(Span::ZERO, Span::from_duration);
    let lane = |(partition, intake): (&Partition, &crate::pipeline::IntakeState)| {
        let counters = intake.lane.counters();
        LaneReport {
            partition: *partition,
            next_offset: intake.progress.next,
            watermark: intake.lane.watermark(lateness).to_string(),
            open_sessions: counters.open,
            immature_trajectories: counters.immature_trajectories,
            parked_events: counters.parked,
        }
    };
    outcome.content.intakes.iter().map(lane).collect()
}

/// Empty for a policy over given item vectors, which are not in the checkpoint.
fn tensors(policy: &[u8]) -> Vec<TensorReport> {
    let Ok(policy) = Policy::from_bytes(policy, None) else { return Vec::new() };
    let tensors = policy.tensors().iter();
    tensors.map(|tensor| TensorReport { name: tensor.name.clone(), shape: tensor.shape.clone() }).collect()
}
