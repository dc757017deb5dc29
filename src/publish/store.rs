//! The directory of published policies: writing one, making it current, going back, reading.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::{Manifest, Reading};
use super::{Draft, Gate, Parent, Publication, PublishError, tensors};
use crate::checkpoint::{Attempted, Checksum, Disk, Found, ensure_directory, remove_tree, replace_file, write_file};

pub const POLICY: &str = "policy.safetensors";
pub const MANIFEST: &str = "manifest.json";
const CURRENT: &str = "current";
const HELD: &str = "held";
const LOCK: &str = "lock";
const DRAFT: &str = "draft-";
/// Where a state directory keeps its publications unless the settings name another place.
const PUBLISHED: &str = "published";

/// Tens of millions of item ids.
const MANIFEST_BYTES_MAX: u64 = 4 << 30;

/// A directory of publications.
#[derive(Debug)]
pub struct Publications {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    keep: usize,
}

/// One publication that is durable.
#[derive(Debug, Clone)]
pub struct Published {
    pub name: String,
    pub directory: PathBuf,
    pub manifest: Manifest,
}

/// What came of the wish to publish.
#[derive(Debug, Clone)]
pub enum Outcome {
    Published(Published),
    /// The same content is current already.
    Unchanged(Published),
    /// The gate objects, or it has learned nothing while the current one has; `current` is what it was.
    Refused(String),
    /// Somebody rolled back, and nobody has published by hand since.
    Held,
}

impl Publications {
    pub fn open(disk: Arc<dyn Disk>, directory: &Path, keep: usize) -> Result<Publications, PublishError> {
        ensure_directory(&*disk, directory)?;
        Ok(Publications { disk, directory: directory.to_path_buf(), keep: keep.max(2) })
    }

    /// As [`Publications::open`], but creates nothing.
    pub fn existing(disk: Arc<dyn Disk>, directory: &Path, keep: usize) -> Result<Publications, PublishError> {
        match disk.look_up(directory).during("look up", directory)? {
            Some(_) => Publications::open(disk, directory, keep),
            None => Err(PublishError::Nothing { path: directory.to_path_buf() }),
        }
    }

    /// Makes the draft durable and current, unless the gate objects. After a rollback only a person's wish
    /// (`by_hand`) is heard.
    pub fn publish(&self, draft: &Draft, gate: Option<Gate>, by_hand: bool) -> Result<Outcome, PublishError> {
        let _lock = self.lock()?;
        let held = self.directory.join(HELD);
        if !by_hand && self.disk.look_up(&held).during("look up", &held)?.is_some() {
            return Ok(Outcome::Held);
        }
        self.remove_drafts()?;
        let current = self.current_or_newest_whole()?;
        let policy = tensors::encode(draft)?;
        let mut manifest = Manifest::of(draft, &policy)?;
        let is_same = |current: &&Published| {
            (current.manifest.version, current.manifest.content) == (manifest.version, manifest.content)
        };
        let same = current.as_ref().filter(is_same);
        if let Some(same) = same
            && self.is_whole(same)?
        {
            self.release(&held)?;
            return Ok(Outcome::Unchanged(same.clone()));
        }
        let parent = current.as_ref();
        if draft.version == 0 && parent.is_some_and(|parent| parent.manifest.version > 0) {
            return Ok(Outcome::Refused("it has not learned anything: no update was applied".to_owned()));
        }
        // What is written again was let through before.
        let gate = gate.filter(|_| same.is_none());
        let estimates = (parent.and_then(|parent| parent.manifest.evaluation.as_ref()), draft.evaluation.as_ref());
        if let Some(Err(reason)) = gate.map(|gate| gate.judge(estimates.0, estimates.1)) {
            return Ok(Outcome::Refused(reason));
        }
        manifest.lineage.parent = match same {
            Some(same) => same.manifest.lineage.parent.clone(),
            None => parent.map(|parent| Parent { name: parent.name.clone(), version: parent.manifest.version }),
        };
        let published = self.write(manifest, &policy)?;
        self.point_to(&published.name)?;
        self.release(&held)?;
        self.prune(&published)?;
        Ok(Outcome::Published(published))
    }

    /// Makes an earlier publication current: the parent of the current one, or the one named `to`. From then on only a
    /// person can publish.
    pub fn roll_back(&self, to: Option<&str>) -> Result<Published, PublishError> {
        let _lock = self.lock()?;
        let directory = self.directory.clone();
        let name = match to {
            Some(name) => name.to_owned(),
            None => match self.current() {
                Ok(None) => return Err(PublishError::Nothing { path: directory }),
                Ok(Some(Published { manifest, .. })) => match manifest.lineage.parent {
                    Some(parent) => parent.name,
                    None => return Err(PublishError::NoParent { directory, known: self.names()? }),
                },
                Err(PublishError::Broken { path, .. }) => {
                    let known = self.list()?.into_iter().map(|published| published.name).collect();
                    return Err(PublishError::ParentUnknown { path, known });
                }
                Err(error) => return Err(error),
            },
        };
        if !self.names()?.contains(&name) {
            return Err(PublishError::NoSuch { name, directory, known: self.names()? });
        }
        let path = self.directory.join(&name);
        self.remove_drafts()?;
        // Never to something that cannot be served.
        let publication = read_at(&*self.disk, &path)?;
        replace_file(&*self.disk, &self.directory.join(HELD), format!("rolled back to {name}\n").as_bytes())?;
        self.point_to(&name)?;
        Ok(Published { name, directory: path, manifest: publication.manifest })
    }

    /// The name that `current` points to, without looking further.
    pub fn current_name(&self) -> Option<PathBuf> {
        self.directory.join(CURRENT).read_link().ok()
    }

    /// What `current` points to; its tensors are not read.
    pub fn current(&self) -> Result<Option<Published>, PublishError> {
        let link = self.directory.join(CURRENT);
        if self.disk.look_up(&link).during("look up", &link)?.is_none() {
            return match link.is_symlink() {
                true => Err(PublishError::Broken { path: link, flaw: "it points to nothing".to_owned() }),
                false => Ok(None),
            };
        }
        let directory = link.canonicalize().during("follow", &link)?;
        let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let manifest = read_manifest(&*self.disk, &directory)?;
        Ok(Some(Published { name, directory, manifest }))
    }

    /// A publication that rotted must not stand in the way of the next one, which then follows the newest that can be read.
    fn current_or_newest_whole(&self) -> Result<Option<Published>, PublishError> {
        match self.current() {
            Err(PublishError::Broken { path, flaw }) => {
                tracing::error!(path = %path.display(), flaw, "the current publication is broken");
                Ok(self.list()?.pop())
            }
            outcome => outcome,
        }
    }

    /// Whether every byte is as it was published; told loudly if not.
    fn is_whole(&self, published: &Published) -> Result<bool, PublishError> {
        match read_at(&*self.disk, &published.directory) {
            Err(PublishError::Broken { path, flaw }) => {
                tracing::error!(path = %path.display(), flaw, "the current publication is broken");
                Ok(false)
            }
            outcome => outcome.map(|_| true),
        }
    }

    /// Everything that was published and kept, oldest version first. What cannot be read is left out.
    pub fn list(&self) -> Result<Vec<Published>, PublishError> {
        let mut list = Vec::new();
        for name in self.names()? {
            let directory = self.directory.join(&name);
            if let Ok(manifest) = read_manifest(&*self.disk, &directory) {
                list.push(Published { name, directory, manifest });
            }
        }
        list.sort_by(|one, other| (one.manifest.version, &one.name).cmp(&(other.manifest.version, &other.name)));
        Ok(list)
    }

    /// Writes a publication under the name that its version gives it, or finds it there.
    fn write(&self, mut manifest: Manifest, policy: &[u8]) -> Result<Published, PublishError> {
        let version = manifest.version.to_string();
        let mut short = manifest.content.to_string();
        short.truncate(8);
        for name in [version.clone(), format!("{version}-{short}")] {
            let directory = self.directory.join(&name);
            let mut is_broken = false;
            if self.disk.look_up(&directory).during("look up", &directory)?.is_some() {
                match read_at(&*self.disk, &directory) {
                    Ok(same) if same.manifest.content == manifest.content => {
                        return Ok(Published { name, directory, manifest: same.manifest });
                    }
                    // Another content under this version: the longer name tells them apart.
                    Ok(_) | Err(PublishError::NewerFormat { .. }) => continue,
                    Err(PublishError::Broken { flaw, .. }) => {
                        tracing::error!(path = %directory.display(), flaw, "a broken publication is replaced");
                        is_broken = true;
                    }
                    Err(error) => return Err(error),
                }
            }
            let draft = self.directory.join(format!("{DRAFT}{name}"));
            remove_tree(&*self.disk, &draft)?;
            write_files(&*self.disk, &draft, &mut manifest, policy)?;
            if is_broken {
                remove_tree(&*self.disk, &directory)?;
            }
            self.disk.rename(&draft, &directory).during("rename to", &directory)?;
            self.sync()?;
            return Ok(Published { name, directory, manifest });
        }
        Err(PublishError::Taken { path: self.directory.join(format!("{version}-{short}")) })
    }

    /// In one step: whoever reads `current` finds the old publication or the new one.
    fn point_to(&self, name: &str) -> Result<(), PublishError> {
        let (link, draft) = (self.directory.join(CURRENT), self.directory.join(format!("{DRAFT}{CURRENT}")));
        self.disk.link(Path::new(name), &draft).during("create the link", &draft)?;
        self.disk.rename(&draft, &link).during("rename to", &link)?;
        self.sync()
    }

    fn release(&self, held: &Path) -> Result<(), PublishError> {
        match self.disk.remove_file(held) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => {
                outcome.during("remove", held)?;
                self.sync()
            }
        }
    }

    /// Removes the lowest versions beyond the limit, but neither the current one nor its parent.
    fn prune(&self, current: &Published) -> Result<(), PublishError> {
        let parent = current.manifest.lineage.parent.as_ref().map(|parent| parent.name.as_str());
        let mut list = self.list()?;
        let mut excess = list.len().saturating_sub(self.keep);
        list.retain(|published| published.name != current.name && Some(published.name.as_str()) != parent);
        for published in list {
            if excess == 0 {
                break;
            }
            remove_tree(&*self.disk, &published.directory)?;
            excess -= 1;
        }
        Ok(())
    }

    /// What a crash has left. A draft may be a link, which is removed and not followed.
    fn remove_drafts(&self) -> Result<(), PublishError> {
        for name in self.disk.list(&self.directory).during("list", &self.directory)? {
            if name.to_str().is_some_and(|name| name.starts_with(DRAFT)) {
                let path = self.directory.join(name);
                if self.disk.remove_file(&path).is_err() {
                    remove_tree(&*self.disk, &path)?;
                }
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, PublishError> {
        let names = self.disk.list(&self.directory).during("list", &self.directory)?;
        let is_publication = |name: &String| name.starts_with(|first: char| first.is_ascii_digit());
        let mut names: Vec<String> = names.into_iter().filter_map(|name| name.into_string().ok()).collect();
        names.retain(is_publication);
        names.sort();
        Ok(names)
    }

    /// Two processes that publish into one directory take turns.
    fn lock(&self) -> Result<File, PublishError> {
        let path = self.directory.join(LOCK);
        let open = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let locked = open.and_then(|file| file.lock().map(|()| file));
        locked.map_err(|source| PublishError::Lock { path, source })
    }

    fn sync(&self) -> Result<(), PublishError> {
        Ok(self.disk.sync_directory(&self.directory).during("make durable the directory", &self.directory)?)
    }
}

/// Writes a publication into a directory of its own, which must be new, empty, or hold this very content.
pub fn write_to(disk: &dyn Disk, directory: &Path, draft: &Draft) -> Result<Published, PublishError> {
    let policy = tensors::encode(draft)?;
    let mut manifest = Manifest::of(draft, &policy)?;
    let name = draft.version.to_string();
    if disk.look_up(directory).during("look up", directory)?.is_some() {
        match read_at(disk, directory) {
            Ok(same) if same.manifest.content == manifest.content => {
                return Ok(Published { name, directory: directory.to_path_buf(), manifest: same.manifest });
            }
            Ok(_) | Err(_) if !disk.list(directory).during("list", directory)?.is_empty() => {
                return Err(PublishError::Taken { path: directory.to_path_buf() });
            }
            // An empty directory makes way: the rename below needs the name.
            Ok(_) | Err(_) => disk.remove_directory(directory).during("remove", directory)?,
        }
    }
    let mut draft_name = directory.file_name().map(ToOwned::to_owned).unwrap_or_default();
    draft_name.push(".draft");
    let beside = directory.with_file_name(draft_name);
    remove_tree(disk, &beside)?;
    write_files(disk, &beside, &mut manifest, &policy)?;
    disk.rename(&beside, directory).during("rename to", directory)?;
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    disk.sync_directory(parent).during("make durable the directory", parent)?;
    Ok(Published { name, directory: directory.to_path_buf(), manifest })
}

fn write_files(disk: &dyn Disk, directory: &Path, manifest: &mut Manifest, policy: &[u8]) -> Result<(), PublishError> {
    ensure_directory(disk, directory)?;
    write_file(disk, &directory.join(POLICY), policy)?;
    write_file(disk, &directory.join(MANIFEST), &manifest.encode()?)?;
    Ok(disk.sync_directory(directory).during("make durable the directory", directory)?)
}

/// The publication that a path means: itself, what its `current` points to, or the same under `published`.
pub fn resolve(disk: &dyn Disk, path: &Path) -> Result<PathBuf, PublishError> {
    let published = path.join(PUBLISHED);
    for place in [path.to_path_buf(), path.join(CURRENT), published.join(CURRENT)] {
        let manifest = place.join(MANIFEST);
        if disk.look_up(&manifest).during("look up", &manifest)?.is_some() {
            return Ok(place);
        }
    }
    Err(PublishError::Nothing { path: path.to_path_buf() })
}

/// Reads the publication that `path` means and checks every byte of it.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Publication, PublishError> {
    let place = resolve(disk, path)?;
    // Once: `current` may move on between the manifest and the tensors.
    read_at(disk, &place.canonicalize().during("follow", &place)?)
}

fn read_at(disk: &dyn Disk, directory: &Path) -> Result<Publication, PublishError> {
    let broken = |flaw: String| PublishError::Broken { path: directory.to_path_buf(), flaw };
    let manifest = read_manifest(disk, directory)?;
    let path = directory.join(POLICY);
    match disk.look_up(&path).during("look up", &path)? {
        Some(Found::File { length }) if length == manifest.policy.bytes => {}
        Some(Found::File { length }) => {
            return Err(broken(format!("{POLICY} has {length} bytes, {} were published", manifest.policy.bytes)));
        }
        Some(Found::Directory) | None => return Err(broken(format!("{POLICY} is not there"))),
    }
    let file = disk.read(&path, manifest.policy.bytes).during("read", &path)?;
    if Checksum::of(&file) != manifest.policy.blake3 {
        return Err(broken(format!("the checksum of {POLICY} is wrong")));
    }
    let (policy, item_embeddings) = tensors::decode(&file, &manifest).map_err(broken)?;
    Ok(Publication { manifest, policy, item_embeddings })
}

fn read_manifest(disk: &dyn Disk, directory: &Path) -> Result<Manifest, PublishError> {
    let path = directory.join(MANIFEST);
    let file = match disk.read(&path, MANIFEST_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let flaw = "its manifest is not there".to_owned();
            return Err(PublishError::Broken { path: directory.to_path_buf(), flaw });
        }
        outcome => outcome.during("read", &path)?,
    };
    match Manifest::decode(&file) {
        Reading::Good(manifest) => Ok(*manifest),
        Reading::Newer { format, created_by } => {
            Err(PublishError::NewerFormat { path: directory.to_path_buf(), format, created_by })
        }
        Reading::Flawed(flaw) => Err(PublishError::Broken { path: directory.to_path_buf(), flaw }),
    }
}
