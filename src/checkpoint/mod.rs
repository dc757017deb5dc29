//! Checkpoints: everything the process is, at one cut of the log, on the disk or not at all.
//!
//! ```text
//! <state directory>/
//!   lock                      held by the one process that works here, holds its process id
//!   owner                     `run` or `replay`
//!   checkpoint-<sequence>/    sealed: policy, optimizer, state, manifest.json, and `pinned` when it must stay
//!   draft-<sequence>/         being written, or left by a crash; removed at the next start
//!   discarded-<sequence>/     pruned and being removed
//!   broken-<sequence>/        was passed over as torn or rotten; kept for people to look at
//! ```
//!
//! A seal writes a draft, makes every part durable, then the draft directory, then gives it its name, then makes the
//! name durable. So a name `checkpoint-<sequence>` is a promise that all of it is there; the checksums are for disks
//! that break promises. Nothing is ever retried after a failed `fsync`: the kernel may have dropped the pages and
//! call the next attempt a success. The process ends instead, and the next one starts from the last seal.
//!
//! Invariant: this module does not know what a part means. It stores bytes and facts about them.

pub mod digest;
pub mod platform;
pub mod disk;
pub mod error;
pub mod manifest;
pub mod load;
pub mod store;
pub mod directory;
pub mod appendix;

#[cfg(any(test, fuzzing))]
pub(crate) mod modelled;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod rot_tests;
#[cfg(test)]
mod machine_tests;

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

pub use self::appendix::{Appendix, End};
pub use self::digest::{Checksum, Digest, DigestBuilder, Tensor};
pub use self::directory::{Purpose, StateDirectory};
pub use self::disk::{
    Disk, DiskFile, Found, MarkedDisk, RealDisk, ensure_directory, remove_tree, replace_file, write_file,
};
pub(crate) use self::error::Attempted;
pub use self::error::Error;
pub use self::load::{Flaw, Loaded, PassedOver, Sealed, read_checkpoint, read_newest, read_newest_where};
pub use self::manifest::{
    FORMAT, Facts, LogIdentity, Manifest, SettingsDigests, blank_checksum, checksum_holds, with_checksum,
};
pub use self::store::{Hold, Holds, Store};

/// The number of a checkpoint; each new one is greater than all before it in its state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sequence(pub u64);

/// What one checkpoint holds, as bytes whose meaning belongs to those who made them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    pub policy: Vec<u8>,
    pub optimizer: Vec<u8>,
    pub state: Vec<u8>,
}

/// Whoever has a checkpoint to write. The parts are asked for one after the other and go to the disk as they are encoded: a
/// large state need not lie in memory a second time.
pub trait Encode {
    fn encode(&mut self, part: Part, file: &mut dyn io::Write) -> io::Result<()>;
    /// What is to be said about the parts that have been written.
    fn facts(&mut self) -> Facts;
}

/// The name of one part, which is the name of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Policy,
    Optimizer,
    State,
}

impl Sequence {
    pub const FIRST: Sequence = Sequence(1);

    pub fn next(self) -> Sequence {
        Sequence(self.0.saturating_add(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Policy, Part::Optimizer, Part::State];

    pub fn file_name(self) -> &'static str {
        match self {
            Part::Policy => "policy",
            Part::Optimizer => "optimizer",
            Part::State => "state",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file_name())
    }
}

/// What has been encoded already.
impl Encode for (Parts, Facts) {
    fn encode(&mut self, part: Part, file: &mut dyn io::Write) -> io::Result<()> {
        file.write_all(match part {
            Part::Policy => &self.0.policy,
            Part::Optimizer => &self.0.optimizer,
            Part::State => &self.0.state,
        })
    }

    fn facts(&mut self) -> Facts {
        self.1.clone()
    }
}
