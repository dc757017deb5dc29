//! What a checkpoint's `state` part holds, and the digest over all of it.
//!
//! ```text
//! state = postcard([(section name, section bytes), ..])      sections: lanes, pipeline, validation, meta
//! digest = sections lanes, pipeline, validation + the learner's tensors by name and its generators and guard
//! ```
//!
//! `meta` is what may differ between two runs over the same log (where the state lies, how often it was restarted), and so
//! is not in the digest. A section that a newer version adds is passed over by name, not by position.

use std::collections::{BTreeMap, BTreeSet};

use postcard::experimental::serialized_size;
use serde::{Deserialize, Serialize};

use super::journal::JournalEntry;
use super::messages::Draft;
use crate::assemble::LaneCounters;
use crate::checkpoint::{self, Digest, DigestBuilder};
use crate::learner;
use crate::pipeline::{IntakeState, PipelineState, RecordCounters};
use crate::position::{Partition, Position};
use crate::source::{LogIdentity, Range};
use crate::validation::ValidationState;

/// The conserved state of the whole path, but for the learner's parts.
#[derive(Debug, Clone)]
pub struct Content {
    pub intakes: BTreeMap<Partition, IntakeState>,
    pub pipeline: PipelineState,
    pub validation: ValidationState,
}

/// Beside the conserved state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// `None`: live, without an end.
    pub range: Option<Range>,
    pub log: LogIdentity,
    /// Effective settings by name, secrets masked: a restart names what changed.
    pub settings: BTreeMap<String, String>,
    /// BLAKE3 of the catalog.
    pub catalog: [u8; 32],
    /// Idle decisions so far, with the position of every partition.
    pub journal: Vec<JournalEntry>,
    pub idle: BTreeSet<Partition>,
    pub restarts: u64,
}

const LANES: &str = "lanes";
const PIPELINE: &str = "pipeline";
/// Absent while nothing has been scored.
const VALIDATION: &str = "validation";
const META: &str = "meta";

/// The state part and the digest.
pub fn encode(content: &Content, meta: &Meta, learned: &learner::Parts) -> Result<(Vec<u8>, Digest), postcard::Error> {
    let mut sections = Sections { state: Vec::new(), digest: DigestBuilder::new() };
    let has_validation = !content.validation.is_empty();
    // Room for all at once: a buffer of hundreds of megabytes that grows is copied again and again, and giving back the old
    // ones holds up whoever needs memory meanwhile.
    let sizes = [
        serialized_size(&content.intakes)?,
        serialized_size(&content.pipeline)?,
        serialized_size(meta)?,
        if has_validation { serialized_size(&content.validation)? } else { 0 },
    ];
    sections.state.reserve_exact(sizes.iter().sum::<usize>() + HEADERS_MAX);
    sections.begin(if has_validation { 4 } else { 3 })?;
    sections.write(LANES, sizes[0], &content.intakes, true)?;
    sections.write(PIPELINE, sizes[1], &content.pipeline, true)?;
    sections.write(META, sizes[2], meta, false)?;
    if has_validation {
        sections.write(VALIDATION, sizes[3], &content.validation, true)?;
    }
    // The learner's parts name their tensors and are canonical: equal learners, equal bytes.
    sections.digest.section("policy", &learned.policy).section("optimizer", &learned.optimizer);
    Ok((sections.state, sections.digest.finish()))
}

/// More than names and lengths of all sections need.
const HEADERS_MAX: usize = 256;

/// The state part while it is being written, and the digest of what is in it.
struct Sections {
    state: Vec<u8>,
    digest: DigestBuilder,
}

impl Sections {
    fn begin(&mut self, count: usize) -> Result<(), postcard::Error> {
        self.append(&count)
    }

    /// A section of so many bytes.
    fn write(
        &mut self,
        name: &str,
        size: usize,
        content: &impl Serialize,
        is_digested: bool,
    ) -> Result<(), postcard::Error> {
        self.append(name)?;
        self.append(&size)?;
        let begin = self.state.len();
        self.append(content)?;
        if is_digested {
            self.digest.section(name, &self.state[begin..]);
        }
        Ok(())
    }

    fn append(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), postcard::Error> {
        self.state = postcard::to_extend(value, std::mem::take(&mut self.state))?;
        Ok(())
    }
}

pub fn decode(state: &[u8]) -> Result<(Content, Meta), String> {
    let sections: Vec<(String, Vec<u8>)> = postcard::from_bytes(state).map_err(|error| error.to_string())?;
    let section = |name: &str| {
        let found = sections.iter().find(|(section, _)| section == name);
        found.map(|(_, bytes)| bytes.as_slice()).ok_or_else(|| format!("section {name} is missing"))
    };
    let content = Content {
        intakes: postcard::from_bytes(section(LANES)?).map_err(|error| format!("section {LANES}: {error}"))?,
        pipeline: postcard::from_bytes(section(PIPELINE)?).map_err(|error| format!("section {PIPELINE}: {error}"))?,
        validation: match section(VALIDATION) {
            Ok(bytes) => postcard::from_bytes(bytes).map_err(|error| format!("section {VALIDATION}: {error}"))?,
            Err(_) => ValidationState::default(),
        },
    };
    let meta = postcard::from_bytes(section(META)?).map_err(|error| format!("section {META}: {error}"))?;
    Ok((content, meta))
}

impl Content {
    pub fn position(&self) -> Position {
        self.intakes.iter().map(|(partition, intake)| (*partition, intake.progress.next)).collect()
    }

    pub fn records(&self) -> RecordCounters {
        let mut records = RecordCounters::default();
        self.intakes.values().for_each(|intake| records.add(&intake.progress.counters));
        records
    }

    /// Sums over the lanes.
    pub fn lanes(&self) -> LaneCounters {
        let mut lanes = LaneCounters::default();
        self.intakes.values().for_each(|intake| lanes.add(intake.lane.counters()));
        lanes
    }

    /// The conserved counts by the names that `--json` uses.
    pub fn counters(&self, learned: &learner::Counters) -> BTreeMap<String, u64> {
        let (records, lanes, totals, filter) =
            (self.records(), self.lanes(), self.pipeline.totals, self.pipeline.filter.totals);
        let (queued, _) = self.pipeline.merge.queued();
        [
            ("records", records.records),
            ("decoded", records.decoded),
            ("ignored", records.ignored),
            ("tombstones", records.tombstones),
            ("malformed", records.malformed),
            ("lost", records.lost),
            ("events", lanes.events),
            ("applied", lanes.applied),
            ("duplicates", lanes.duplicate),
            ("late", lanes.late),
            ("orphan", lanes.orphan),
            ("parked", lanes.parked),
            ("open_sessions", lanes.open),
            ("immature", lanes.immature_trajectories),
            ("merging", queued),
            ("trajectories", totals.trajectories),
            ("steps", totals.steps),
            ("units", totals.units),
            ("admitted", filter.admitted),
            ("filtered", filter.filtered),
            ("filtered_noise", filter.filtered_noise),
            ("filtered_user_share", filter.filtered_user_share),
            ("held", filter.held),
            ("expired", totals.expired),
            ("steps_admitted", filter.steps_admitted),
            ("steps_filtered", filter.steps_filtered),
            ("steps_held", filter.steps_held),
            ("steps_expired", totals.steps_expired),
            ("steps_without_action", totals.steps_without_action),
            ("judged", filter.judged),
            ("alarms", filter.alarms),
            ("drifts", filter.drifts),
            ("batches", self.pipeline.buffer.batches()),
            ("draws", self.pipeline.buffer.draws()),
            ("stale_draws", self.pipeline.buffer.stale_draws()),
            ("updates", learned.updates),
            ("refused_updates", learned.refused()),
            ("rollbacks", learned.rollbacks),
            ("critic_updates", learned.critic_updates),
            ("refused_critic_updates", learned.critic_refused),
            ("baseline_updates", learned.baseline_updates),
            ("refused_baseline_updates", learned.baseline_refused),
            ("uniform_fallbacks", learned.uniform_fallbacks),
            ("negatives_dropped", learned.negatives_dropped),
        ]
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
    }

    pub fn log_identity(&self, meta: &Meta) -> checkpoint::LogIdentity {
        let last = |intake: &IntakeState| {
            intake.progress.last_record.map(|(offset, fingerprint)| format!("{offset}:{:032x}", fingerprint.0))
        };
        let last_records =
            self.intakes.iter().filter_map(|(partition, intake)| Some((*partition, last(intake)?))).collect();
        checkpoint::LogIdentity { name: describe(&meta.log), last_records }
    }
}

/// A log in words.
pub fn describe(log: &LogIdentity) -> String {
    match log {
        LogIdentity::Topic { cluster, topic } => {
            format!("topic {topic} of cluster {}", cluster.as_deref().unwrap_or("(unknown)"))
        }
        LogIdentity::File { bytes, content, partitions, .. } => {
            let content: String = content.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("file of {bytes} bytes, BLAKE3 {content}.., {partitions} partitions")
        }
    }
}

impl Meta {
    /// Records the idle decisions of a cut: they are part of the checkpoint at which they take effect.
    pub fn note_idle(&mut self, draft: &Draft) {
        let changes = &draft.barrier.idle;
        if changes.is_empty() {
            return;
        }
        for change in changes {
            match change.idle {
                true => self.idle.insert(change.partition),
                false => self.idle.remove(&change.partition),
            };
        }
        let position = draft.intakes.iter().map(|(partition, intake)| (*partition, intake.progress.next)).collect();
        self.journal.push(JournalEntry { position, changes: changes.clone() });
    }
}
