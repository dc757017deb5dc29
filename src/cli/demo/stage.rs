//! Everything that is there before the first process starts: a directory of its own, settings, the world, its catalog.

use std::fs::{self, File, TryLockError};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::world_of;
use crate::cli::args;
use crate::exit::{Exit, Failure};
use crate::settings::{self, Settings};
use crate::simulate::World;

/// Settings of the demo, so that it needs no file.
const SETTINGS: &str = include_str!("../../../configs/demo.toml");
const DIRECTORY: &str = "sluicebox-demo";
/// Demos without `--out` that can run side by side in one directory.
const DIRECTORIES_MAX: u32 = 64;

pub struct Stage {
    pub seed: u64,
    pub directory: PathBuf,
    /// Locked for as long as the demo runs.
    _lock: File,
    pub settings_file: PathBuf,
    /// Settings of the command line, which the children get as well.
    pub set: Vec<String>,
    pub settings: Settings,
    pub world: World,
}

impl Stage {
    pub fn set(arguments: &args::Demo) -> Result<Stage, Failure> {
        let (directory, lock) = claim(arguments.out.as_deref())?;
        let failed = |error: std::io::Error| {
            Exit::Io.because(format!("could not prepare the directory {}: {error}", directory.display()))
        };
        // What an earlier demo left would be taken for a state to go on from.
        for stale in ["learner", "undisturbed"].map(|name| directory.join(name)) {
            if stale.exists() {
                fs::remove_dir_all(stale).map_err(failed)?;
            }
        }
        let settings_file = directory.join("demo.toml");
        fs::write(&settings_file, settings_text(arguments, &directory)?).map_err(failed)?;
        let set = arguments.settings.set.clone();
        let read =
            |set: &[String]| settings::load(Some(&settings_file), set).map_err(|error| error.exit().because(error));
        let settings = read(&set)?;
        let world = world_of(&settings)?;
        let mut catalog = BufWriter::new(File::create(directory.join("items.jsonl")).map_err(failed)?);
        world.write_catalogue(&mut catalog).and_then(|()| catalog.flush()).map_err(failed)?;
        Ok(Stage { seed: arguments.seed, directory, _lock: lock, settings_file, set, settings, world })
    }
}

/// A directory that no other demo uses: the one that was named, or the first free one.
fn claim(named: Option<&Path>) -> Result<(PathBuf, File), Failure> {
    let candidates: Vec<PathBuf> = match named {
        Some(named) => vec![named.to_path_buf()],
        None => (1..=DIRECTORIES_MAX)
            .map(|number| if number == 1 { DIRECTORY.into() } else { format!("{DIRECTORY}-{number}").into() })
            .collect(),
    };
    for directory in candidates {
        let failed = |error: std::io::Error| {
            Exit::Io.because(format!("could not use the directory {}: {error}", directory.display()))
        };
        fs::create_dir_all(&directory).map_err(failed)?;
        let lock = File::create(directory.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => return Ok((directory, lock)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(Exit::Busy.because("another demo is using this directory; name another one with --out"))
}

/// The settings that all children share, with the command line's seed and places written in.
fn settings_text(arguments: &args::Demo, directory: &Path) -> Result<String, Failure> {
    let text = match &arguments.settings.config {
        None => SETTINGS.to_owned(),
        Some(path) => fs::read_to_string(path)
            .map_err(|error| Exit::Config.because(format!("could not read {}: {error}", path.display())))?,
    };
    let mut table: toml::Table = text.parse().map_err(|error| Exit::Config.because(format!("{error}")))?;
    let mut set = |section: &str, key: &str, value: toml::Value| {
        let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        if let toml::Value::Table(section) = section {
            section.insert(key.to_owned(), value);
        }
    };
    let seed = i64::try_from(arguments.seed)
        .map_err(|_| Exit::Usage.because(format!("--seed must be at most {}", i64::MAX)))?;
    set("simulate", "seed", seed.into());
    set("learner", "seed", seed.into());
    set("catalog", "file", directory.join("items.jsonl").to_string_lossy().into_owned().into());
    toml::to_string(&table).map_err(|error| Exit::Bug.because(error))
}
