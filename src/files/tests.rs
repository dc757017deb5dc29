//! A file source from outside: what it hands out, what it reuses, how it stops.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::position::{NextOffset, Offset, Partition};
use crate::source::partitioner::partition_of;
use crate::source::range::{Boundary, resolve};
use crate::source::{Bounds, Polled, Range, Record, Source};
use crate::time::EventTime;

const SPLITTING: [u8; 32] = [7; 32];

struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn new(content: &str) -> World {
        let world = World { directory: tempfile::tempdir().unwrap() };
        fs::write(world.input(), content).unwrap();
        world
    }

    fn input(&self) -> PathBuf {
        self.directory.path().join("input")
    }

    fn spool(&self) -> PathBuf {
        self.directory.path().join("state/spool")
    }

    fn open(&self, partitions: u32) -> FileSource {
        self.try_open((partitions, SPLITTING)).unwrap().0
    }

    /// With it: whether the file was split (again).
    fn try_open(&self, splitting: (u32, [u8; 32])) -> Result<(FileSource, bool), FilesError> {
        let mut was_split = false;
        let source = FileSource::open(&self.input(), &self.spool(), splitting, &key_of, &mut |_| was_split = true)?;
        Ok((source, was_split))
    }
}

/// Lines are `user time rest`.
fn key_of(line: &[u8]) -> LineKey<'_> {
    let text = std::str::from_utf8(line).unwrap();
    let mut words = text.split(' ');
    let user = words.next().filter(|user| *user != "-").map(|user| Cow::Borrowed(user.as_bytes()));
    LineKey { user, time: words.next().and_then(|time| EventTime::new(time.parse().ok()?)) }
}

fn lines(count: usize) -> String {
    (0..count).map(|n| format!("u{} {} {n}\n", n % 13, 1_700_000_000_000 + 10 * n)).collect()
}

fn read(source: &mut dyn Source, range: &Range) -> BTreeMap<Partition, Vec<Record>> {
    source.assign(range).unwrap();
    let mut records: BTreeMap<_, Vec<Record>> = range.keys().map(|partition| (*partition, Vec::new())).collect();
    let mut open = range.len();
    while open > 0 {
        match source.poll(Duration::ZERO).unwrap() {
            Polled::Records(runs) => {
                for run in runs {
                    let list = records.get_mut(&run.partition()).unwrap();
                    list.extend(run.iter().map(|record| record.to_record()));
                }
            }
            Polled::RangeEnd(_) => open -= 1,
            Polled::Nothing | Polled::CaughtUp(_) | Polled::Lost { .. } => panic!("a file always has something"),
        }
    }
    records
}

fn all(source: &mut dyn Source) -> Range {
    resolve(source, &Boundary::Earliest, Some(&Boundary::Latest)).unwrap()
}

#[test]
fn every_line_is_in_its_users_partition_in_the_order_of_the_file() {
    let world = World::new(&lines(5000));
    let mut source = world.open(4);
    let range = all(&mut source);
    let records = read(&mut source, &range);
    let mut expected: BTreeMap<Partition, Vec<String>> = BTreeMap::new();
    for line in lines(5000).lines() {
        let user = line.split(' ').next().unwrap();
        expected.entry(partition_of(Some(user.as_bytes()), 4)).or_default().push(line.to_owned());
    }
    assert!(expected.len() > 1);
    for (partition, lines) in expected {
        let found = &records[&partition];
        let text = |record: &Record| String::from_utf8(record.value.clone().unwrap().into()).unwrap();
        assert_eq!(found.iter().map(text).collect::<Vec<_>>(), lines);
        assert!(found.iter().enumerate().all(|(index, record)| record.offset.raw() == index as u64));
    }
}

#[test]
fn reading_from_any_position_continues_there() {
    let world = World::new(&lines(5000));
    let mut source = world.open(1);
    let range = all(&mut source);
    let whole = read(&mut source, &range).remove(&Partition(0)).unwrap();
    for start in [0, 1, 1023, 1024, 1025, 4096, 4999, 5000] {
        let end = (start + 1500).min(5000);
        let bounds = Bounds { start: NextOffset::boundary(start), end: Some(NextOffset::boundary(end)) };
        let part = read(&mut source, &Range::from([(Partition(0), bounds)])).remove(&Partition(0)).unwrap();
        assert_eq!(part, whole[start as usize..end as usize], "from {start}");
        let one = source.fetch_one(Partition(0), Offset::from_count(start)).unwrap();
        assert_eq!(one.as_ref(), whole.get(start as usize));
    }
}

#[test]
fn a_time_finds_the_first_record_that_is_not_earlier() {
    // Times run backwards in the middle: the first record in the order of the log counts, as in Kafka.
    let times: Vec<i64> = (0..3000).map(|n| 1_700_000_000_000 + if n % 1000 < 500 { n } else { 2 * n }).collect();
    let content: String = times.iter().map(|time| format!("u {time}\n")).collect();
    let world = World::new(&content);
    let mut source = world.open(1);
    for wanted in (0..6100).step_by(77).map(|n| 1_700_000_000_000 + n) {
        let expected = times.iter().position(|time| *time >= wanted).unwrap_or(times.len());
        let found = source.offsets_at(wanted).unwrap()[&Partition(0)].raw();
        assert_eq!(found, expected as u64, "at {wanted}");
    }
    assert_eq!(source.newest_timestamp().unwrap(), times.last().copied());
}

#[test]
fn a_complete_spool_is_reused_and_any_other_is_made_anew() {
    let world = World::new(&lines(300));
    let was_split = |splitting| world.try_open(splitting).unwrap().1;
    assert!(was_split((4, SPLITTING)));
    assert!(!was_split((4, SPLITTING)), "nothing has changed");
    assert!(was_split((3, SPLITTING)), "another count of partitions");
    assert!(was_split((3, [8; 32])), "another mapping");
    fs::write(world.input(), lines(300).replace("u1 ", "u2 ")).unwrap();
    assert!(was_split((3, [8; 32])), "another content of the same length");
    fs::remove_file(world.spool().join("complete.json")).unwrap();
    assert!(was_split((3, [8; 32])), "torn before the marker");
    let part = world.spool().join("partition-1.records");
    fs::OpenOptions::new().write(true).open(&part).unwrap().set_len(10).unwrap();
    assert!(was_split((3, [8; 32])), "a part that is too short");
    fs::write(world.spool().join("complete.json"), "{").unwrap();
    assert!(was_split((3, [8; 32])), "a marker that makes no sense");
    assert!(!was_split((3, [8; 32])));
}

#[test]
fn a_failed_split_leaves_no_spool_behind() {
    let world = World::new(&lines(300));
    world.open(4);
    let mut content = lines(300).into_bytes();
    content.extend(vec![b'x'; LINE_BYTES_MAX + 1]);
    fs::write(world.input(), content).unwrap();
    assert!(matches!(world.try_open((4, SPLITTING)), Err(FilesError::LineTooLong { line: 301, .. })));
    assert!(!world.spool().join("complete.json").exists());
}

#[test]
fn a_rotten_record_is_an_error_and_not_an_event() {
    let world = World::new(&lines(300));
    let mut source = world.open(1);
    let part = world.spool().join("partition-0.records");
    let mut bytes = fs::read(&part).unwrap();
    bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    fs::write(&part, bytes).unwrap();
    let range = all(&mut source);
    source.assign(&range).unwrap();
    let error = source.poll(Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("partition-0.records is damaged at byte 0"), "{error}");
}

#[test]
fn a_paused_partition_stops_alone_and_loses_nothing() {
    let world = World::new(&lines(9000));
    let mut source = world.open(2);
    let range = all(&mut source);
    source.assign(&range).unwrap();
    source.pause(&[Partition(1)]).unwrap();
    let (mut found, mut ended) = (BTreeMap::<Partition, u64>::new(), Vec::new());
    while ended.len() < 2 {
        match source.poll(Duration::ZERO).unwrap() {
            Polled::Records(runs) => {
                for record in runs.iter().flat_map(|run| run.iter()) {
                    let next = found.entry(record.partition).or_default();
                    assert_eq!(record.offset.raw(), *next);
                    *next += 1;
                }
            }
            Polled::RangeEnd(partition) => ended.push(partition),
            Polled::Nothing => {
                assert_eq!(found.get(&Partition(1)), None, "the paused partition went on");
                source.resume(&[Partition(1), Partition(0)]).unwrap();
            }
            Polled::CaughtUp(_) | Polled::Lost { .. } => panic!("a file has none of these"),
        }
    }
    assert_eq!(ended, [Partition(0), Partition(1)]);
    assert_eq!(found.values().sum::<u64>(), 9000);
}

#[test]
fn impossible_counts_of_partitions_and_missing_files_are_told() {
    let world = World::new("");
    assert!(matches!(world.try_open((0, SPLITTING)), Err(FilesError::Partitions { asked: 0 })));
    assert!(matches!(world.try_open((2000, SPLITTING)), Err(FilesError::Partitions { .. })));
    fs::remove_file(world.input()).unwrap();
    let Err(error) = world.try_open((1, SPLITTING)) else { panic!("there is no file") };
    assert!(error.to_string().contains("could not open"), "{error}");
    assert_eq!(error.fault(), Fault::Data);
    // As a pipe would be: what is read twice must be there twice.
    fs::create_dir(world.input()).unwrap();
    let Err(error) = world.try_open((1, SPLITTING)) else { panic!("a directory is no file") };
    assert!(matches!(error, FilesError::NotAFile { .. }), "{error}");
}
