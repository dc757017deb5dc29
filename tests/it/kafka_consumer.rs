//! Reading a topic: transactions, back-pressure, commits, single records.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset as RawOffset, TopicPartitionList};
use sluicebox::position::{NextOffset, Offset, Partition};
use sluicebox::source::range::{Boundary, resolve};
use sluicebox::source::{Bounds, LogIdentity, Polled, Range, Source};

use crate::broker::{shared, unique};
use crate::topics::{self, Transaction, numbered, values};

const ZERO: Partition = Partition(0);
const ONE: Partition = Partition(1);

fn topic(name: &str, partitions: i32) -> (String, String) {
    let (bootstrap, topic) = (shared().bootstrap(), unique(name));
    topics::create(&bootstrap, &topic, partitions);
    (bootstrap, topic)
}

fn all(source: &mut dyn Source) -> Range {
    resolve(source, &Boundary::Earliest, Some(&Boundary::Latest)).unwrap()
}

fn live(partitions: u32) -> Range {
    let bounds = Bounds { start: NextOffset::ZERO, end: None };
    (0..partitions).map(|partition| (Partition(partition), bounds)).collect()
}

#[test]
fn a_range_that_ends_in_markers_of_transactions_ends() {
    let (bootstrap, topic) = topic("markers", 1);
    topics::produce_in_transaction(&bootstrap, &topic, &numbered(0..3), Transaction::Commit);
    topics::produce_in_transaction(&bootstrap, &topic, &numbered(3..6), Transaction::Abort);
    let mut source = topics::open(&bootstrap, &topic);
    let range = all(&mut source);
    // Three records and their marker, three that were taken back and theirs.
    assert_eq!(range[&ZERO].end, Some(NextOffset::boundary(8)));
    assert_eq!(values(&topics::read(&mut source, &range)[&ZERO]), numbered(0..3));
}

#[test]
fn a_range_that_ends_inside_what_was_taken_back_ends() {
    let (bootstrap, topic) = topic("inside", 1);
    topics::produce_in_transaction(&bootstrap, &topic, &numbered(0..5), Transaction::Abort);
    topics::produce(&bootstrap, &topic, 0, 1_700_000_000_000, &numbered(5..8));
    let mut source = topics::open(&bootstrap, &topic);
    let range = Range::from([(ZERO, Bounds { start: NextOffset::ZERO, end: Some(NextOffset::boundary(3)) })]);
    assert_eq!(values(&topics::read(&mut source, &range)[&ZERO]), numbered(0..0));
}

#[test]
fn an_open_transaction_lies_beyond_the_end() {
    let (bootstrap, topic) = topic("open", 1);
    topics::produce(&bootstrap, &topic, 0, 1_700_000_000_000, &numbered(0..4));
    let _open = topics::produce_in_transaction(&bootstrap, &topic, &numbered(4..9), Transaction::LeaveOpen);
    let mut source = topics::open(&bootstrap, &topic);
    let range = all(&mut source);
    assert_eq!(range[&ZERO].end, Some(NextOffset::boundary(4)));
    assert_eq!(values(&topics::read(&mut source, &range)[&ZERO]), numbered(0..4));
}

#[test]
fn a_paused_partition_stops_alone_and_goes_on_where_it_stopped() {
    let (bootstrap, topic) = topic("pause", 2);
    for partition in 0..2 {
        topics::produce(&bootstrap, &topic, partition, 1_700_000_000_000, &numbered(0..2000));
    }
    let mut source = topics::open(&bootstrap, &topic);
    let range = all(&mut source);
    source.assign(&range).unwrap();
    source.pause(&[ONE]).unwrap();
    source.pause(&[ONE]).unwrap();
    let mut found: BTreeMap<Partition, Vec<_>> = BTreeMap::new();
    let mut ended = Vec::new();
    let mut take = |polled| match polled {
        Polled::Records(runs) => {
            for run in runs {
                found.entry(run.partition()).or_default().extend(run.iter().map(|record| record.to_record()));
            }
        }
        Polled::RangeEnd(partition) => ended.push(partition),
        Polled::CaughtUp(_) | Polled::Lost { .. } | Polled::Nothing => {}
    };
    let mut quiet = 0;
    topics::poll_until(&mut source, |polled| {
        quiet = if matches!(polled, Polled::Nothing) { quiet + 1 } else { 0 };
        take(polled);
        quiet > 3
    });
    source.resume(&[ONE]).unwrap();
    let mut ends = 0;
    topics::poll_until(&mut source, |polled| {
        ends += usize::from(matches!(polled, Polled::RangeEnd(_)));
        take(polled);
        ends == 1
    });
    assert_eq!(ended, [ZERO, ONE], "the paused partition must have ended last");
    assert_eq!(values(&found[&ZERO]), numbered(0..2000));
    assert_eq!(values(&found[&ONE]), numbered(0..2000));
}

#[test]
fn a_live_source_reports_that_it_caught_up_and_then_reads_what_comes() {
    let (bootstrap, topic) = topic("live", 2);
    topics::produce(&bootstrap, &topic, 0, 1_700_000_000_000, &numbered(0..10));
    let mut source = topics::open(&bootstrap, &topic);
    source.assign(&live(2)).unwrap();
    let mut caught_up = Vec::new();
    topics::poll_until(&mut source, |polled| {
        if let Polled::CaughtUp(partition) = polled {
            caught_up.push(partition);
        }
        caught_up.contains(&ZERO) && caught_up.contains(&ONE)
    });
    topics::produce(&bootstrap, &topic, 1, 1_700_000_000_000, &numbered(0..1));
    topics::poll_until(&mut source, |polled| match polled {
        Polled::Records(runs) => runs[0].partition() == ONE && runs[0].len() == 1,
        Polled::CaughtUp(_) | Polled::Nothing | Polled::RangeEnd(_) | Polled::Lost { .. } => false,
    });
    // The statistics, from which lag is computed, come once a second.
    let ends = [10, 1];
    topics::poll_until(&mut source, |_| true);
    let begun = std::time::Instant::now();
    while topics::raw(&source.known_ends()) != ends {
        source.poll(Duration::from_millis(100)).unwrap();
        assert!(begun.elapsed() < topics::PATIENCE, "known ends are {:?}", source.known_ends());
    }
}

#[test]
fn committed_offsets_are_those_that_a_dashboard_sees() {
    let (bootstrap, topic) = topic("commit", 2);
    topics::produce(&bootstrap, &topic, 0, 1_700_000_000_000, &numbered(0..10));
    let settings = topics::settings(&bootstrap, &topic);
    let mut source = topics::open(&bootstrap, &topic);
    source.assign(&live(2)).unwrap();
    source.commit(&BTreeMap::from([(ZERO, NextOffset::boundary(7)), (ONE, NextOffset::ZERO)])).unwrap();
    // Closing finishes what was begun.
    drop(source);
    let dashboard: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &bootstrap).set("group.id", &settings.group).create().unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(&topic, 0, 1);
    let answer = dashboard.committed_offsets(asked, topics::PATIENCE).unwrap();
    let offsets: Vec<_> = answer.elements().iter().map(|element| element.offset()).collect();
    assert_eq!(offsets, [RawOffset::Offset(7), RawOffset::Offset(0)]);
    // And they are only for the dashboard: reading begins where the caller says.
    let mut source = topics::open(&bootstrap, &topic);
    let range = all(&mut source);
    assert_eq!(values(&topics::read(&mut source, &range)[&ZERO]), numbered(0..10));
}

#[test]
fn a_single_record_is_fetched_before_and_during_reading() {
    let (bootstrap, topic) = topic("one", 1);
    topics::produce_in_transaction(&bootstrap, &topic, &numbered(0..3), Transaction::Commit);
    let mut source = topics::open(&bootstrap, &topic);
    let range = all(&mut source);
    for _ in 0..2 {
        let record = source.fetch_one(ZERO, Offset::from_count(1)).unwrap().unwrap();
        assert_eq!(values(std::slice::from_ref(&record)), ["value 1"]);
        assert_eq!((record.offset.raw(), record.timestamp), (1, Some(1_700_000_001_000)));
        // A marker and a place behind the end hold no record.
        assert_eq!(source.fetch_one(ZERO, Offset::from_count(3)).unwrap(), None);
        assert_eq!(source.fetch_one(ZERO, Offset::from_count(99)).unwrap(), None);
        source.assign(&range).unwrap();
    }
    assert_eq!(values(&topics::read(&mut source, &range)[&ZERO]), numbered(0..3));
}

#[test]
fn a_log_is_known_by_its_cluster_and_topic() {
    let (bootstrap, topic) = topic("identity", 1);
    let LogIdentity::Topic { cluster, topic: name } = topics::open(&bootstrap, &topic).identity() else {
        panic!("a topic is not a file");
    };
    assert_eq!(name, topic);
    assert!(cluster.is_some_and(|cluster| cluster.len() == 22));
}
