//! The few things that are asked of a disk, in a form that a test can answer instead of a kernel.
//!
//! Three disks answer: [`RealDisk`]; [`MarkedDisk`], which calls back at the n-th change so that a test can kill the
//! real process exactly there; and the modelled disk of the crash tests, which forgets whatever was not made durable.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{Attempted, Error};
use super::manifest::PartSeal;

/// Bytes handed to the disk at once: small enough that a full disk shows in the middle of a part, not after it.
const CHUNK_BYTES: usize = 1 << 20;

/// A disk. Nothing is durable before the file is synced, nor has it a durable name before its directory is synced.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Creates one directory in an existing one; `AlreadyExists` when the name is taken.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Creates an empty file; `AlreadyExists` when the name is taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file for writing at its end.
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes `path` a symbolic link to `target`; `AlreadyExists` when the name is taken.
    fn link(&self, target: &Path, path: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable, but not the content behind them.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// A whole file; `FileTooLarge` beyond `bytes_max`.
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>>;
    /// What has this name; `None` when nothing has.
    fn look_up(&self, path: &Path) -> io::Result<Option<Found>>;
    /// The names in a directory, in no order.
    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>>;
}

/// A file open for writing. It stays open until it is synced, because a write-back error is told to those only who
/// had the file open when it happened.
pub trait DiskFile: fmt::Debug + Send {
    /// Writes all of `bytes` at the end.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file to `length` bytes.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
}

/// What a name stands for. Links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    File { length: u64 },
    Directory,
}

/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

/// A disk that calls `reached` just before its n-th change. Reads do not count: a kill there is the kill before the
/// next change.
#[derive(Debug)]
pub struct MarkedDisk {
    disk: Arc<dyn Disk>,
    mark: Arc<Mark>,
}

struct Mark {
    changes: AtomicU64,
    at: u64,
    reached: Box<dyn Fn() + Send + Sync>,
}

/// Makes `path` a directory with a durable name, and whatever it lies in too.
pub fn ensure_directory(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    let parent = parent(path);
    let is_there = match disk.look_up(path).during("look up", path)? {
        Some(Found::Directory) => true,
        Some(Found::File { .. }) => {
            return Err(io::Error::from(io::ErrorKind::NotADirectory)).during("use as a directory", path);
        }
        None => false,
    };
    if parent == path {
        return Ok(());
    }
    ensure_directory(disk, parent)?;
    if !is_there {
        match disk.create_directory(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            outcome => outcome.during("create the directory", path)?,
        }
    }
    match disk.sync_directory(parent) {
        // A directory that was there may have been made by a process that was killed before it synced the name, so
        // that is done again; but in a place that we may not even list, somebody else made it.
        Err(error) if is_there && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        outcome => outcome.during("make durable the directory", parent),
    }
}

/// Gives `path` a new content in one step: after a crash the file holds the old bytes or the new ones.
pub fn replace_file(disk: &dyn Disk, path: &Path, content: &[u8]) -> Result<(), Error> {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(".draft");
    let draft = path.with_file_name(name);
    remove_file_if_there(disk, &draft)?;
    write_file(disk, &draft, content)?;
    disk.rename(&draft, path).during("rename to", path)?;
    let parent = parent(path);
    disk.sync_directory(parent).during("make durable the directory", parent)
}

/// A new file that is written piece by piece, and hashed on the way.
pub(super) struct NewFile<'a> {
    path: &'a Path,
    file: Box<dyn DiskFile>,
    /// Not yet handed to the disk.
    waiting: Vec<u8>,
    hasher: blake3::Hasher,
    bytes: u64,
    /// What the disk said to the first write that failed: encoders have no words of their own for that.
    refusal: Option<io::Error>,
}

impl NewFile<'_> {
    pub(super) fn create<'a>(disk: &dyn Disk, path: &'a Path) -> Result<NewFile<'a>, Error> {
        let file = disk.create(path).during("create", path)?;
        let (waiting, hasher) = (Vec::with_capacity(CHUNK_BYTES), blake3::Hasher::new());
        Ok(NewFile { path, file, waiting, hasher, bytes: 0, refusal: None })
    }

    /// Makes durable what `encoded` says has been written; the name is not, until its directory is synced.
    pub(super) fn finish(mut self, encoded: io::Result<()>) -> Result<PartSeal, Error> {
        let outcome = encoded.and_then(|()| self.hand_over());
        if let Some(refusal) = self.refusal.take() {
            return Err(refusal).during("write to", self.path);
        }
        outcome.during("encode", self.path)?;
        self.file.sync().during("make durable", self.path)?;
        Ok(PartSeal { bytes: self.bytes, blake3: self.hasher.finalize().into() })
    }

    fn hand_over(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.hasher.update(&self.waiting);
        self.bytes += self.waiting.len() as u64;
        let outcome = self.file.write(&self.waiting);
        self.waiting.clear();
        outcome.map_err(|refusal| {
            let kind = refusal.kind();
            self.refusal.get_or_insert(refusal);
            kind.into()
        })
    }
}

impl Write for NewFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK_BYTES - self.waiting.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.waiting.extend_from_slice(taken);
        if self.waiting.len() == CHUNK_BYTES {
            self.hand_over()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a new file and makes its content durable; its name is not, until its directory is synced.
pub fn write_file(disk: &dyn Disk, path: &Path, content: &[u8]) -> Result<(), Error> {
    let mut file = disk.create(path).during("create", path)?;
    for chunk in content.chunks(CHUNK_BYTES) {
        file.write(chunk).during("write to", path)?;
    }
    file.sync().during("make durable", path)
}

/// Removing what somebody else removed already is no failure.
pub fn remove_file_if_there(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    match disk.remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.during("remove", path),
    }
}

/// Removes a directory with all that is in it.
pub fn remove_tree(disk: &dyn Disk, directory: &Path) -> Result<(), Error> {
    let names = match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        outcome => outcome.during("list", directory)?,
    };
    for name in names {
        let path = directory.join(name);
        // A link is removed as the file that it is, never followed.
        match disk.remove_file(&path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::IsADirectory | io::ErrorKind::PermissionDenied) => {
                remove_tree(disk, &path)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome.during("remove", &path)?,
        }
    }
    match disk.remove_directory(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.during("remove", directory),
    }
}

/// The directory that holds the name `path`.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None if path.is_absolute() => path,
        Some(_) | None => Path::new("."),
    }
}

impl Disk for RealDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().append(true).create_new(true).open(path)?))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().append(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, target: &Path, path: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut content)?;
        if content.len() as u64 > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(content)
    }

    fn look_up(&self, path: &Path) -> io::Result<Option<Found>> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(Some(Found::Directory)),
            Ok(metadata) => Ok(Some(Found::File { length: metadata.len() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect()
    }
}

impl DiskFile for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl MarkedDisk {
    /// `at` counts from 1.
    pub fn new(disk: Arc<dyn Disk>, at: u64, reached: impl Fn() + Send + Sync + 'static) -> MarkedDisk {
        MarkedDisk { disk, mark: Arc::new(Mark { changes: AtomicU64::new(0), at, reached: Box::new(reached) }) }
    }

    /// How many changes have been asked for so far.
    pub fn changes(&self) -> u64 {
        self.mark.changes.load(Ordering::Relaxed)
    }

    fn marked(&self, file: io::Result<Box<dyn DiskFile>>) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(MarkedFile { file: file?, mark: Arc::clone(&self.mark) }))
    }
}

impl Mark {
    fn step(&self) {
        if self.changes.fetch_add(1, Ordering::Relaxed) + 1 == self.at {
            (self.reached)();
        }
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mark").field("changes", &self.changes).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Disk for MarkedDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.mark.step();
        self.disk.create_directory(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.mark.step();
        self.marked(self.disk.create(path))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.marked(self.disk.append(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.mark.step();
        self.disk.rename(from, to)
    }

    fn link(&self, target: &Path, path: &Path) -> io::Result<()> {
        self.mark.step();
        self.disk.link(target, path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.mark.step();
        self.disk.remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.mark.step();
        self.disk.remove_directory(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.mark.step();
        self.disk.sync_directory(path)
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        self.disk.read(path, bytes_max)
    }

    fn look_up(&self, path: &Path) -> io::Result<Option<Found>> {
        self.disk.look_up(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        self.disk.list(directory)
    }
}

#[derive(Debug)]
struct MarkedFile {
    file: Box<dyn DiskFile>,
    mark: Arc<Mark>,
}

impl DiskFile for MarkedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.mark.step();
        self.file.write(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.mark.step();
        self.file.truncate(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.mark.step();
        self.file.sync()
    }
}
