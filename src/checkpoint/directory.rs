//! Who may work in a state directory: one process at a time, and one kind of process for ever.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::disk::{Disk, ensure_directory, replace_file};
use super::error::{Attempted, Error};

const LOCK: &str = "lock";
const OWNER: &str = "owner";
const OWNER_BYTES_MAX: u64 = 64;
const LOCK_BYTES_MAX: u64 = 32;

/// What a process wants a state directory for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The learner that is always on.
    Run,
    /// The same, going on from what a replay has left: the directory belongs to `run` from then on.
    Continue,
    /// A replay, a check, a sweep: whatever must not touch a running learner's state.
    Replay,
}

/// A claim on a state directory, given up when dropped or when the process ends, however it ends.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    // The system gives the lock back when the file is closed, so it lives as long as the claim.
    _lock: File,
}

impl StateDirectory {
    /// Creates the directory if need be, locks it, and notes whose it is.
    pub fn claim(disk: &dyn Disk, path: &Path, purpose: Purpose) -> Result<StateDirectory, Error> {
        ensure_directory(disk, path)?;
        let lock = lock(path)?;
        take_ownership(disk, path, purpose)?;
        Ok(StateDirectory { path: path.to_path_buf(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Purpose {
    /// The owner that the directory has from then on.
    fn owner(self) -> &'static str {
        match self {
            Purpose::Run | Purpose::Continue => "run",
            Purpose::Replay => "replay",
        }
    }

    fn accepts(self, owner: &str) -> bool {
        match self {
            Purpose::Continue => matches!(owner, "run" | "replay"),
            Purpose::Run | Purpose::Replay => owner == self.owner(),
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.owner())
    }
}

fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join(LOCK);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open.during("open", &path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::Locked { directory: directory.to_path_buf(), holder: holder(&file) });
        }
        Err(TryLockError::Error(error)) => return Err(error).during("lock", &path),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).during("write to", &path)?;
    Ok(file)
}

/// The process id that the holder wrote, unless it has not come to that yet.
fn holder(lock: &File) -> Option<u32> {
    let mut text = String::new();
    lock.take(LOCK_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim_end().parse().ok()
}

fn take_ownership(disk: &dyn Disk, directory: &Path, purpose: Purpose) -> Result<(), Error> {
    let path = directory.join(OWNER);
    match disk.read(&path, OWNER_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).during("read", &path),
        Ok(content) => {
            let owner = String::from_utf8_lossy(&content).trim_end().to_owned();
            if !purpose.accepts(&owner) {
                return Err(Error::Owned { directory: directory.to_path_buf(), owner, wanted: purpose });
            }
            if owner == purpose.owner() {
                return Ok(());
            }
        }
    }
    replace_file(disk, &path, format!("{}\n", purpose.owner()).as_bytes())
}
