//! Reading checkpoints. Nothing here changes the disk, so `inspect` may look at a directory that a process works in.
//!
//! The newest intact checkpoint wins. One that is torn or rotten is passed over and named; one of a newer format, or
//! one that the system refuses to read, is an error: going on from an older state there would hide a mistake.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::digest::Checksum;
use super::disk::{Disk, Found};
use super::error::{Attempted, Error};
use super::manifest::{MANIFEST_BYTES_MAX, Manifest, PartSeal, Reading};
use super::{Part, Parts, Sequence};

pub(super) const CHECKPOINT: &str = "checkpoint-";
pub(super) const DRAFT: &str = "draft-";
pub(super) const DISCARDED: &str = "discarded-";
pub(super) const BROKEN: &str = "broken-";
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const PINNED: &str = "pinned";

/// How often the newest checkpoint may be pruned away under a reader before that is called a failure.
const ATTEMPTS_MAX: u32 = 8;

/// A checkpoint that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub sequence: Sequence,
    pub directory: PathBuf,
    pub manifest: Manifest,
}

/// What a state directory holds: its newest intact checkpoint, `None` when nothing was ever sealed here, and the newer
/// ones that had to be passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub newest: Option<(Sealed, Parts)>,
    pub passed_over: Vec<PassedOver>,
}

/// A checkpoint that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    pub sequence: Sequence,
    pub flaw: Flaw,
}

/// What is wrong with a broken checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    ManifestUnreadable(io::ErrorKind),
    ManifestChecksum,
    Manifest(String),
    /// The directory's name and the manifest disagree.
    OtherSequence(Sequence),
    PartUnreadable(Part, io::ErrorKind),
    PartLength {
        part: Part,
        sealed: u64,
        found: u64,
    },
    PartChecksum(Part),
}

/// Whether one checkpoint can be used.
pub(super) enum Verdict {
    Intact(Box<(Sealed, Parts)>),
    Broken(Flaw),
}

/// The newest intact checkpoint of a state directory that may be in use by another process.
pub fn read_newest(disk: &dyn Disk, directory: &Path) -> Result<Loaded, Error> {
    read_newest_where(disk, directory, |_| true)
}

/// The newest intact one that is wanted; older ones are looked at as long as it is not.
pub fn read_newest_where(
    disk: &dyn Disk,
    directory: &Path,
    is_wanted: impl Fn(&Sealed) -> bool,
) -> Result<Loaded, Error> {
    'attempts: for _ in 0..ATTEMPTS_MAX {
        let mut passed_over = Vec::new();
        for sequence in sequences(disk, directory, CHECKPOINT)?.into_iter().rev() {
            let path = path_of(directory, CHECKPOINT, sequence);
            match judge(disk, &path, sequence)? {
                Verdict::Intact(found) if is_wanted(&found.0) => {
                    return Ok(Loaded { newest: Some(*found), passed_over });
                }
                Verdict::Intact(_) => {}
                // Pruned while we read it: then newer ones are there by now.
                Verdict::Broken(_) if disk.look_up(&path).during("look up", &path)?.is_none() => continue 'attempts,
                Verdict::Broken(flaw) => passed_over.push(PassedOver { sequence, flaw }),
            }
        }
        if passed_over.is_empty() {
            return Ok(Loaded { newest: None, passed_over });
        }
        return Err(Error::NoneIntact { directory: directory.to_path_buf(), passed_over });
    }
    Err(io::Error::from(io::ErrorKind::ResourceBusy)).during("read a checkpoint that stays in", directory)
}

/// One checkpoint by its own directory; a broken one is an error.
pub fn read_checkpoint(disk: &dyn Disk, path: &Path) -> Result<(Sealed, Parts), Error> {
    let named = path.file_name().and_then(|name| name.to_str()).and_then(|name| numbered(name, CHECKPOINT));
    let verdict = match named {
        Some(sequence) => judge(disk, path, sequence)?,
        // A copy under another name says of itself which one it is.
        None => match read_manifest(disk, path)? {
            Ok(manifest) => judge(disk, path, manifest.sequence)?,
            Err(flaw) => Verdict::Broken(flaw),
        },
    };
    match verdict {
        Verdict::Intact(checkpoint) => Ok(*checkpoint),
        Verdict::Broken(flaw) => Err(Error::Broken { path: path.to_path_buf(), flaw }),
    }
}

/// Reads one checkpoint and checks every byte of it.
pub(super) fn judge(disk: &dyn Disk, path: &Path, sequence: Sequence) -> Result<Verdict, Error> {
    let manifest = match read_manifest(disk, path)? {
        Ok(manifest) => manifest,
        Err(flaw) => return Ok(Verdict::Broken(flaw)),
    };
    if manifest.sequence != sequence {
        return Ok(Verdict::Broken(Flaw::OtherSequence(manifest.sequence)));
    }
    let mut parts = Parts::default();
    for part in Part::ALL {
        let content = match read_part(disk, path, part, manifest.parts.seal(part))? {
            Ok(content) => content,
            Err(flaw) => return Ok(Verdict::Broken(flaw)),
        };
        match part {
            Part::Policy => parts.policy = content,
            Part::Optimizer => parts.optimizer = content,
            Part::State => parts.state = content,
        }
    }
    let sealed = Sealed { sequence, directory: path.to_path_buf(), manifest };
    Ok(Verdict::Intact(Box::new((sealed, parts))))
}

fn read_manifest(disk: &dyn Disk, directory: &Path) -> Result<Result<Manifest, Flaw>, Error> {
    let path = directory.join(MANIFEST);
    let file = match disk.read(&path, MANIFEST_BYTES_MAX) {
        Ok(file) => file,
        Err(error) if is_damage(&error) => return Ok(Err(Flaw::ManifestUnreadable(error.kind()))),
        Err(error) => return Err(error).during("read", &path),
    };
    match Manifest::decode(&file) {
        Reading::Good(manifest) => Ok(Ok(*manifest)),
        Reading::Newer { format, created_by } => {
            Err(Error::NewerFormat { path: directory.to_path_buf(), format, created_by })
        }
        Reading::Flawed(flaw) => Ok(Err(flaw)),
    }
}

fn read_part(disk: &dyn Disk, directory: &Path, part: Part, seal: PartSeal) -> Result<Result<Vec<u8>, Flaw>, Error> {
    let path = directory.join(part.file_name());
    let found = match disk.look_up(&path) {
        Ok(Some(Found::File { length })) => length,
        Ok(Some(Found::Directory)) => return Ok(Err(Flaw::PartUnreadable(part, io::ErrorKind::IsADirectory))),
        Ok(None) => return Ok(Err(Flaw::PartUnreadable(part, io::ErrorKind::NotFound))),
        Err(error) if is_damage(&error) => return Ok(Err(Flaw::PartUnreadable(part, error.kind()))),
        Err(error) => return Err(error).during("look up", &path),
    };
    // Before a byte is read: what is read stays within what was once written.
    if found != seal.bytes {
        return Ok(Err(Flaw::PartLength { part, sealed: seal.bytes, found }));
    }
    match disk.read(&path, seal.bytes) {
        Ok(content) if Checksum::of(&content) == seal.blake3 => Ok(Ok(content)),
        Ok(_) => Ok(Err(Flaw::PartChecksum(part))),
        Err(error) if is_damage(&error) => Ok(Err(Flaw::PartUnreadable(part, error.kind()))),
        Err(error) => Err(error).during("read", &path),
    }
}

/// Does this say that the checkpoint is damaged? Everything else (permission, memory, open files) says something about
/// this process, and a checkpoint is not to be passed over for that.
fn is_damage(error: &io::Error) -> bool {
    let damage = [
        io::ErrorKind::NotFound,
        io::ErrorKind::NotADirectory,
        io::ErrorKind::IsADirectory,
        io::ErrorKind::FileTooLarge,
        io::ErrorKind::InvalidData,
        io::ErrorKind::UnexpectedEof,
    ];
    damage.contains(&error.kind()) || error.raw_os_error() == Some(libc::EIO)
}

/// The numbers of all directories of one kind, ascending; none when there is no such state directory.
pub(super) fn sequences(disk: &dyn Disk, directory: &Path, kind: &str) -> Result<Vec<Sequence>, Error> {
    let names = match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        outcome => outcome.during("list", directory)?,
    };
    let mut sequences: Vec<Sequence> =
        names.iter().filter_map(|name| name.to_str()).filter_map(|name| numbered(name, kind)).collect();
    sequences.sort_unstable();
    Ok(sequences)
}

pub(super) fn path_of(directory: &Path, kind: &str, sequence: Sequence) -> PathBuf {
    directory.join(format!("{kind}{sequence}"))
}

/// Only names that we would write: `checkpoint-007` is somebody's copy, not the seventh checkpoint.
fn numbered(name: &str, kind: &str) -> Option<Sequence> {
    let number = name.strip_prefix(kind)?;
    let sequence = Sequence(number.parse().ok()?);
    (sequence.to_string() == number).then_some(sequence)
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CHECKPOINT}{}: {}", self.sequence, self.flaw)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::ManifestUnreadable(kind) => write!(f, "its manifest cannot be read: {kind}"),
            Flaw::ManifestChecksum => f.write_str("the checksum of its manifest is wrong"),
            Flaw::Manifest(what) => write!(f, "its manifest makes no sense: {what}"),
            Flaw::OtherSequence(sequence) => write!(f, "its manifest is that of checkpoint {sequence}"),
            Flaw::PartUnreadable(part, kind) => write!(f, "its {part} cannot be read: {kind}"),
            Flaw::PartLength { part, sealed, found } => {
                write!(f, "its {part} has {found} bytes, {sealed} were sealed")
            }
            Flaw::PartChecksum(part) => write!(f, "the checksum of its {part} is wrong"),
        }
    }
}
