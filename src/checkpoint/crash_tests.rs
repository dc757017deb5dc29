//! A life of seals, prunes and side files on the modelled disk, stopped at every single change and rebooted in every
//! way; then the next life must find what the last one was promised, and end as if nothing had happened.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::modelled::{ModelledDisk, Reboot, Trouble};
use super::*;

const STATE: &str = "/data/state";
const LOG: &str = "/data/out/decisions.jsonl";
const SIDE_FILE: &str = "decisions";
const PINNED: Sequence = Sequence(2);

/// What the outside was told, and may therefore rely on.
#[derive(Debug, Default)]
struct Promises {
    sealed: Option<Sequence>,
    pinned: bool,
}

pub(super) fn parts(sequence: Sequence) -> Parts {
    // Lengths that differ between parts and sequences, no byte like its neighbor's.
    let content = |salt: u64, length: u64| -> Vec<u8> {
        (0..length).map(|index| (index * 31 + salt * 101 + sequence.0 * 57) as u8 | 1).collect()
    };
    Parts {
        policy: content(1, 40 + sequence.0),
        optimizer: content(2, 70 - sequence.0 % 50),
        state: content(3, 90 + 3 * sequence.0),
    }
}

pub(super) fn keep(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn lines(sequence: Sequence) -> Vec<Vec<u8>> {
    (0..3).map(|line| format!("{{\"unit\":\"{sequence}-{line}\"}}\n").into_bytes()).collect()
}

/// One life of the process: restores, then seals up to `last`. Panics where a promise was broken.
fn live(disk: &ModelledDisk, promises: &mut Promises, last: u64) -> Result<(), Error> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut store = Store::open(Arc::clone(&disk), Path::new(STATE), keep(2))?;
    let loaded = store.load_newest()?;
    assert_eq!(loaded.passed_over, [], "a crash left something that looks like rot");
    let newest = loaded.newest.as_ref().map(|(sealed, _)| sealed.sequence);
    assert!(newest >= promises.sealed, "{newest:?} was found, {:?} had been sealed", promises.sealed);
    if let Some((sealed, found)) = &loaded.newest {
        assert_eq!(*found, parts(sealed.sequence), "the parts of checkpoint {} are not its own", sealed.sequence);
    }
    // What was loaded is built upon, so from here on it may not be lost either.
    promises.sealed = newest;
    for sequence in store.sequences()? {
        let (_, found) = read_checkpoint(&*disk, &Path::new(STATE).join(format!("checkpoint-{sequence}")))?;
        assert_eq!(found, parts(sequence), "the parts of checkpoint {sequence} are not its own");
    }
    if promises.pinned {
        let (_, found) = read_checkpoint(&*disk, &Path::new(STATE).join("checkpoint-2"))?;
        assert_eq!(found, parts(PINNED));
    }

    let sealed_end = loaded.newest.map(|(sealed, _)| sealed.manifest.facts.side_files[SIDE_FILE]);
    let rotate = NonZeroU64::new(75).unwrap();
    let mut log = Appendix::open(Arc::clone(&disk), Path::new(STATE), Path::new(LOG), rotate, sealed_end)?;
    let mut hold = newest.map(|sequence| store.holds().hold(sequence));
    if newest >= Some(PINNED) && !promises.pinned {
        store.pin(PINNED)?;
        promises.pinned = true;
    }
    let mut parent = newest;
    for sequence in (newest.map_or(1, |newest| newest.0 + 1)..=last).map(Sequence) {
        if sequence.0 == last {
            hold = None;
        }
        for line in lines(sequence) {
            log.append(&line)?;
        }
        let side_files = BTreeMap::from([(String::from(SIDE_FILE), log.sync()?)]);
        store.seal(sequence, &mut (parts(sequence), Facts { parent, side_files, ..Facts::default() }))?;
        promises.sealed = Some(sequence);
        parent = Some(sequence);
        if sequence == PINNED {
            store.pin(PINNED)?;
            promises.pinned = true;
        }
        let held = hold.get_or_insert_with(|| store.holds().hold(sequence)).sequence();
        assert!(store.sequences()?.contains(&held), "checkpoint {held} was pruned while in use");
    }
    Ok(())
}

/// What a life without trouble leaves, and how many changes it takes.
fn undisturbed(last: u64) -> (BTreeMap<PathBuf, Vec<u8>>, u64) {
    let disk = ModelledDisk::new();
    live(&disk, &mut Promises::default(), last).unwrap();
    (disk.files(), disk.changes())
}

fn all_lines(last: u64) -> Vec<u8> {
    (1..=last).flat_map(|sequence| lines(Sequence(sequence))).flatten().collect()
}

const NOTHING: [PathBuf; 0] = [];

/// The paths that do not hold what they hold after an undisturbed life. A draft of a small file may be left: it is
/// overwritten when it is needed again, and nobody reads it.
fn differing(disk: &ModelledDisk, undisturbed: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<PathBuf> {
    let files = disk.files();
    let paths: BTreeSet<&PathBuf> = files.keys().chain(undisturbed.keys()).collect();
    let is_draft = |path: &Path| path.extension().is_some_and(|extension| extension == "draft");
    paths.into_iter().filter(|&path| files.get(path) != undisturbed.get(path) && !is_draft(path)).cloned().collect()
}

/// The side file with its rotated files, in their order.
fn log_of(files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<u8> {
    let name = |file: usize| if file == 0 { PathBuf::from(LOG) } else { PathBuf::from(format!("{LOG}.{file}")) };
    (0..).map_while(|file| files.get(&name(file))).flatten().copied().collect()
}

#[test]
fn an_undisturbed_life_leaves_the_last_ones_and_every_line_once() {
    let (files, _) = undisturbed(6);
    let directories: BTreeSet<String> = files
        .keys()
        .filter_map(|path| Some(path.strip_prefix(STATE).ok()?.iter().next()?.to_str()?.to_owned()))
        .collect();
    let expected = ["checkpoint-2", "checkpoint-5", "checkpoint-6", "writes-decisions.jsonl"];
    assert_eq!(directories.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    assert_eq!(log_of(&files), all_lines(6));
    assert!(files.contains_key(Path::new("/data/out/decisions.jsonl.2")), "the side file was to rotate");
}

#[test]
fn a_crash_at_any_change_is_invisible_whatever_the_reboot_finds() {
    let (_, changes) = undisturbed(6);
    let (undisturbed, _) = undisturbed(7);
    for change in 1..=changes {
        for reboot in Reboot::all(change, 6) {
            let disk = ModelledDisk::new();
            let mut promises = Promises::default();
            disk.trouble_at(change, Trouble::Freeze);
            assert!(live(&disk, &mut promises, 6).is_err() && disk.is_frozen(), "change {change} was survived");
            disk.reboot(reboot);
            // One seal further: the last one before the crash may have missed its prune.
            let outcome = live(&disk, &mut promises, 7);
            assert!(outcome.is_ok(), "frozen at change {change}, {reboot:?}: {outcome:?}");
            assert_eq!(differing(&disk, &undisturbed), NOTHING, "frozen at change {change}, {reboot:?}");
            disk.reboot(Reboot::Lost);
            let outcome = live(&disk, &mut promises, 7);
            assert!(outcome.is_ok(), "frozen at change {change}, {reboot:?}, then power lost: {outcome:?}");
            assert_eq!(log_of(&disk.files()), all_lines(7), "frozen at change {change}, {reboot:?}, then power lost");
        }
    }
}

#[test]
fn a_crash_during_the_recovery_from_a_crash_is_invisible() {
    let (_, changes) = undisturbed(4);
    let (undisturbed, _) = undisturbed(5);
    for first in 1..=changes {
        for second in 1..=30 {
            let kinds = Reboot::all(first * 31 + second, 6);
            let by_chance = [kinds[(first % 12) as usize], kinds[((first * 5 + second) % 12) as usize]];
            // What a killed process left is seen by the next one, and can still be lost with it.
            for reboots in [by_chance, [Reboot::Killed, Reboot::Lost]] {
                let place = format!("frozen at change {first}, then {second}, {reboots:?}");
                let disk = ModelledDisk::new();
                let mut promises = Promises::default();
                for (change, reboot) in [first, second].into_iter().zip(reboots) {
                    disk.trouble_at(change, Trouble::Freeze);
                    let outcome = live(&disk, &mut promises, 4);
                    assert!(outcome.is_ok() || disk.is_frozen(), "{place}: {outcome:?}");
                    disk.reboot(reboot);
                }
                let outcome = live(&disk, &mut promises, 5);
                assert!(outcome.is_ok(), "{place}: {outcome:?}");
                assert_eq!(differing(&disk, &undisturbed), NOTHING, "{place}");
            }
        }
    }
}

#[test]
fn a_change_that_the_system_refuses_is_an_error_and_costs_nothing_that_was_sealed() {
    let (_, changes) = undisturbed(5);
    let (undisturbed, _) = undisturbed(6);
    for change in 1..=changes {
        for number in [libc::ENOSPC, libc::EIO, libc::EROFS] {
            for reboot in [Reboot::Killed, Reboot::Lost, Reboot::NamesOnly, Reboot::Torn(change)] {
                let place = format!("error {number} at change {change}, {reboot:?}");
                let disk = ModelledDisk::new();
                let mut promises = Promises::default();
                disk.trouble_at(change, Trouble::Refuse(number));
                let error = live(&disk, &mut promises, 5).expect_err(&place);
                assert_eq!(error.exit_code(), 74, "{place}: {error}");
                disk.reboot(reboot);
                let outcome = live(&disk, &mut promises, 6);
                assert!(outcome.is_ok(), "{place}: {outcome:?}");
                assert_eq!(differing(&disk, &undisturbed), NOTHING, "{place}");
            }
        }
    }
}

#[test]
fn nothing_is_tried_again_after_a_failed_sync() {
    let (_, changes) = undisturbed(1);
    for change in 1..=changes {
        let disk = ModelledDisk::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut store = Store::open(shared, Path::new(STATE), keep(2)).unwrap();
        disk.trouble_at(change, Trouble::Refuse(libc::EIO));
        if store.seal(Sequence(1), &mut (parts(Sequence(1)), Facts::default())).is_err() {
            let before = disk.changes();
            let again = store.seal(Sequence(2), &mut (parts(Sequence(2)), Facts::default()));
            assert!(matches!(&again, Err(Error::AfterFailure { .. })), "error at change {change}: {again:?}");
            assert_eq!(disk.changes(), before, "error at change {change}: the disk was touched again");
        }
    }
}

#[test]
fn a_full_disk_is_named_with_the_attempt_and_the_path() {
    let disk = ModelledDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut store = Store::open(shared, Path::new(STATE), keep(2)).unwrap();
    // The draft directory, the file `policy`, and then the first write.
    disk.trouble_at(3, Trouble::Refuse(libc::ENOSPC));
    let error = store.seal(Sequence(7), &mut (parts(Sequence(7)), Facts::default())).unwrap_err();
    let Error::Seal { source, .. } = &error else { panic!("{error:?}") };
    let Error::Disk { source: cause, .. } = &**source else { panic!("{error:?}") };
    assert_eq!(error.to_string(), "could not seal checkpoint 7");
    assert_eq!(source.to_string(), "could not write to /data/state/draft-7/policy");
    assert_eq!(cause.kind(), io::ErrorKind::StorageFull);
}
