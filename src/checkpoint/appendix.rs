//! Side files: lines that are written beside the checkpoints and end up in the file exactly once.
//!
//! A seal makes the file durable and stores where it ended; a restore cuts it back to there, and what is written
//! again after the restore is the same as what was cut. Files rotate by size: the first is `decisions.jsonl`, the
//! next `decisions.jsonl.1`, and so on. A name is given once and never changes, so a restore need only remove the
//! files after the sealed one and cut that one. Rotation depends on nothing but the lines, so every file comes out
//! the same whatever crashed in between.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::disk::{Disk, DiskFile, Found, ensure_directory, parent, remove_file_if_there, replace_file};
use super::error::{Attempted, Error};

/// Lines are collected up to this size before the disk sees them.
const BUFFER_BYTES: usize = 1 << 18;
/// Paths are shorter than this on every system.
const CLAIM_BYTES_MAX: u64 = 1 << 16;

/// Where a side file ended: the number of its last file, and that file's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct End {
    pub file: u64,
    pub length: u64,
}

/// A side file, open for more.
#[derive(Debug)]
pub struct Appendix {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    rotate_bytes: NonZeroU64,
    open: Box<dyn DiskFile>,
    // Includes what is still in the buffer.
    end: End,
    buffer: Vec<u8>,
    failed: bool,
}

impl Appendix {
    /// Opens the side file `path` of a state directory as it was at `sealed`, or empty when nothing was sealed yet.
    ///
    /// Before the first seal nothing in a checkpoint says that the file is ours. So the state directory notes the
    /// names that it has begun to write to, and a file that it does not know is left alone unless it is empty.
    pub fn open(
        disk: Arc<dyn Disk>,
        state_directory: &Path,
        path: &Path,
        rotate_bytes: NonZeroU64,
        sealed: Option<End>,
    ) -> Result<Appendix, Error> {
        let end = sealed.unwrap_or_default();
        if sealed.is_none() {
            claim(&*disk, state_directory, path)?;
        }
        remove_files_after(&*disk, path, end.file)?;
        let open = reopen(&*disk, path, end)?;
        Ok(Appendix { disk, path: path.to_path_buf(), rotate_bytes, open, end, buffer: Vec::new(), failed: false })
    }

    /// Adds whole lines. They are durable after the next [`Appendix::sync`], not before.
    pub fn append(&mut self, lines: &[u8]) -> Result<(), Error> {
        self.guarded(|appendix| {
            let length = appendix.end.length.saturating_add(lines.len() as u64);
            // A file is never empty: lines larger than the limit get one of their own.
            if length > appendix.rotate_bytes.get() && appendix.end.length > 0 {
                appendix.rotate()?;
            }
            appendix.buffer.extend_from_slice(lines);
            appendix.end.length += lines.len() as u64;
            if appendix.buffer.len() >= BUFFER_BYTES { appendix.write_out() } else { Ok(()) }
        })
    }

    /// Makes everything so far durable and says where it ends: this goes into the checkpoint.
    pub fn sync(&mut self) -> Result<End, Error> {
        self.guarded(|appendix| {
            appendix.write_out()?;
            appendix.open.sync().during("make durable", &file_path(&appendix.path, appendix.end.file))?;
            Ok(appendix.end)
        })
    }

    /// Hands the lines so far to the system, so that others can read them. Says nothing about durability.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.guarded(Appendix::write_out)
    }

    fn write_out(&mut self) -> Result<(), Error> {
        if !self.buffer.is_empty() {
            self.open.write(&self.buffer).during("write to", &file_path(&self.path, self.end.file))?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), Error> {
        self.write_out()?;
        self.open.sync().during("make durable", &file_path(&self.path, self.end.file))?;
        self.end = End { file: self.end.file.saturating_add(1), length: 0 };
        self.open = create(&*self.disk, &file_path(&self.path, self.end.file))?;
        Ok(())
    }

    /// A failure is final: what is in the file after it is unknown until the next restore cuts it.
    fn guarded<T>(&mut self, change: impl FnOnce(&mut Appendix) -> Result<T, Error>) -> Result<T, Error> {
        if self.failed {
            return Err(Error::AfterFailure { path: self.path.clone() });
        }
        let outcome = change(self);
        self.failed = outcome.is_err();
        outcome
    }
}

/// Makes sure that cutting the file to nothing destroys nothing of somebody else's.
fn claim(disk: &dyn Disk, state_directory: &Path, path: &Path) -> Result<(), Error> {
    let mut name = OsString::from("writes-");
    name.push(path.file_name().unwrap_or_default());
    let note = state_directory.join(name);
    let claimed = match disk.read(&note, CLAIM_BYTES_MAX) {
        Ok(content) => content == path.as_os_str().as_encoded_bytes(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).during("read", &note),
    };
    if claimed {
        // Whoever noted it may have been killed before the note was durable.
        return disk.sync_directory(state_directory).during("make durable the directory", state_directory);
    }
    let is_taken = match disk.look_up(path).during("look up", path)? {
        Some(Found::File { length }) => length > 0,
        Some(Found::Directory) => true,
        None => false,
    };
    if is_taken || !files_after(disk, path, 0)?.is_empty() {
        return Err(Error::NotOurs { path: path.to_path_buf() });
    }
    replace_file(disk, &note, path.as_os_str().as_encoded_bytes())
}

fn reopen(disk: &dyn Disk, path: &Path, end: End) -> Result<Box<dyn DiskFile>, Error> {
    let last = file_path(path, end.file);
    let found = match disk.look_up(&last).during("look up", &last)? {
        Some(Found::File { length }) => Some(length),
        Some(Found::Directory) => return Err(io::Error::from(io::ErrorKind::IsADirectory)).during("open", &last),
        None => None,
    };
    if found.unwrap_or(0) < end.length {
        return Err(Error::ShorterThanSealed { path: last, found: found.unwrap_or(0), sealed: end.length });
    }
    let Some(found) = found else { return create(disk, &last) };
    let mut open = disk.append(&last).during("open", &last)?;
    // Whoever created it may have been killed before the name was durable.
    let parent = parent(&last);
    disk.sync_directory(parent).during("make durable the directory", parent)?;
    if found > end.length {
        open.truncate(end.length).during("cut back", &last)?;
    }
    Ok(open)
}

fn create(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DiskFile>, Error> {
    let parent = parent(path);
    ensure_directory(disk, parent)?;
    let open = disk.create(path).during("create", path)?;
    // Before a byte is sealed in it: syncing a file does not make its name durable.
    disk.sync_directory(parent).during("make durable the directory", parent)?;
    Ok(open)
}

fn remove_files_after(disk: &dyn Disk, path: &Path, last: u64) -> Result<(), Error> {
    // From the end, so that a crash in between leaves no gap.
    files_after(disk, path, last)?
        .into_iter()
        .rev()
        .try_for_each(|file| remove_file_if_there(disk, &file_path(path, file)))
}

/// The numbers of the rotated files after `last`, ascending.
fn files_after(disk: &dyn Disk, path: &Path, last: u64) -> Result<BTreeSet<u64>, Error> {
    let parent = parent(path);
    let names = match disk.list(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        outcome => outcome.during("list", parent)?,
    };
    let first = path.file_name().unwrap_or_default().as_encoded_bytes();
    let number = |name: OsString| {
        let digits = name.as_encoded_bytes().strip_prefix(first)?.strip_prefix(b".")?;
        let file: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        (file.to_string().as_bytes() == digits && file > last).then_some(file)
    };
    Ok(names.into_iter().filter_map(number).collect())
}

fn file_path(path: &Path, file: u64) -> PathBuf {
    if file == 0 {
        return path.to_path_buf();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{file}"));
    PathBuf::from(name)
}
