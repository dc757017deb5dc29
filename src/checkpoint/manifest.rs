//! The manifest of a checkpoint: what it is, in a file that people can read.
//!
//! ```text
//! {
//!   "format": 1,
//!   ...
//!   "checksum": "<64 hexadecimal digits>"
//! }
//! ```
//!
//! The checksum is the BLAKE3 hash of the whole file with these 64 digits written as zeros. Every format keeps the
//! fields `format` and `created_by` and this rule, which needs no parsing: so an old program can tell a manifest of a
//! newer one (refused, with a clear word) from a rotten one (passed over).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::appendix::End;
use super::digest::{Checksum, Digest};
use super::load::Flaw;
use super::{Part, Sequence};
use crate::position::{Partition, Position};

/// The format that this program writes. A change in the meaning of any part is a new format.
pub const FORMAT: u32 = 1;
/// The oldest format that this program still reads.
const FORMAT_OLDEST: u32 = 1;

/// Far more than tens of thousands of partitions need.
pub(super) const MANIFEST_BYTES_MAX: u64 = 64 << 20;

const CHECKSUM_DIGITS: usize = 64;
const CHECKSUM_HEAD: &[u8] = b"\n  \"checksum\": \"";
const CHECKSUM_TAIL: &[u8] = b"\"\n}\n";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub sequence: Sequence,
    pub created_by: String,
    pub facts: Facts,
    pub parts: PartSeals,
    // Last, where the checksum rule looks for it.
    checksum: String,
}

/// What those who made the state say about it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// The checkpoint that this one goes on from.
    pub parent: Option<Sequence>,
    /// Wall-clock milliseconds since 1970 at the cut. For people only.
    pub sealed_at_ms: Option<u64>,
    pub digest: Digest,
    /// See [`super::platform::fingerprint`].
    pub platform: String,
    pub position: Position,
    pub counters: BTreeMap<String, u64>,
    pub settings: SettingsDigests,
    pub log: LogIdentity,
    /// Was the end of the range reached and everything closed? Then no `run` goes on from here.
    pub complete: bool,
    /// Where each side file ended at the cut.
    pub side_files: BTreeMap<String, End>,
}

/// Digests over the settings by what changing them means.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SettingsDigests {
    pub structural: String,
    pub tunable: String,
}

/// Which log was read, and a hash of the last record of each partition: a recreated topic has the same offsets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogIdentity {
    pub name: String,
    pub last_records: BTreeMap<Partition, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartSeals {
    pub policy: PartSeal,
    pub optimizer: PartSeal,
    pub state: PartSeal,
}

/// By what a part is known to be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartSeal {
    pub bytes: u64,
    pub blake3: Checksum,
}

/// What became of the bytes of a manifest.
pub(super) enum Reading {
    Good(Box<Manifest>),
    Newer { format: u32, created_by: String },
    Flawed(Flaw),
}

/// The fields that every format has.
#[derive(Deserialize)]
struct Origin {
    format: u32,
    created_by: String,
}

impl Manifest {
    pub fn new(sequence: Sequence, parts: PartSeals, facts: Facts) -> Manifest {
        let created_by = format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        Manifest { format: FORMAT, sequence, created_by, facts, parts, checksum: String::new() }
    }

    /// The file, checksum included. Fails on nothing that a manifest can hold.
    pub(super) fn encode(&mut self) -> Result<Vec<u8>, serde_json::Error> {
        self.checksum = blank_checksum();
        let (file, checksum) = with_checksum(serde_json::to_string_pretty(self)? + "\n");
        self.checksum = checksum;
        Ok(file)
    }

    pub(super) fn decode(file: &[u8]) -> Reading {
        if !checksum_holds(file) {
            return Reading::Flawed(Flaw::ManifestChecksum);
        }
        let origin: Origin = match serde_json::from_slice(file) {
            Ok(origin) => origin,
            Err(error) => return Reading::Flawed(Flaw::Manifest(error.to_string())),
        };
        if origin.format > FORMAT {
            return Reading::Newer { format: origin.format, created_by: origin.created_by };
        }
        if origin.format < FORMAT_OLDEST {
            return Reading::Flawed(Flaw::Manifest(format!("format {} is no longer read", origin.format)));
        }
        match serde_json::from_slice(file) {
            Ok(manifest) => Reading::Good(Box::new(manifest)),
            Err(error) => Reading::Flawed(Flaw::Manifest(error.to_string())),
        }
    }

    /// The checkpoint in words, a line for each fact.
    pub fn describe(&self) -> String {
        let facts = &self.facts;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<14} {value}");
        };
        line("checkpoint", format!("{} (format {}, {})", self.sequence, self.format, self.created_by));
        line("parent", facts.parent.map_or_else(|| String::from("none, the first"), |parent| parent.to_string()));
        line("sealed at", facts.sealed_at_ms.map_or_else(|| String::from("unknown"), instant));
        line("range", String::from(if facts.complete { "complete: its end was reached" } else { "goes on" }));
        line("digest", facts.digest.to_string());
        for (section, checksum) in facts.digest.sections() {
            line("", format!("{section:<14} {checksum}"));
        }
        line("platform", facts.platform.clone());
        line("log", facts.log.name.clone());
        for (partition, next) in &facts.position {
            line("", format!("partition {partition}: next offset {next}"));
        }
        line("settings", format!("structural {}", facts.settings.structural));
        line("", format!("tunable    {}", facts.settings.tunable));
        for part in Part::ALL {
            line("part", format!("{part}: {} bytes", self.parts.seal(part).bytes));
        }
        for (name, end) in &facts.side_files {
            line("side file", format!("{name}: file {}, {} bytes", end.file, end.length));
        }
        for (name, count) in &facts.counters {
            line("counter", format!("{name}: {count}"));
        }
        text
    }
}

impl PartSeals {
    pub fn seal(&self, part: Part) -> PartSeal {
        match part {
            Part::Policy => self.policy,
            Part::Optimizer => self.optimizer,
            Part::State => self.state,
        }
    }
}

/// Stands in a manifest while its checksum is computed.
pub fn blank_checksum() -> String {
    "0".repeat(CHECKSUM_DIGITS)
}

/// The file of a manifest that was written with a blank checksum as its last field, and the checksum.
pub fn with_checksum(blank: String) -> (Vec<u8>, String) {
    let checksum = Checksum::of(blank.as_bytes()).to_string();
    let mut file = blank.into_bytes();
    let place = file.len().saturating_sub(CHECKSUM_TAIL.len() + CHECKSUM_DIGITS);
    if let Some(digits) = file.get_mut(place..place + CHECKSUM_DIGITS) {
        digits.copy_from_slice(checksum.as_bytes());
    }
    (file, checksum)
}

/// Is the file as [`with_checksum`] made it?
pub fn checksum_holds(file: &[u8]) -> bool {
    let Some(rest) = file.strip_suffix(CHECKSUM_TAIL) else { return false };
    let Some((head, digits)) = rest.split_last_chunk::<CHECKSUM_DIGITS>() else { return false };
    if !head.ends_with(CHECKSUM_HEAD) {
        return false;
    }
    let mut blank = head.to_vec();
    blank.resize(rest.len(), b'0');
    blank.extend_from_slice(CHECKSUM_TAIL);
    Checksum::of(&blank).to_string().as_bytes() == digits
}

fn instant(millis: u64) -> String {
    match i64::try_from(millis).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok()) {
        Some(timestamp) => timestamp.to_string(),
        None => format!("{millis} ms"),
    }
}
