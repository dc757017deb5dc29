//! The same on the disk of this machine: claims, side files, marks, and what a system refuses.

use std::error::Error as _;
use std::fs;
use std::num::NonZeroU64;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::crash_tests::{keep, parts};
use super::*;

fn real() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn bytes(count: u64) -> NonZeroU64 {
    NonZeroU64::new(count).unwrap()
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[test]
fn what_was_sealed_is_loaded_by_the_next_process() {
    let directory = TempDir::new().unwrap();
    let state = directory.path().join("a/new/state");
    let mut store = Store::open(real(), &state, keep(2)).unwrap();
    // Larger than one write.
    let large = Parts { state: (0..3_000_000_u32).map(|index| (index * index) as u8).collect(), ..parts(Sequence(1)) };
    for sequence in (1..=4).map(Sequence) {
        store.seal(sequence, &mut (large.clone(), Facts::default())).unwrap();
    }
    let mut names: Vec<_> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["checkpoint-3", "checkpoint-4"]);
    let loaded = Store::open(real(), &state, keep(2)).unwrap().load_newest().unwrap();
    let (sealed, found) = loaded.newest.unwrap();
    assert_eq!((sealed.sequence, found == large), (Sequence(4), true));
}

#[test]
fn a_directory_that_cannot_be_written_is_named_with_the_reason() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for (state, reason) in [(file.clone(), "not a directory"), (file.join("state"), "Not a directory (os error 20)")] {
        let error = Store::open(real(), &state, keep(2)).unwrap_err();
        let text = chain(&error);
        assert!(text.contains(&file.display().to_string()) && text.ends_with(reason), "{text}");
        assert_eq!(error.exit_code(), 74);
    }
    // Even root cannot create a directory there.
    let text = chain(&Store::open(real(), Path::new("/proc/sluicebox"), keep(2)).unwrap_err());
    assert!(text.starts_with("could not create the directory /proc/sluicebox: "), "{text}");
}

#[test]
fn a_disk_that_is_full_shows_in_a_side_file_and_is_final() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("decisions.jsonl");
    symlink("/dev/full", &path).unwrap();
    let mut log = Appendix::open(real(), directory.path(), &path, bytes(1 << 20), None).unwrap();
    log.append(b"a line\n").unwrap();
    let error = log.sync().unwrap_err();
    let text = format!("could not write to {}: No space left on device (os error 28)", path.display());
    assert_eq!(chain(&error), text);
    assert!(matches!(log.append(b"a line\n"), Err(Error::AfterFailure { .. })));
    assert!(matches!(log.sync(), Err(Error::AfterFailure { .. })));
}

#[test]
fn a_second_process_on_one_state_directory_is_told_who_holds_it() {
    let directory = TempDir::new().unwrap();
    let claim = StateDirectory::claim(&RealDisk, directory.path(), Purpose::Run).unwrap();
    for purpose in [Purpose::Run, Purpose::Replay] {
        let error = StateDirectory::claim(&RealDisk, directory.path(), purpose).unwrap_err();
        assert!(matches!(error, Error::Locked { holder: Some(process), .. } if process == std::process::id()));
        assert!(error.to_string().ends_with(&format!("is in use by process {}", std::process::id())), "{error}");
        assert_eq!(error.exit_code(), 75);
    }
    drop(claim);
    StateDirectory::claim(&RealDisk, directory.path(), Purpose::Run).unwrap();
}

#[test]
fn a_replay_never_touches_a_run_and_a_run_only_continues_from_a_replay() {
    let claim = |directory: &TempDir, purpose| match StateDirectory::claim(&RealDisk, directory.path(), purpose) {
        Ok(_) => true,
        Err(Error::Owned { .. }) => false,
        Err(error) => panic!("{error}"),
    };
    let of_run = TempDir::new().unwrap();
    assert!(claim(&of_run, Purpose::Run));
    assert!(!claim(&of_run, Purpose::Replay));
    assert!(claim(&of_run, Purpose::Continue) && claim(&of_run, Purpose::Run));

    let of_replay = TempDir::new().unwrap();
    assert!(claim(&of_replay, Purpose::Replay) && claim(&of_replay, Purpose::Replay));
    assert!(!claim(&of_replay, Purpose::Run));
    assert!(claim(&of_replay, Purpose::Continue) && claim(&of_replay, Purpose::Run));
    assert!(!claim(&of_replay, Purpose::Replay), "it belongs to `run` now");

    fs::write(of_run.path().join("owner"), "somebody\n").unwrap();
    assert!(!claim(&of_run, Purpose::Run) && !claim(&of_run, Purpose::Continue));
}

#[test]
fn a_mark_is_reached_once_just_before_its_change() {
    let count = |at| {
        let directory = TempDir::new().unwrap();
        let reached = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&reached);
        let path = directory.path().join("file");
        let at_mark = path.clone();
        let disk = MarkedDisk::new(real(), at, move || {
            // The change itself has not happened yet: the third one writes.
            assert_eq!(fs::metadata(&at_mark).map_or(0, |metadata| metadata.len()), 0);
            seen.fetch_add(1, Ordering::Relaxed);
        });
        disk.create_directory(&directory.path().join("inner")).unwrap();
        let mut file = disk.create(&path).unwrap();
        file.write(b"12").unwrap();
        file.sync().unwrap();
        assert_eq!(disk.read(&path, 2).unwrap(), b"12");
        assert_eq!(disk.changes(), 4);
        reached.load(Ordering::Relaxed)
    };
    assert_eq!([0, 1, 3, 5].map(count), [0, 1, 1, 0]);
}

#[test]
fn a_real_file_is_read_up_to_the_limit_only() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "12345").unwrap();
    assert_eq!(RealDisk.read(&path, 5).unwrap(), b"12345");
    assert_eq!(RealDisk.read(&path, 4).unwrap_err().kind(), std::io::ErrorKind::FileTooLarge);
}

#[test]
fn a_side_file_rotates_and_comes_back_to_where_it_was_sealed() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("out/dead letters.jsonl");
    let open = |sealed| Appendix::open(real(), directory.path(), &path, bytes(10), sealed).unwrap();
    let read = |name: &str| fs::read_to_string(directory.path().join("out").join(name)).ok();
    let mut log = open(None);
    log.append(b"1234\n").unwrap();
    let first = log.sync().unwrap();
    assert_eq!(first, End { file: 0, length: 5 });
    for line in ["5678\n", "a line larger than the limit\n", "9\n"] {
        log.append(line.as_bytes()).unwrap();
    }
    let second = log.sync().unwrap();
    assert_eq!(second, End { file: 2, length: 2 });
    let files = || ["dead letters.jsonl", "dead letters.jsonl.1", "dead letters.jsonl.2"].map(read);
    let written = ["1234\n5678\n", "a line larger than the limit\n", "9\n"].map(|text| Some(String::from(text)));
    assert_eq!(files(), written);
    log.append(b"unsealed\n").unwrap();
    log.flush().unwrap();

    drop(open(Some(second)));
    assert_eq!(files(), written);
    let mut log = open(Some(first));
    assert_eq!(files(), [Some(String::from("1234\n")), None, None]);
    for line in ["5678\n", "a line larger than the limit\n", "9\n"] {
        log.append(line.as_bytes()).unwrap();
    }
    assert_eq!(log.sync().unwrap(), second);
    assert_eq!(files(), written);
    // Before anything was sealed, our own file starts again from nothing.
    drop(open(None));
    assert_eq!(files(), [Some(String::new()), None, None]);
}

#[test]
fn a_file_of_somebody_else_is_never_cut() {
    let directory = TempDir::new().unwrap();
    let (state, path) = (directory.path().join("state"), directory.path().join("precious.txt"));
    ensure_directory(&RealDisk, &state).unwrap();
    fs::write(&path, "precious").unwrap();
    let open = || Appendix::open(real(), &state, &path, bytes(100), None);
    let error = open().unwrap_err();
    assert!(matches!(error, Error::NotOurs { .. }), "{error}");
    assert_eq!(error.exit_code(), 78);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

    fs::write(&path, "").unwrap();
    fs::write(directory.path().join("precious.txt.4"), "precious").unwrap();
    assert!(matches!(open(), Err(Error::NotOurs { .. })));
    fs::remove_file(directory.path().join("precious.txt.4")).unwrap();
    open().unwrap();
}

#[test]
fn a_side_file_cut_behind_the_checkpoint_is_an_error() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("decisions.jsonl");
    let open = |sealed| Appendix::open(real(), directory.path(), &path, bytes(100), sealed);
    let mut log = open(None).unwrap();
    log.append(b"12345\n").unwrap();
    let end = log.sync().unwrap();
    fs::write(&path, "123").unwrap();
    let error = open(Some(end)).unwrap_err();
    assert!(matches!(error, Error::ShorterThanSealed { found: 3, sealed: 6, .. }), "{error}");
    fs::remove_file(&path).unwrap();
    assert!(matches!(open(Some(end)), Err(Error::ShorterThanSealed { found: 0, sealed: 6, .. })));
}

#[test]
fn a_failed_seal_is_told_and_final() {
    let directory = TempDir::new().unwrap();
    let state = directory.path().join("state");
    let mut store = Store::open(real(), &state, keep(2)).unwrap();
    let mut seal = || store.seal(Sequence(1), &mut (parts(Sequence(1)), Facts::default())).map(|_| ());
    fs::remove_dir(&state).unwrap();
    fs::write(&state, "in the way").unwrap();
    let error = seal().unwrap_err();
    assert!(matches!(error, Error::Seal { .. }) && error.exit_code() == 74, "{error}");
    fs::remove_file(&state).unwrap();
    fs::create_dir(&state).unwrap();
    assert!(matches!(seal(), Err(Error::AfterFailure { .. })));
}
