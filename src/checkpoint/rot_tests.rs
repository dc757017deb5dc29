//! Disks that break their promises: flipped bits, cut, emptied, missing and swapped files. And files that are none of
//! our business.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::crash_tests::{keep, parts};
use super::modelled::ModelledDisk;
use super::*;
use crate::position::{NextOffset, Partition};

const STATE: &str = "/state";

fn facts() -> Facts {
    let mut builder = DigestBuilder::new();
    builder.section("window", b"w").section("sessions", b"s");
    Facts {
        parent: Some(Sequence(1)),
        sealed_at_ms: Some(1_700_000_000_000),
        digest: builder.finish(),
        platform: String::from("x86_64+avx2"),
        position: BTreeMap::from([(Partition(0), NextOffset::boundary(17)), (Partition(11), NextOffset::ZERO)]),
        counters: BTreeMap::from([(String::from("records"), u64::MAX)]),
        settings: SettingsDigests { structural: String::from("aa"), tunable: String::from("bb") },
        log: LogIdentity {
            name: String::from("cluster-1"),
            last_records: BTreeMap::from([(Partition(0), String::from("cc"))]),
        },
        complete: true,
        side_files: BTreeMap::from([(String::from("decisions"), End { file: 3, length: 400 })]),
    }
}

fn path(relative: &str) -> PathBuf {
    Path::new(STATE).join(relative)
}

fn store_on(disk: &ModelledDisk) -> Store {
    Store::open(Arc::new(disk.clone()), Path::new(STATE), keep(3)).unwrap()
}

/// A disk with the checkpoints 1 to `count`.
fn disk_with(count: u64) -> ModelledDisk {
    let disk = ModelledDisk::new();
    let mut store = store_on(&disk);
    for sequence in (1..=count).map(Sequence) {
        store.seal(sequence, &mut (parts(sequence), facts())).unwrap();
    }
    disk
}

fn newest(loaded: &Loaded) -> Option<Sequence> {
    let (sealed, found) = loaded.newest.as_ref()?;
    assert_eq!(*found, parts(sealed.sequence));
    Some(sealed.sequence)
}

/// The first checkpoint wins over a second one that is broken, and this is why.
fn flaw_of_the_second(disk: &ModelledDisk, place: &str) -> Flaw {
    let loaded = read_newest(disk, Path::new(STATE)).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(newest(&loaded), Some(Sequence(1)), "{place}");
    let [PassedOver { sequence: Sequence(2), flaw }] = &loaded.passed_over[..] else {
        panic!("{place}: {:?}", loaded.passed_over)
    };
    flaw.clone()
}

#[test]
fn what_was_sealed_is_what_is_loaded() {
    let disk = ModelledDisk::new();
    let sealed = store_on(&disk).seal(Sequence(7), &mut (parts(Sequence(7)), facts())).unwrap();
    let loaded = store_on(&disk).load_newest().unwrap();
    assert_eq!(loaded.passed_over, []);
    assert_eq!(loaded.newest, Some((sealed.clone(), parts(Sequence(7)))));
    assert_eq!(sealed.manifest.facts, facts());
    assert_eq!(sealed.directory, path("checkpoint-7"));
    assert_eq!(read_checkpoint(&disk, &sealed.directory).unwrap(), (sealed, parts(Sequence(7))));
}

#[test]
fn an_empty_directory_and_none_at_all_hold_nothing() {
    let disk = ModelledDisk::new();
    let nothing = Loaded { newest: None, passed_over: Vec::new() };
    assert_eq!(read_newest(&disk, Path::new(STATE)).unwrap(), nothing);
    assert_eq!(store_on(&disk).load_newest().unwrap(), nothing);
}

#[test]
fn one_flipped_bit_anywhere_is_noticed() {
    for name in ["policy", "optimizer", "state", "manifest.json"] {
        let disk = disk_with(2);
        let file = path("checkpoint-2").join(name);
        let bits = disk.files()[&file].len() * 8;
        for bit in 0..bits {
            let flip = |content: &mut Vec<u8>| content[bit / 8] ^= 1 << (bit % 8);
            disk.tamper(&file, flip);
            flaw_of_the_second(&disk, &format!("bit {bit} of {name}"));
            disk.tamper(&file, flip);
        }
        assert_eq!(newest(&read_newest(&disk, Path::new(STATE)).unwrap()), Some(Sequence(2)));
    }
}

#[test]
fn a_file_cut_anywhere_or_grown_is_noticed() {
    for name in ["policy", "optimizer", "state", "manifest.json"] {
        let disk = disk_with(2);
        let file = path("checkpoint-2").join(name);
        let whole = disk.files()[&file].clone();
        for length in 0..whole.len() {
            disk.tamper(&file, |content| content.truncate(length));
            flaw_of_the_second(&disk, &format!("{name} cut to {length}"));
            disk.tamper(&file, |content| content.clone_from(&whole));
        }
        disk.tamper(&file, |content| content.push(b'\n'));
        flaw_of_the_second(&disk, &format!("{name} grown by one"));
    }
}

#[test]
fn each_flaw_is_told_by_its_name() {
    let file = |name: &str| path("checkpoint-2").join(name);
    let disk = disk_with(2);
    disk.tamper(&file("state"), |content| content.clear());
    let flaw = Flaw::PartLength { part: Part::State, sealed: 96, found: 0 };
    assert_eq!(flaw_of_the_second(&disk, "empty part"), flaw);

    let disk = disk_with(2);
    disk.tamper(&file("policy"), |content| content[0] ^= 1);
    assert_eq!(flaw_of_the_second(&disk, "rotten part"), Flaw::PartChecksum(Part::Policy));

    let disk = disk_with(2);
    disk.remove_file(&file("optimizer")).unwrap();
    let flaw = Flaw::PartUnreadable(Part::Optimizer, std::io::ErrorKind::NotFound);
    assert_eq!(flaw_of_the_second(&disk, "missing part"), flaw);
    disk.create_directory(&file("optimizer")).unwrap();
    let flaw = Flaw::PartUnreadable(Part::Optimizer, std::io::ErrorKind::IsADirectory);
    assert_eq!(flaw_of_the_second(&disk, "a directory for a part"), flaw);

    let disk = disk_with(2);
    disk.remove_file(&file("manifest.json")).unwrap();
    let flaw = Flaw::ManifestUnreadable(std::io::ErrorKind::NotFound);
    assert_eq!(flaw_of_the_second(&disk, "missing manifest"), flaw);

    let disk = disk_with(2);
    let first = disk.files()[&path("checkpoint-1/manifest.json")].clone();
    disk.tamper(&file("manifest.json"), |content| content.clone_from(&first));
    assert_eq!(flaw_of_the_second(&disk, "another's manifest"), Flaw::OtherSequence(Sequence(1)));
}

#[test]
fn a_rotten_checkpoint_is_passed_over_set_aside_and_its_number_is_free_again() {
    let disk = disk_with(3);
    disk.tamper(&path("checkpoint-3/state"), |content| content[5] ^= 4);
    let mut store = store_on(&disk);
    let loaded = store.load_newest().unwrap();
    assert_eq!(newest(&loaded), Some(Sequence(2)));
    assert_eq!(loaded.passed_over, [PassedOver { sequence: Sequence(3), flaw: Flaw::PartChecksum(Part::State) }]);
    assert!(disk.files().contains_key(&path("broken-3/state")), "the evidence was to be kept");

    store.seal(Sequence(3), &mut (parts(Sequence(3)), facts())).unwrap();
    let loaded = store.load_newest().unwrap();
    assert_eq!((newest(&loaded), loaded.passed_over), (Some(Sequence(3)), Vec::new()));
}

#[test]
fn when_nothing_is_intact_every_start_says_so_and_nothing_is_moved() {
    let disk = disk_with(2);
    disk.tamper(&path("checkpoint-1/policy"), |content| content[0] ^= 1);
    disk.tamper(&path("checkpoint-2/manifest.json"), |content| content[40] ^= 1);
    let before = disk.files();
    for _ in 0..2 {
        let error = store_on(&disk).load_newest().unwrap_err();
        assert_eq!(error.exit_code(), 65);
        let text = error.to_string();
        assert!(text.contains("checkpoint-2: the checksum of its manifest is wrong"), "{text}");
        assert!(text.contains("checkpoint-1: the checksum of its policy is wrong"), "{text}");
        assert_eq!(disk.files(), before);
    }
}

#[test]
fn files_of_others_are_neither_read_nor_touched() {
    let disk = disk_with(2);
    let others = ["notes.txt", "checkpoint-2/notes.txt", "checkpoint-9", "draft-1.txt"];
    for other in others {
        disk.create(&path(other)).unwrap();
    }
    for other in ["checkpoint-007", "checkpoint-x", "checkpoint-", "checkpoint-2.old", "draft-x"] {
        disk.create_directory(&path(other)).unwrap();
        disk.create(&path(other).join("file")).unwrap();
    }
    // A file with a checkpoint's name is no checkpoint either, but it is in the way of one, so it is reported.
    let mut store = store_on(&disk);
    let loaded = store.load_newest().unwrap();
    assert_eq!(newest(&loaded), Some(Sequence(2)));
    let flaw = Flaw::ManifestUnreadable(std::io::ErrorKind::NotADirectory);
    assert_eq!(loaded.passed_over, [PassedOver { sequence: Sequence(9), flaw }]);
    let files = disk.files();
    for other in
        ["notes.txt", "checkpoint-2/notes.txt", "broken-9", "draft-1.txt", "checkpoint-007/file", "draft-x/file"]
    {
        assert!(files.contains_key(&path(other)), "{other} is gone");
    }
}

#[test]
fn a_pruned_checkpoint_goes_with_whatever_was_put_into_it() {
    let disk = disk_with(3);
    disk.create_directory(&path("checkpoint-1/deep")).unwrap();
    disk.create(&path("checkpoint-1/deep/file")).unwrap();
    store_on(&disk).seal(Sequence(4), &mut (parts(Sequence(4)), facts())).unwrap();
    assert!(disk.files().keys().all(|file| !file.starts_with(path("checkpoint-1"))));
    assert!(disk.look_up(&path("discarded-1")).unwrap().is_none());
}

#[test]
fn pinned_checkpoints_and_those_in_use_are_never_pruned() {
    let disk = disk_with(3);
    let mut store = store_on(&disk);
    store.pin(Sequence(1)).unwrap();
    let holds = store.holds();
    let (hold, again) = (holds.hold(Sequence(2)), holds.hold(Sequence(2)));
    for sequence in (4..=8).map(Sequence) {
        store.seal(sequence, &mut (parts(sequence), facts())).unwrap();
    }
    assert_eq!(store.sequences().unwrap(), [1, 2, 6, 7, 8].map(Sequence));
    drop(hold);
    store.seal(Sequence(9), &mut (parts(Sequence(9)), facts())).unwrap();
    assert_eq!(store.sequences().unwrap(), [1, 2, 7, 8, 9].map(Sequence), "it is still in use by one more");
    drop(again);
    store.unpin(Sequence(1)).unwrap();
    store.seal(Sequence(10), &mut (parts(Sequence(10)), facts())).unwrap();
    assert_eq!(store.sequences().unwrap(), [8, 9, 10].map(Sequence));
    assert!(matches!(store.pin(Sequence(1)), Err(Error::Absent { sequence: Sequence(1), .. })));
}

#[test]
fn of_broken_checkpoints_too_only_the_last_are_kept() {
    let disk = disk_with(1);
    let mut store = store_on(&disk);
    for sequence in (2..=9).map(Sequence) {
        store.seal(sequence, &mut (parts(sequence), facts())).unwrap();
        disk.tamper(&path(&format!("checkpoint-{sequence}/state")), |content| content[0] ^= 1);
        assert_eq!(newest(&store.load_newest().unwrap()), Some(Sequence(1)));
    }
    store.seal(Sequence(10), &mut (parts(Sequence(10)), facts())).unwrap();
    let broken = |number: u64| disk.look_up(&path(&format!("broken-{number}"))).unwrap().is_some();
    assert_eq!((1..=10).filter(|&number| broken(number)).collect::<Vec<_>>(), [7, 8, 9]);
}

#[test]
fn a_number_is_never_given_twice_nor_backwards() {
    let disk = disk_with(3);
    for sequence in [Sequence(2), Sequence(3)] {
        let before = disk.files();
        let error = store_on(&disk).seal(sequence, &mut (parts(sequence), facts())).unwrap_err();
        let Error::Seal { source, .. } = error else { panic!("{error:?}") };
        assert!(matches!(*source, Error::Taken { newest: Sequence(3), .. }), "{source:?}");
        assert_eq!(disk.files(), before);
    }
}

/// Changes the text of a manifest and makes its checksum right again, by the rule in the module's head.
fn rewrite(disk: &ModelledDisk, file: &Path, from: &str, to: &str) {
    disk.tamper(file, |content| {
        let text = String::from_utf8(content.clone()).unwrap().replacen(from, to, 1);
        let place = text.rfind("\"checksum\": \"").unwrap() + "\"checksum\": \"".len();
        let blank = [&text[..place], &"0".repeat(64), &text[place + 64..]].concat();
        let checksum = blake3::hash(blank.as_bytes()).to_hex();
        *content = [&text[..place], checksum.as_str(), &text[place + 64..]].concat().into_bytes();
    });
}

#[test]
fn a_checkpoint_of_a_newer_format_is_refused_with_a_clear_word() {
    let disk = disk_with(2);
    let file = path("checkpoint-2/manifest.json");
    rewrite(&disk, &file, "\"format\": 1", "\"format\": 1000");
    rewrite(&disk, &file, "\"facts\"", "\"named differently in a newer format\"");
    let error = store_on(&disk).load_newest().unwrap_err();
    assert_eq!(error.exit_code(), 65);
    let program = format!("sluicebox {}", env!("CARGO_PKG_VERSION"));
    let text = format!(
        "/state/checkpoint-2 was made by a newer version ({program}, format 1000): this one reads formats up to 1"
    );
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_sound_manifest_that_makes_no_sense_is_passed_over() {
    for (from, to) in
        [("\"position\"", "\"positron\""), ("\"format\": 1", "\"format\": 0"), ("\"format\"", "\"former\"")]
    {
        let disk = disk_with(2);
        rewrite(&disk, &path("checkpoint-2/manifest.json"), from, to);
        let flaw = flaw_of_the_second(&disk, to);
        assert!(matches!(flaw, Flaw::Manifest(_)), "{to}: {flaw:?}");
    }
    let disk = disk_with(2);
    rewrite(&disk, &path("checkpoint-2/manifest.json"), "cluster-1", "cluster-2");
    assert_eq!(newest(&read_newest(&disk, Path::new(STATE)).unwrap()), Some(Sequence(2)), "the helper is sound");
}

#[test]
fn a_description_tells_what_people_ask_about() {
    let disk = disk_with(2);
    let (sealed, _) = read_newest(&disk, Path::new(STATE)).unwrap().newest.unwrap();
    let text = sealed.manifest.describe();
    let digest = facts().digest.to_string();
    for fact in ["2 (format 1,", "2023-11-14T22:13:20Z", &digest, "partition 11: next offset 0", "cluster-1"] {
        assert!(text.contains(fact), "{fact:?} is not in\n{text}");
    }
}

/// `inspect` may look while the owner seals and prunes: it finds one intact checkpoint or another, and no fault.
#[test]
fn a_reader_beside_the_owner_never_sees_a_fault() {
    let disk = disk_with(1);
    let owner = disk.clone();
    let sealing = std::thread::spawn(move || {
        let mut store = Store::open(Arc::new(owner), Path::new(STATE), keep(1)).unwrap();
        for sequence in (2..=400).map(Sequence) {
            store.seal(sequence, &mut (parts(sequence), facts())).unwrap();
        }
    });
    let mut last = Sequence(1);
    // Ends too when the owner has failed, and then says so below.
    while !sealing.is_finished() {
        let loaded = read_newest(&disk, Path::new(STATE)).unwrap_or_else(|error| panic!("after {last}: {error}"));
        assert_eq!(loaded.passed_over, [], "after {last}");
        let found = newest(&loaded).unwrap();
        assert!(found >= last, "{found} was found after {last}");
        last = found;
    }
    sealing.join().unwrap();
}
