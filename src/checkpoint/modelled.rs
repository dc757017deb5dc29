//! A disk in memory that keeps no promise that was not asked for.
//!
//! What is written is *cached*; it becomes *durable* when the file is synced, and a name becomes durable when its
//! directory is synced. The disk can freeze at any change, or refuse it. A reboot then decides about everything that
//! was cached only, as cruelly as its kind says. The real disk shares no code with this one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::disk::{Disk, DiskFile, Found};

/// Small, so that even the short files of a test are torn in the middle.
const BLOCK_BYTES: usize = 16;

#[derive(Debug, Clone)]
pub struct ModelledDisk(Arc<Mutex<World>>);

/// What happens at one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// This change and all after it never happen.
    Freeze,
    /// The system refuses this one change with an error number, and the next one works again.
    Refuse(i32),
}

/// What a reboot finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reboot {
    /// Only the process died: the cache is whole, and still not durable.
    Killed,
    /// What was cached only is gone.
    Lost,
    /// Everything reached the disk just in time.
    Kept,
    /// The names reached the disk, the content did not.
    NamesOnly,
    /// The content reached the disk, the names did not.
    ContentOnly,
    /// Names and lengths reached the disk, the new blocks are zeros.
    Zeros,
    /// Every name and every block was lost, kept or zeroed by chance.
    Torn(u64),
}

type Id = usize;

#[derive(Debug)]
struct World {
    nodes: Vec<Node>,
    changes: u64,
    trouble: Option<(u64, Trouble)>,
    is_frozen: bool,
}

#[derive(Debug)]
enum Node {
    File { cached: Vec<u8>, durable: Vec<u8>, is_dropped: bool },
    Directory { cached: BTreeMap<OsString, Id>, durable: BTreeMap<OsString, Id> },
}

const ROOT: Id = 0;

impl Reboot {
    /// Every kind, with `torn` kinds of chance.
    pub fn all(seed: u64, torn: u64) -> Vec<Reboot> {
        let mut all = vec![Reboot::Killed, Reboot::Lost, Reboot::Kept, Reboot::NamesOnly, Reboot::ContentOnly];
        all.push(Reboot::Zeros);
        all.extend((0..torn).map(|index| Reboot::Torn(seed.wrapping_mul(1_000_003).wrapping_add(index))));
        all
    }
}

impl ModelledDisk {
    pub fn new() -> ModelledDisk {
        let root = Node::Directory { cached: BTreeMap::new(), durable: BTreeMap::new() };
        ModelledDisk(Arc::new(Mutex::new(World { nodes: vec![root], changes: 0, trouble: None, is_frozen: false })))
    }

    /// Counts changes from here, and makes trouble at the n-th, counting from 1.
    pub fn trouble_at(&self, change: u64, trouble: Trouble) {
        let mut world = self.world();
        world.changes = 0;
        world.trouble = Some((change, trouble));
    }

    pub fn changes(&self) -> u64 {
        self.world().changes
    }

    pub fn is_frozen(&self) -> bool {
        self.world().is_frozen
    }

    pub fn reboot(&self, reboot: Reboot) {
        let mut world = self.world();
        world.is_frozen = false;
        world.trouble = None;
        world.changes = 0;
        let seed = if let Reboot::Torn(seed) = reboot { seed } else { 0 };
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut directories_named = BTreeSet::new();
        for id in 0..world.nodes.len() {
            let is_directory: Vec<bool> =
                world.nodes.iter().map(|node| matches!(node, Node::Directory { .. })).collect();
            match &mut world.nodes[id] {
                Node::File { cached, durable, is_dropped } => {
                    settle_file(reboot, cached, durable, &mut random);
                    *is_dropped = false;
                }
                Node::Directory { cached, durable } => {
                    settle_directory(reboot, cached, durable, &mut random);
                    if reboot != Reboot::Killed {
                        // A repaired file system never has one directory under two names.
                        cached.retain(|_, id| !is_directory[*id] || directories_named.insert(*id));
                        *durable = cached.clone();
                    }
                }
            }
        }
    }

    /// Every file that can be read now, by its path.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let world = self.world();
        let mut files = BTreeMap::new();
        let mut open = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, id)) = open.pop() {
            match &world.nodes[id] {
                Node::File { cached, .. } => {
                    files.insert(path, cached.clone());
                }
                Node::Directory { cached, .. } => open.extend(cached.iter().map(|(name, id)| (path.join(name), *id))),
            }
        }
        files
    }

    /// Changes the content of a file behind everybody's back.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        let id = world.find(path).expect("the file to tamper with is there");
        let Node::File { cached, durable, .. } = &mut world.nodes[id] else { panic!("{} is no file", path.display()) };
        change(cached);
        durable.clone_from(cached);
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no test panics while it holds the disk")
    }
}

fn settle_file(reboot: Reboot, cached: &mut Vec<u8>, durable: &mut Vec<u8>, random: &mut impl Rng) {
    match reboot {
        Reboot::Killed => return,
        Reboot::Kept | Reboot::ContentOnly => {}
        Reboot::Lost | Reboot::NamesOnly => cached.clone_from(durable),
        Reboot::Zeros => {
            let same = cached.iter().zip(durable.iter()).take_while(|(cached, durable)| cached == durable).count();
            cached[same..].fill(0);
        }
        Reboot::Torn(_) => {
            let new = cached.clone();
            let length = if random.random() { new.len() } else { durable.len() };
            cached.clone_from(durable);
            cached.resize(length, 0);
            for start in (0..length).step_by(BLOCK_BYTES) {
                let fate = random.random_range(0..3);
                for (place, byte) in cached.iter_mut().enumerate().skip(start).take(BLOCK_BYTES) {
                    // A byte that was durable and did not change stays: a sector holds its old or its new content.
                    if new.get(place) != durable.get(place) {
                        match (fate, new.get(place)) {
                            (0, _) => *byte = 0,
                            (1, Some(&new)) => *byte = new,
                            (_, _) => {}
                        }
                    }
                }
            }
        }
    }
    durable.clone_from(cached);
}

fn settle_directory(
    reboot: Reboot,
    cached: &mut BTreeMap<OsString, Id>,
    durable: &BTreeMap<OsString, Id>,
    random: &mut impl Rng,
) {
    match reboot {
        Reboot::Killed | Reboot::Kept | Reboot::NamesOnly | Reboot::Zeros => {}
        Reboot::Lost | Reboot::ContentOnly => cached.clone_from(durable),
        Reboot::Torn(_) => {
            let names: BTreeSet<OsString> = cached.keys().chain(durable.keys()).cloned().collect();
            for name in names {
                if random.random() {
                    match durable.get(&name) {
                        Some(id) => cached.insert(name, *id),
                        None => cached.remove(&name),
                    };
                }
            }
        }
    }
}

impl World {
    /// Every change passes here first, and is counted.
    fn change(&mut self) -> io::Result<()> {
        self.awake()?;
        self.changes += 1;
        match self.trouble {
            Some((at, Trouble::Freeze)) if at == self.changes => {
                self.is_frozen = true;
                self.awake()
            }
            Some((at, Trouble::Refuse(number))) if at == self.changes => Err(io::Error::from_raw_os_error(number)),
            Some(_) | None => Ok(()),
        }
    }

    fn awake(&self) -> io::Result<()> {
        if self.is_frozen { Err(io::Error::other("the disk is frozen")) } else { Ok(()) }
    }

    fn find(&self, path: &Path) -> io::Result<Id> {
        let mut id = ROOT;
        for component in path.components() {
            if let Component::Normal(name) = component {
                id = *self.names(id)?.get(name).ok_or(io::ErrorKind::NotFound)?;
            }
        }
        Ok(id)
    }

    fn names(&self, id: Id) -> io::Result<&BTreeMap<OsString, Id>> {
        match &self.nodes[id] {
            Node::Directory { cached, .. } => Ok(cached),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The names of the directory that `path` lies in, and the name of `path` there.
    fn place<'a>(&mut self, path: &'a Path) -> io::Result<(&mut BTreeMap<OsString, Id>, &'a OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let id = self.find(parent)?;
        match &mut self.nodes[id] {
            Node::Directory { cached, .. } => Ok((cached, name)),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<Id> {
        self.change()?;
        let id = self.nodes.len();
        let (names, name) = self.place(path)?;
        if names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        names.insert(name.to_owned(), id);
        self.nodes.push(node);
        Ok(id)
    }
}

impl Disk for ModelledDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let node = Node::Directory { cached: BTreeMap::new(), durable: BTreeMap::new() };
        self.world().add(path, node).map(|_| ())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let node = Node::File { cached: Vec::new(), durable: Vec::new(), is_dropped: false };
        let id = self.world().add(path, node)?;
        Ok(Box::new(ModelledFile { disk: self.clone(), id }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let world = self.world();
        world.awake()?;
        let id = world.find(path)?;
        match world.nodes[id] {
            Node::File { .. } => Ok(Box::new(ModelledFile { disk: self.clone(), id })),
            Node::Directory { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn link(&self, _target: &Path, _path: &Path) -> io::Result<()> {
        // Checkpoints have no links; publications are tested on a real file system.
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.change()?;
        let id = world.find(from)?;
        if let Ok(taken) = world.find(to)
            && world.names(taken).is_ok_and(|names| !names.is_empty())
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (names, name) = world.place(from)?;
        names.remove(name);
        let (names, name) = world.place(to)?;
        names.insert(name.to_owned(), id);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.change()?;
        let id = world.find(path)?;
        if world.names(id).is_ok() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (names, name) = world.place(path)?;
        names.remove(name);
        Ok(())
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.change()?;
        let id = world.find(path)?;
        if !world.names(id)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (names, name) = world.place(path)?;
        names.remove(name);
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.change()?;
        let id = world.find(path)?;
        match &mut world.nodes[id] {
            Node::Directory { cached, durable } => durable.clone_from(cached),
            Node::File { .. } => return Err(io::ErrorKind::NotADirectory.into()),
        }
        Ok(())
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let world = self.world();
        world.awake()?;
        match &world.nodes[world.find(path)?] {
            Node::File { cached, .. } if cached.len() as u64 > bytes_max => Err(io::ErrorKind::FileTooLarge.into()),
            Node::File { cached, .. } => Ok(cached.clone()),
            Node::Directory { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn look_up(&self, path: &Path) -> io::Result<Option<Found>> {
        let world = self.world();
        world.awake()?;
        match world.find(path) {
            Ok(id) => Ok(Some(match &world.nodes[id] {
                Node::File { cached, .. } => Found::File { length: cached.len() as u64 },
                Node::Directory { .. } => Found::Directory,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        let world = self.world();
        world.awake()?;
        Ok(world.names(world.find(directory)?)?.keys().cloned().collect())
    }
}

#[derive(Debug)]
struct ModelledFile {
    disk: ModelledDisk,
    id: Id,
}

impl ModelledFile {
    fn change(
        &self,
        refused: impl FnOnce(&mut Vec<u8>, &mut bool),
        change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>, bool),
    ) -> io::Result<()> {
        let mut world = self.disk.world();
        let outcome = world.change();
        let is_frozen = world.is_frozen;
        let Node::File { cached, durable, is_dropped } = &mut world.nodes[self.id] else {
            panic!("a file became a directory")
        };
        match &outcome {
            Ok(()) => change(cached, durable, *is_dropped),
            Err(_) if is_frozen => {}
            Err(_) => refused(cached, is_dropped),
        }
        outcome
    }
}

impl DiskFile for ModelledFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let half = &bytes[..bytes.len() / 2];
        self.change(|cached, _| cached.extend_from_slice(half), |cached, _, _| cached.extend_from_slice(bytes))
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.change(|_, _| {}, |cached, _, _| cached.resize(length as usize, 0))
    }

    // After a refused sync the pages count as clean: the next sync succeeds and makes nothing durable.
    fn sync(&mut self) -> io::Result<()> {
        self.change(
            |_, is_dropped| *is_dropped = true,
            |cached, durable, is_dropped| {
                if !is_dropped {
                    durable.clone_from(cached);
                }
            },
        )
    }
}
