//! On a real directory: what is published is read back, what is broken is refused, and no crash is seen by a reader.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::catalog::Catalog;
use crate::checkpoint::{Disk, DiskFile, Found, RealDisk};
use crate::policy::{Head, Tensor};

fn softmax(shift: f32) -> Policy {
    let tensors = vec![
        Tensor::new("layer.0.weight", vec![1, 2], vec![1.0 + shift, -1.0]),
        Tensor::new("layer.0.bias", vec![2], vec![0.5, 0.25]),
        Tensor::new("item_vectors", vec![3, 2], vec![1.0, 0.0, 0.0, 1.0, 2.0, -1.0]),
    ];
    Policy::new(1, Head::Learned { dimension: 2 }, tensors, None).unwrap()
}

fn draft(version: u64, shift: f32) -> Draft {
    let encoder = StateEncoder {
        context_dimension: 1,
        pooling: Pooling::None,
        hashed_dimension: 4,
        catalog: Arc::new(Catalog::default()),
    };
    Draft {
        version,
        serving: Serving { temperature: 0.5, tilt: 0.0 },
        ..Draft::of_nobody(softmax(shift), &["a", "b", "c"], &encoder)
    }
}

fn publications(directory: &std::path::Path) -> Publications {
    Publications::open(Arc::new(RealDisk), directory, 3).unwrap()
}

fn publish(publications: &Publications, draft: &Draft) -> Published {
    match publications.publish(draft, None, true).unwrap() {
        Outcome::Published(published) => published,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_published_is_read_back_through_current() {
    let directory = tempfile::tempdir().unwrap();
    let publications = publications(directory.path());
    assert!(matches!(read(&RealDisk, directory.path()), Err(PublishError::Nothing { .. })));
    publish(&publications, &draft(5, 0.0));
    let second = publish(&publications, &draft(9, 1.0));
    assert_eq!(second.manifest.lineage.parent, Some(Parent { name: "5".to_owned(), version: 5 }));
    let current = directory.path().join("current");
    for place in [directory.path(), &current, &directory.path().join("9")] {
        let publication = read(&RealDisk, place).unwrap();
        assert_eq!((publication.manifest.version, &publication.policy), (9, &softmax(1.0)), "{}", place.display());
    }
    assert_eq!(read(&RealDisk, &directory.path().join("5")).unwrap().policy, softmax(0.0));
}

#[test]
fn the_same_content_again_changes_nothing_and_other_content_gets_its_own_name() {
    let directory = tempfile::tempdir().unwrap();
    let publications = publications(directory.path());
    publish(&publications, &draft(5, 0.0));
    let names = || fs::read_dir(directory.path()).unwrap().count();
    let before = names();
    assert!(matches!(publications.publish(&draft(5, 0.0), None, true).unwrap(), Outcome::Unchanged(_)));
    assert_eq!(names(), before);
    let other = publish(&publications, &draft(5, 1.0));
    assert!(other.name.starts_with("5-"), "{}", other.name);
    // Going back to what is there already is no third publication.
    assert_eq!(publish(&publications, &draft(5, 0.0)).name, "5");
    assert_eq!(publications.list().unwrap().len(), 2);
}

#[test]
fn a_torn_or_rotten_publication_is_refused_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let published = publish(&publications(directory.path()), &draft(5, 0.0));
    for name in [POLICY, MANIFEST] {
        let path = published.directory.join(name);
        let whole = fs::read(&path).unwrap();
        for place in [0, whole.len() / 2, whole.len() - 1] {
            let mut rotten = whole.clone();
            rotten[place] ^= 1;
            fs::write(&path, rotten).unwrap();
            let error = read(&RealDisk, directory.path()).unwrap_err();
            assert!(matches!(error, PublishError::Broken { .. }), "{name}, byte {place}: {error}");
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(matches!(read(&RealDisk, directory.path()), Err(PublishError::Broken { .. })), "{name} is short");
        fs::remove_file(&path).unwrap();
        assert!(read(&RealDisk, directory.path()).is_err(), "{name} is gone");
        fs::write(&path, &whole).unwrap();
    }
    read(&RealDisk, directory.path()).unwrap();
}

#[test]
fn a_rotten_current_does_not_stand_in_the_way_of_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let publications = publications(directory.path());
    let first = publish(&publications, &draft(5, 0.0));
    fs::write(first.directory.join(MANIFEST), "{}").unwrap();
    assert_eq!(publish(&publications, &draft(6, 0.0)).manifest.lineage.parent, None);
    // Nor does it keep its own name from being used again.
    assert_eq!(publish(&publications, &draft(5, 0.0)).name, "5");
    read(&RealDisk, &directory.path().join("5")).unwrap();
}

#[test]
fn the_gate_keeps_current_and_a_rollback_holds_it() {
    let directory = tempfile::tempdir().unwrap();
    let publications = publications(directory.path());
    let evaluated = |version: u64, value: f64| Draft {
        evaluation: Some(Evaluation { estimate: "snips".to_owned(), value, interval: None, n: 9 }),
        ..draft(version, version as f32)
    };
    let gate = Some(Gate { margin: 0.1 });
    let current = || publications.current().unwrap().unwrap().manifest.version;
    for (version, value, expected) in [(1, 10.0, 1), (2, 9.5, 2), (3, 5.0, 2)] {
        publications.publish(&evaluated(version, value), gate, false).unwrap();
        assert_eq!(current(), expected);
    }
    assert_eq!(publications.roll_back(None).unwrap().manifest.version, 1);
    assert_eq!(current(), 1);
    assert!(matches!(publications.publish(&evaluated(4, 99.0), gate, false).unwrap(), Outcome::Held));
    assert!(matches!(publications.roll_back(None), Err(PublishError::NoParent { .. })));
    let error = publications.roll_back(Some("77")).unwrap_err();
    assert!(error.to_string().contains("there are 1, 2"), "{error}");
    // A person's wish lifts the hold.
    publications.publish(&evaluated(4, 99.0), gate, true).unwrap();
    publications.publish(&evaluated(5, 99.0), gate, false).unwrap();
    assert_eq!(current(), 5);
}

#[test]
fn old_publications_go_but_never_current_or_its_parent() {
    let directory = tempfile::tempdir().unwrap();
    let publications = publications(directory.path());
    (1..=6).for_each(|version| {
        publish(&publications, &draft(version, version as f32));
    });
    let versions = || publications.list().unwrap().iter().map(|one| one.manifest.version).collect::<Vec<_>>();
    assert_eq!(versions(), [4, 5, 6]);
    publications.roll_back(Some("4")).unwrap();
    publish(&publications, &draft(7, 7.0));
    assert_eq!(versions(), [4, 6, 7]);
}

#[test]
fn an_export_takes_only_a_place_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    write_to(&RealDisk, &out, &draft(5, 0.0)).unwrap();
    assert_eq!(read(&RealDisk, &out).unwrap().policy, softmax(0.0));
    write_to(&RealDisk, &out, &draft(5, 0.0)).unwrap();
    assert!(matches!(write_to(&RealDisk, &out, &draft(6, 1.0)), Err(PublishError::Taken { .. })));
    let empty = directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    write_to(&RealDisk, &empty, &draft(6, 1.0)).unwrap();
}

/// Stops dead before its n-th change, as a killed process does.
#[derive(Debug)]
struct Dying {
    left: AtomicU64,
}

impl Dying {
    fn step(&self) -> io::Result<()> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(|_| ()).map_err(|_| io::Error::other("killed"))
    }
}

impl Disk for Dying {
    fn create_directory(&self, path: &std::path::Path) -> io::Result<()> {
        self.step().and_then(|()| RealDisk.create_directory(path))
    }

    fn create(&self, path: &std::path::Path) -> io::Result<Box<dyn DiskFile>> {
        self.step().and_then(|()| RealDisk.create(path))
    }

    fn append(&self, path: &std::path::Path) -> io::Result<Box<dyn DiskFile>> {
        self.step().and_then(|()| RealDisk.append(path))
    }

    fn rename(&self, from: &std::path::Path, to: &std::path::Path) -> io::Result<()> {
        self.step().and_then(|()| RealDisk.rename(from, to))
    }

    fn link(&self, target: &std::path::Path, path: &std::path::Path) -> io::Result<()> {
        self.step().and_then(|()| RealDisk.link(target, path))
    }

    fn remove_file(&self, path: &std::path::Path) -> io::Result<()> {
        self.step().and_then(|()| RealDisk.remove_file(path))
    }

    fn remove_directory(&self, path: &std::path::Path) -> io::Result<()> {
        self.step().and_then(|()| RealDisk.remove_directory(path))
    }

    fn sync_directory(&self, path: &std::path::Path) -> io::Result<()> {
        self.step().and_then(|()| RealDisk.sync_directory(path))
    }

    fn read(&self, path: &std::path::Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        RealDisk.read(path, bytes_max)
    }

    fn look_up(&self, path: &std::path::Path) -> io::Result<Option<Found>> {
        RealDisk.look_up(path)
    }

    fn list(&self, directory: &std::path::Path) -> io::Result<Vec<std::ffi::OsString>> {
        RealDisk.list(directory)
    }
}

#[test]
fn a_crash_at_any_change_leaves_the_old_publication_or_the_new_one() {
    let (mut old, mut new) = (0, 0);
    for left in 0.. {
        let directory = tempfile::tempdir().unwrap();
        (1..=3).for_each(|version| {
            publish(&publications(directory.path()), &draft(version, version as f32));
        });
        let dying = Arc::new(Dying { left: AtomicU64::new(left) });
        let outcome = Publications::open(dying, directory.path(), 3)
            .and_then(|publications| publications.publish(&draft(4, 4.0), None, true));
        match read(&RealDisk, directory.path()).unwrap().manifest.version {
            3 => old += 1,
            4 => new += 1,
            other => panic!("{other} after {left} changes"),
        }
        // The next attempt finishes what was begun.
        publications(directory.path()).publish(&draft(4, 4.0), None, true).unwrap();
        assert_eq!(read(&RealDisk, directory.path()).unwrap().policy, softmax(4.0), "after {left} changes");
        if outcome.is_ok() {
            break;
        }
    }
    assert!(old > 5 && new > 1, "{old} before, {new} after");
}

#[test]
fn rotten_tensors_of_the_current_publication_are_written_again_under_the_same_parent() {
    let directory = tempfile::tempdir().unwrap();
    let publications = publications(directory.path());
    publish(&publications, &draft(5, 0.0));
    let second = publish(&publications, &draft(6, 0.0));
    fs::write(second.directory.join(POLICY), "rotten").unwrap();
    let again = publish(&publications, &draft(6, 0.0));
    assert_eq!((&again.name, &again.manifest.lineage.parent), (&second.name, &second.manifest.lineage.parent));
    assert_eq!(read(&RealDisk, directory.path()).unwrap().policy, softmax(0.0));
    assert!(matches!(publications.publish(&draft(6, 0.0), None, true).unwrap(), Outcome::Unchanged(_)));
    // Without its manifest nobody knows the parent: it is the newest that can be read.
    fs::write(second.directory.join(MANIFEST), "rotten").unwrap();
    let nothing = publications.publish(&draft(0, 0.0), None, true).unwrap();
    assert!(matches!(nothing, Outcome::Refused(_)), "{nothing:?}");
    assert_eq!(publish(&publications, &draft(6, 0.0)).manifest.lineage.parent, again.manifest.lineage.parent);
}

#[test]
fn a_crash_while_a_rotten_publication_is_replaced_is_finished_by_the_next_attempt() {
    for left in 0.. {
        let directory = tempfile::tempdir().unwrap();
        publish(&publications(directory.path()), &draft(5, 0.0));
        let second = publish(&publications(directory.path()), &draft(6, 0.0));
        fs::write(second.directory.join(POLICY), "rotten").unwrap();
        let dying = Arc::new(Dying { left: AtomicU64::new(left) });
        let outcome = Publications::open(dying, directory.path(), 3)
            .and_then(|publications| publications.publish(&draft(6, 0.0), None, true));
        let again = publications(directory.path()).publish(&draft(6, 0.0), None, true).unwrap();
        let (Outcome::Published(again) | Outcome::Unchanged(again)) = again else { panic!("{again:?}") };
        assert_eq!(again.manifest.lineage.parent, second.manifest.lineage.parent, "after {left} changes");
        assert_eq!(read(&RealDisk, directory.path()).unwrap().manifest.version, 6, "after {left} changes");
        if outcome.is_ok() {
            assert!(left > 5, "{left}");
            break;
        }
    }
}

#[test]
fn what_has_learned_nothing_does_not_follow_what_has() {
    let directory = tempfile::tempdir().unwrap();
    let publications = publications(directory.path());
    publish(&publications, &draft(0, 0.0));
    publish(&publications, &draft(5, 0.0));
    let Outcome::Refused(reason) = publications.publish(&draft(0, 1.0), None, true).unwrap() else { panic!() };
    assert!(reason.contains("no update"), "{reason}");
    assert_eq!(publications.current().unwrap().unwrap().name, "5");
}

#[test]
fn going_back_from_a_rotten_manifest_asks_for_a_name_and_gives_those_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    assert!(matches!(Publications::existing(Arc::new(RealDisk), &missing, 3), Err(PublishError::Nothing { .. })));
    assert!(!missing.exists());
    let publications = publications(directory.path());
    assert!(matches!(publications.roll_back(None), Err(PublishError::Nothing { .. })));
    publish(&publications, &draft(5, 0.0));
    let second = publish(&publications, &draft(6, 0.0));
    fs::write(second.directory.join(MANIFEST), "{}").unwrap();
    let error = publications.roll_back(None).unwrap_err();
    assert!(error.to_string().contains("--to names what to go back to; there are 5"), "{error}");
    assert_eq!(publications.roll_back(Some("5")).unwrap().name, "5");
}
