//! Every form of `--from` and `--until`, on a real broker.

use sluicebox::position::Partition;
use sluicebox::source::Source;
use sluicebox::source::range::{Boundary, Range, resolve};

use crate::broker::{shared, unique};
use crate::topics::{self, numbered, values};

const START: i64 = 1_700_000_000_000;

/// Two partitions: 100 records one second apart, and 10 in the same first seconds.
fn topic_of_two() -> String {
    let (bootstrap, topic) = (shared().bootstrap(), unique("ranges"));
    topics::create(&bootstrap, &topic, 2);
    topics::produce(&bootstrap, &topic, 0, START, &numbered(0..100));
    topics::produce(&bootstrap, &topic, 1, START, &numbered(0..10));
    topic
}

fn check(source: &mut dyn Source, from: &str, until: &str, expected: [std::ops::Range<u32>; 2]) {
    let range = range(source, from, until);
    let records = topics::read(source, &range);
    for (partition, expected) in expected.into_iter().enumerate() {
        let found = &records[&Partition(partition as u32)];
        assert_eq!(values(found), numbered(expected), "partition {partition} of {from} .. {until}: {range:?}");
    }
}

fn range(source: &mut dyn Source, from: &str, until: &str) -> Range {
    resolve(source, &from.parse::<Boundary>().unwrap(), Some(&until.parse::<Boundary>().unwrap())).unwrap()
}

#[test]
fn every_form_of_a_range_reads_exactly_its_records() {
    let mut source = topics::open(&shared().bootstrap(), &topic_of_two());
    let source = &mut source;
    let at = |seconds: i64| format!("ts={}", START + 1000 * seconds);
    check(source, "earliest", "latest", [0..100, 0..10]);
    check(source, "earliest", "now", [0..100, 0..10]);
    check(source, "latest", "now", [100..100, 10..10]);
    check(source, &at(5), &at(8), [5..8, 5..8]);
    // A time between two records is that of the next one; a time after the last record is the end.
    check(source, "ts=2023-11-14T22:13:23.500Z", "now", [4..100, 4..10]);
    check(source, &at(50), "now", [50..100, 10..10]);
    check(source, &at(500), "now", [100..100, 10..10]);
    check(source, "offset=7", "offset=9", [7..9, 7..9]);
    check(source, "offset=50", "offset=1000", [50..100, 10..10]);
    check(source, "offset=0:90,1:3", "offset=0:92,1:3", [90..92, 3..3]);
    check(source, "last=10s", "now", [89..100, 10..10]);
    check(source, "last=7d", "now", [0..100, 0..10]);
    check(source, &at(8), &at(5), [8..8, 8..8]);
}

#[test]
fn offsets_for_other_partitions_than_the_log_has_are_refused() {
    let mut source = topics::open(&shared().bootstrap(), &topic_of_two());
    let mut refused = |from: &str| resolve(&mut source, &from.parse().unwrap(), None).unwrap_err().to_string();
    assert!(refused("offset=0:1").contains("none for partition 1"));
    assert!(refused("offset=0:1,1:1,2:1").contains("partition 2, but the log has partitions 0 to 1"));
}

#[test]
fn a_range_keeps_its_end_while_the_log_grows() {
    let topic = topic_of_two();
    let bootstrap = shared().bootstrap();
    let mut source = topics::open(&bootstrap, &topic);
    let range = range(&mut source, "earliest", "now");
    topics::produce(&bootstrap, &topic, 0, START, &numbered(100..200));
    let records = topics::read(&mut source, &range);
    assert_eq!(values(&records[&Partition(0)]), numbered(0..100));
}

#[test]
fn an_empty_topic_has_empty_ranges_in_every_form() {
    let (bootstrap, topic) = (shared().bootstrap(), unique("empty"));
    topics::create(&bootstrap, &topic, 2);
    let mut source = topics::open(&bootstrap, &topic);
    for from in ["earliest", "latest", "ts=1700000000000", "offset=0", "last=7d"] {
        check(&mut source, from, "now", [0..0, 0..0]);
    }
}
