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
use std::io::{self, BufWriter, Write};

use postcard::experimental::serialized_size;
use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::journal::JournalEntry;
use super::messages::Draft;
use crate::assemble::LaneCounters;
use crate::checkpoint::{self, Digest, DigestBuilder, Encode, Facts, Part};
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

/// A checkpoint on its way to the disk.
pub struct Sealing<'a> {
    pub content: &'a Content,
    pub meta: &'a Meta,
    pub learned: &'a learner::Parts,
    /// The digest comes to them with the state.
    pub facts: Facts,
}

impl Encode for Sealing<'_> {
    fn encode(&mut self, part: Part, file: &mut dyn Write) -> io::Result<()> {
        match part {
            Part::Policy => file.write_all(&self.learned.policy),
            Part::Optimizer => file.write_all(&self.learned.optimizer),
            Part::State => {
                self.facts.digest = encode(self.content, self.meta, self.learned, file)?;
                Ok(())
            }
        }
    }

    fn facts(&mut self) -> Facts {
        std::mem::take(&mut self.facts)
    }
}

/// Writes the state part, and answers the digest.
pub fn encode(content: &Content, meta: &Meta, learned: &learner::Parts, state: &mut dyn Write) -> io::Result<Digest> {
    let mut sections = Sections { state, digest: DigestBuilder::new() };
    let has_validation = !content.validation.is_empty();
    sections.begin(if has_validation { 4 } else { 3 })?;
    sections.write(LANES, &content.intakes, true)?;
    sections.write(PIPELINE, &content.pipeline, true)?;
    sections.write(META, meta, false)?;
    if has_validation {
        sections.write(VALIDATION, &content.validation, true)?;
    }
    // The learner's parts name their tensors and are canonical: equal learners, equal bytes.
    sections.digest.section("policy", &learned.policy).section("optimizer", &learned.optimizer);
    Ok(sections.digest.finish())
}

/// The state part while it is being written, and the digest of what is in it.
struct Sections<'a> {
    state: &'a mut dyn Write,
    digest: DigestBuilder,
}

/// Gathers the few bytes of every number, for the hash likes many at once.
const GATHERED_BYTES: usize = 1 << 16;

impl Sections<'_> {
    fn begin(&mut self, count: usize) -> io::Result<()> {
        self.append(&count)
    }

    fn write(&mut self, name: &str, content: &impl Serialize, is_digested: bool) -> io::Result<()> {
        let size = serialized_size(content).map_err(io::Error::other)?;
        self.append(name)?;
        self.append(&size)?;
        let hasher = is_digested.then(|| self.digest.open_section(name, size));
        let section = Section { state: &mut *self.state, hasher };
        let mut section = BufWriter::with_capacity(GATHERED_BYTES, section);
        postcard::to_io(content, &mut section).map_err(io::Error::other)?;
        section.flush()
    }

    fn append(&mut self, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
        postcard::to_io(value, &mut *self.state).map(|_| ()).map_err(io::Error::other)
    }
}

/// Writes to the state and to the digest.
struct Section<'a> {
    state: &'a mut dyn Write,
    hasher: Option<&'a mut blake3::Hasher>,
}

impl Write for Section<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.state.write(bytes)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes[..taken]);
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.state.flush()
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
        let (queued, _) = self.pipeline.merge.queued();
        let buffer = &self.pipeline.buffer;
        let counts = Counts {
            records: self.records(),
            lanes: self.lanes(),
            totals: self.pipeline.totals,
            filter: self.pipeline.filter.totals,
            queued,
            batches: buffer.batches(),
            draws: buffer.draws(),
            stale_draws: buffer.stale_draws(),
            learned: *learned,
        };
        counts.by_name()
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
