//! What can go wrong with the state directory, named by the attempt.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error as ThisError;

use super::Sequence;
use super::directory::Purpose;
use super::load::{Flaw, PassedOver};

#[derive(Debug, ThisError)]
pub enum Error {
    #[error("could not {attempt} {}", path.display())]
    Disk { attempt: &'static str, path: PathBuf, source: io::Error },

    #[error("could not seal checkpoint {sequence}")]
    Seal { sequence: Sequence, source: Box<Error> },

    #[error("checkpoint {sequence} cannot be sealed: {} already holds checkpoint {newest}", directory.display())]
    Taken { sequence: Sequence, newest: Sequence, directory: PathBuf },

    /// A failed write is final: what the kernel dropped cannot be written again from here.
    #[error("nothing more is written to {} after the failure before", path.display())]
    AfterFailure { path: PathBuf },

    #[error("{} was made by a newer version ({created_by}, format {format}): this one reads formats up to {}",
        path.display(), super::FORMAT)]
    NewerFormat { path: PathBuf, format: u32, created_by: String },

    #[error("{} is broken: {flaw}", path.display())]
    Broken { path: PathBuf, flaw: Flaw },

    /// Starting from nothing is a decision for people: the log may have forgotten its beginning.
    #[error("no checkpoint in {} is intact ({}); to start from nothing, move the directory away",
        directory.display(), listed(passed_over))]
    NoneIntact { directory: PathBuf, passed_over: Vec<PassedOver> },

    #[error("there is no checkpoint {sequence} in {}", directory.display())]
    Absent { sequence: Sequence, directory: PathBuf },

    #[error("the state directory {} is in use by {}", directory.display(), holder_name(*holder))]
    Locked { directory: PathBuf, holder: Option<u32> },

    #[error("the state directory {} belongs to `{owner}` and is refused to `{wanted}`{}",
        directory.display(), if *wanted == Purpose::Run { ": name another, with --continue-from to go on from this one, or --adopt it" } else { "" })]
    Owned { directory: PathBuf, owner: String, wanted: Purpose },

    #[error("{} exists, is not empty and was not written from this state directory: move it away or choose another name",
        path.display())]
    NotOurs { path: PathBuf },

    #[error("{} holds {found} bytes but {sealed} were sealed: it was cut or replaced behind the checkpoint", path.display())]
    ShorterThanSealed { path: PathBuf, found: u64, sealed: u64 },
}

impl Error {
    /// The exit code that a process ends with because of this, in the sense of sysexits.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Disk { .. } | Error::Seal { .. } | Error::AfterFailure { .. } => 74,
            Error::NewerFormat { .. } | Error::Broken { .. } | Error::NoneIntact { .. } => 65,
            Error::ShorterThanSealed { .. } => 65,
            Error::Locked { .. } => 75,
            Error::Owned { .. } | Error::NotOurs { .. } | Error::Absent { .. } => 78,
            Error::Taken { .. } => 70,
        }
    }
}

/// Puts the attempt and the path on an answer of the disk.
pub(crate) trait Attempted<T> {
    fn during(self, attempt: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> Attempted<T> for io::Result<T> {
    fn during(self, attempt: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Disk { attempt, path: path.to_path_buf(), source })
    }
}

fn listed(passed_over: &[PassedOver]) -> String {
    passed_over.iter().map(PassedOver::to_string).collect::<Vec<_>>().join("; ")
}

fn holder_name(holder: Option<u32>) -> String {
    match holder {
        Some(process) => format!("process {process}"),
        None => String::from("another process"),
    }
}
