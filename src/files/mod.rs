//! JSON-lines files, plain or compressed, as a log with the same partitions, offsets and times as a topic that was loaded
//! from them.
//!
//! A file has one order for all users, a log has one per partition, and partitions must be readable apart: back-pressure
//! stops one and not the others. So a first pass *spools* the file: it splits the lines by user, as `load` does when it
//! produces them, into one plain file per partition. The spool belongs to exactly one input and one splitting rule,
//! counts only when it is complete, and is reused by every restart. A job that has read the file to its end removes it.
//!
//! Invariant: nothing here reads JSON or knows what a line means; who the user is and when it happened come in as a
//! function.

mod lines;
mod source;
mod split;
mod spool;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::source::Fault;
pub use lines::{LINE_BYTES_MAX, Lines};
pub use source::FileSource;
pub use split::{KeyOf, LineKey, Splitter};
pub use spool::{PARTITIONS_MAX, identity, remove as remove_spool};

#[derive(Debug, Error)]
pub enum FilesError {
    #[error("could not open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} is no regular file: a log is read more than once, so save what comes out of a pipe first", path.display())]
    NotAFile { path: PathBuf },
    #[error("could not read {} after line {line}", path.display())]
    Read { path: PathBuf, line: u64, source: io::Error },
    #[error("could not decompress {} after line {line}: it is cut off or damaged ({format})", path.display())]
    Decompress { path: PathBuf, line: u64, format: &'static str, source: io::Error },
    #[error("line {line} of {} has more than {} MiB", path.display(), LINE_BYTES_MAX >> 20)]
    LineTooLong { path: PathBuf, line: u64 },
    #[error("{} changed while it was read", path.display())]
    Changed { path: PathBuf },
    #[error("a file source needs between 1 and {} partitions, not {asked}", PARTITIONS_MAX)]
    Partitions { asked: u32 },
    #[error("could not write the spool {}", path.display())]
    WriteSpool { path: PathBuf, source: io::Error },
    #[error("could not read the spool {}", path.display())]
    ReadSpool { path: PathBuf, source: io::Error },
    #[error("the spool {} is damaged at byte {at}: delete its directory, the next start makes it anew", path.display())]
    SpoolDamaged { path: PathBuf, at: u64 },
}

impl FilesError {
    pub fn fault(&self) -> Fault {
        match self {
            FilesError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => Fault::Data,
            FilesError::Open { .. }
            | FilesError::Read { .. }
            | FilesError::WriteSpool { .. }
            | FilesError::ReadSpool { .. }
            | FilesError::SpoolDamaged { .. } => Fault::Io,
            FilesError::NotAFile { .. } => Fault::Usage,
            FilesError::Decompress { .. } | FilesError::LineTooLong { .. } | FilesError::Changed { .. } => Fault::Data,
            FilesError::Partitions { .. } => Fault::Usage,
        }
    }
}

fn read_spool(path: &Path) -> impl FnOnce(io::Error) -> FilesError {
    let path = path.to_owned();
    |source| FilesError::ReadSpool { path, source }
}

fn write_spool(path: &Path) -> impl FnOnce(io::Error) -> FilesError {
    let path = path.to_owned();
    |source| FilesError::WriteSpool { path, source }
}
