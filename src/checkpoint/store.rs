//! Sealing, keeping and pruning the checkpoints of one state directory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, NewFile, ensure_directory, remove_file_if_there, remove_tree, write_file};
use super::error::{Attempted, Error};
use super::load::{self, BROKEN, CHECKPOINT, DISCARDED, DRAFT, Loaded, MANIFEST, PINNED, Sealed, path_of, sequences};
use super::manifest::{Manifest, PartSeals};
use super::{Encode, Part, Sequence};

/// The checkpoints of a state directory that this process has claimed.
#[derive(Debug)]
pub struct Store {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    keep: NonZeroUsize,
    holds: Holds,
    failed: bool,
}

/// Which checkpoints are in use, by how many. Clones share the same list.
#[derive(Debug, Clone, Default)]
pub struct Holds(Arc<Mutex<BTreeMap<Sequence, usize>>>);

/// Keeps one checkpoint from being pruned while it lives.
#[derive(Debug)]
pub struct Hold {
    sequence: Sequence,
    holds: Holds,
}

impl Store {
    /// Opens a state directory, which is created if need be. The last `keep` checkpoints stay.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path, keep: NonZeroUsize) -> Result<Store, Error> {
        ensure_directory(&*disk, directory)?;
        Ok(Store { disk, directory: directory.to_path_buf(), keep, holds: Holds::default(), failed: false })
    }

    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// By which other threads keep a checkpoint that they read from being pruned.
    pub fn holds(&self) -> Holds {
        self.holds.clone()
    }

    /// Finds the newest intact checkpoint and tidies up behind a crash. The broken ones that were passed over are set
    /// aside under another name, so that their numbers are free again; but only when an intact one was found: else
    /// the next start would take the directory for an empty one.
    pub fn load_newest(&mut self) -> Result<Loaded, Error> {
        let disk = &*self.disk;
        for kind in [DRAFT, DISCARDED] {
            for sequence in sequences(disk, &self.directory, kind)? {
                remove_tree(disk, &path_of(&self.directory, kind, sequence))?;
            }
        }
        let loaded = load::read_newest(disk, &self.directory)?;
        for passed_over in &loaded.passed_over {
            self.rename_out(passed_over.sequence, BROKEN)?;
        }
        // Not only for what was set aside: a process killed between the rename and the sync of a seal has left a name
        // that can be read but can still be lost, and what follows from here counts on it.
        self.sync_directory()?;
        Ok(loaded)
    }

    /// Makes a checkpoint durable, then prunes. When this returns, the next `load_newest` finds this checkpoint or a
    /// newer one, whatever happens to the machine. An error is final: every later call is refused.
    pub fn seal(&mut self, sequence: Sequence, content: &mut dyn Encode) -> Result<Sealed, Error> {
        if self.failed {
            return Err(Error::AfterFailure { path: self.directory.clone() });
        }
        let outcome = self.write(sequence, content).and_then(|sealed| self.prune().map(|()| sealed));
        outcome.map_err(|source| {
            self.failed = true;
            Error::Seal { sequence, source: Box::new(source) }
        })
    }

    /// The numbers of the checkpoints that are there, intact or not, ascending.
    pub fn sequences(&self) -> Result<Vec<Sequence>, Error> {
        sequences(&*self.disk, &self.directory, CHECKPOINT)
    }

    /// Marks a checkpoint as never to be pruned, across restarts.
    pub fn pin(&self, sequence: Sequence) -> Result<(), Error> {
        let directory = self.present(sequence)?;
        let path = directory.join(PINNED);
        if !self.is_pinned(sequence)? {
            write_file(&*self.disk, &path, &[])?;
        }
        self.disk.sync_directory(&directory).during("make durable the directory", &directory)
    }

    pub fn unpin(&self, sequence: Sequence) -> Result<(), Error> {
        let directory = self.present(sequence)?;
        remove_file_if_there(&*self.disk, &directory.join(PINNED))?;
        self.disk.sync_directory(&directory).during("make durable the directory", &directory)
    }

    pub fn is_pinned(&self, sequence: Sequence) -> Result<bool, Error> {
        let path = path_of(&self.directory, CHECKPOINT, sequence).join(PINNED);
        Ok(self.disk.look_up(&path).during("look up", &path)?.is_some())
    }

    fn present(&self, sequence: Sequence) -> Result<PathBuf, Error> {
        let path = path_of(&self.directory, CHECKPOINT, sequence);
        match self.disk.look_up(&path).during("look up", &path)? {
            Some(_) => Ok(path),
            None => Err(Error::Absent { sequence, directory: self.directory.clone() }),
        }
    }

    fn write(&self, sequence: Sequence, content: &mut dyn Encode) -> Result<Sealed, Error> {
        let disk = &*self.disk;
        if let Some(&newest) = self.sequences()?.last()
            && newest >= sequence
        {
            return Err(Error::Taken { sequence, newest, directory: self.directory.clone() });
        }
        let draft = path_of(&self.directory, DRAFT, sequence);
        remove_tree(disk, &draft)?;
        disk.create_directory(&draft).during("create the directory", &draft)?;
        let mut write_part = |part: Part| {
            let path = draft.join(part.file_name());
            let mut file = NewFile::create(disk, &path)?;
            let encoded = content.encode(part, &mut file);
            file.finish(encoded)
        };
        let parts = PartSeals {
            policy: write_part(Part::Policy)?,
            optimizer: write_part(Part::Optimizer)?,
            state: write_part(Part::State)?,
        };
        let mut manifest = Manifest::new(sequence, parts, content.facts());
        let path = draft.join(MANIFEST);
        write_file(disk, &path, &manifest.encode().map_err(io::Error::from).during("encode", &path)?)?;
        disk.sync_directory(&draft).during("make durable the directory", &draft)?;

        // Everything behind the name is durable before the name exists; the seal counts once the name is durable too.
        let directory = path_of(&self.directory, CHECKPOINT, sequence);
        disk.rename(&draft, &directory).during("rename to", &directory)?;
        self.sync_directory()?;
        Ok(Sealed { sequence, directory, manifest })
    }

    /// Removes all but the last `keep`, the pinned ones and those in use; of broken ones the last `keep` stay too.
    fn prune(&self) -> Result<(), Error> {
        let disk = &*self.disk;
        let in_use = self.holds.in_use();
        let mut discarded = Vec::new();
        for sequence in self.all_but_the_last(CHECKPOINT)? {
            if in_use.contains(&sequence) || self.is_pinned(sequence)? {
                continue;
            }
            discarded.push(self.rename_out(sequence, DISCARDED)?);
        }
        if !discarded.is_empty() {
            // A checkpoint without its name may be taken apart; one that could get its name back may not.
            self.sync_directory()?;
        }
        for sequence in self.all_but_the_last(BROKEN)? {
            discarded.push(path_of(&self.directory, BROKEN, sequence));
        }
        discarded.iter().try_for_each(|path| remove_tree(disk, path))
    }

    fn all_but_the_last(&self, kind: &str) -> Result<Vec<Sequence>, Error> {
        let mut sequences = sequences(&*self.disk, &self.directory, kind)?;
        sequences.truncate(sequences.len().saturating_sub(self.keep.get()));
        Ok(sequences)
    }

    /// Takes its name from a checkpoint and gives it one of another kind.
    fn rename_out(&self, sequence: Sequence, kind: &str) -> Result<PathBuf, Error> {
        let disk = &*self.disk;
        let (from, to) = (path_of(&self.directory, CHECKPOINT, sequence), path_of(&self.directory, kind, sequence));
        remove_tree(disk, &to)?;
        match disk.rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(to),
            outcome => outcome.during("rename to", &to).map(|()| to),
        }
    }

    fn sync_directory(&self) -> Result<(), Error> {
        self.disk.sync_directory(&self.directory).during("make durable the directory", &self.directory)
    }
}

impl Holds {
    /// Marks a checkpoint as in use until the answer is dropped.
    pub fn hold(&self, sequence: Sequence) -> Hold {
        *self.lock().entry(sequence).or_default() += 1;
        Hold { sequence, holds: self.clone() }
    }

    fn in_use(&self) -> BTreeSet<Sequence> {
        self.lock().keys().copied().collect()
    }

    // The map is whole after every step, so a panic elsewhere while it was locked did it no harm.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Sequence, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut holds = self.holds.lock();
        if let Some(count) = holds.get_mut(&self.sequence) {
            *count -= 1;
            if *count == 0 {
                holds.remove(&self.sequence);
            }
        }
    }
}
