//! Loading, dead letters, and the rule that places a user, against the client's own.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use sluicebox::kafka::{self, Compression, DeadLetter, DeadLetterTopic, LoadSettings};
use sluicebox::position::Partition;
use sluicebox::source::partitioner::partition_of;
use sluicebox::source::range::{Boundary, resolve};
use sluicebox::source::{Fault, Record, Run, Source};

use crate::broker::{shared, unique};
use crate::kafka_files::{key_of, lines};
use crate::topics::{self, values};

pub fn load(topic: &str, file: &std::path::Path, append: bool) -> Result<kafka::LoadReport, kafka::KafkaError> {
    let settings = LoadSettings {
        connection: topics::connection(&shared().bootstrap()),
        topic: topic.to_owned(),
        partitions: 4,
        append,
        compression: Compression::Zstd,
    };
    kafka::load(&settings, file, &key_of, &mut |_| ())
}

pub fn everything(source: &mut dyn Source) -> BTreeMap<Partition, Vec<Record>> {
    let range = resolve(source, &Boundary::Earliest, Some(&Boundary::Latest)).unwrap();
    topics::read(source, &range)
}

#[test]
fn users_go_where_the_partitioner_of_java_producers_puts_them() {
    let (bootstrap, topic) = (shared().bootstrap(), unique("murmur2"));
    topics::create(&bootstrap, &topic, 7);
    let config = ClientConfig::new().set("bootstrap.servers", &bootstrap).set("partitioner", "murmur2_random").clone();
    let producer: BaseProducer = config.create().unwrap();
    let keys: Vec<String> = (0..500).map(|n| "k".repeat(n % 9) + &format!("é{n}")).collect();
    for key in &keys {
        producer.send(BaseRecord::to(&topic).key(key).payload(key)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(topics::PATIENCE).unwrap();
    let records = everything(&mut topics::open(&bootstrap, &topic));
    assert_eq!(records.values().map(Vec::len).sum::<usize>(), keys.len());
    for record in records.values().flatten() {
        assert_eq!(partition_of(record.key.as_deref(), 7), record.partition, "{:?}", record.key);
    }
}

#[test]
fn a_topic_that_holds_records_is_loaded_only_when_asked_to_append() {
    let directory = tempfile::tempdir().unwrap();
    let (file, topic) = (directory.path().join("lines"), unique("append"));
    fs::write(&file, lines(50)).unwrap();
    let report = load(&topic, &file, false).unwrap();
    assert_eq!((report.records, report.topic_was_created), (50, true));
    let error = load(&topic, &file, false).unwrap_err();
    assert!(error.to_string().contains("already holds 50 records; `--append`"), "{error}");
    assert_eq!(error.fault(), Fault::Usage);
    let report = load(&topic, &file, true).unwrap();
    assert_eq!((report.records, report.topic_was_created), (50, false));
    let records = everything(&mut topics::open(&shared().bootstrap(), &topic));
    assert_eq!(records.values().map(Vec::len).sum::<usize>(), 100);
}

#[test]
fn a_loaded_log_is_kept_however_old_or_far_ahead_its_times_are() {
    let directory = tempfile::tempdir().unwrap();
    let (file, topic) = (directory.path().join("lines"), unique("old"));
    // 2001 and 2099: brokers delete the one after a week and refuse the other, unless they are told.
    fs::write(&file, "{\"user\":\"u\",\"ts\":1000000000000}\n{\"user\":\"u\",\"ts\":4100000000000}\n").unwrap();
    load(&topic, &file, false).unwrap();
    let records = everything(&mut topics::open(&shared().bootstrap(), &topic));
    let times: Vec<_> = records.values().flatten().filter_map(|record| record.timestamp).collect();
    assert_eq!(times, [1_000_000_000_000, 4_100_000_000_000]);
    assert_eq!(topics::setting(&shared().bootstrap(), &topic, "retention.ms").as_deref(), Some("-1"));
}

#[test]
fn a_topic_with_another_count_of_partitions_is_not_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let (file, topic) = (directory.path().join("lines"), unique("count"));
    fs::write(&file, lines(5)).unwrap();
    topics::create(&shared().bootstrap(), &topic, 3);
    let error = load(&topic, &file, false).unwrap_err();
    assert!(error.to_string().contains("has 3 partitions, not 4"), "{error}");
}

#[test]
fn a_line_that_is_too_large_for_the_topic_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (file, topic) = (directory.path().join("lines"), unique("large"));
    fs::write(&file, format!("{}\n{}\n", lines(1).trim(), "x".repeat(3 << 20))).unwrap();
    let error = load(&topic, &file, false).unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[test]
fn a_dead_letter_keeps_the_record_and_says_where_it_came_from() {
    let (bootstrap, topic) = (shared().bootstrap(), unique("dead"));
    topics::create(&bootstrap, &topic, 1);
    let mut run = Run::new(Partition(3));
    let place = |offset| (sluicebox::position::Offset::from_count(offset), Some(1_700_000_000_123));
    let headers = [("trace", Some(&b"\xff\x00"[..])), ("empty", None)];
    run.push(place(41), Some(b"user"), Some(b"not json \xff"), headers.into_iter());
    run.push(place(42), None, None, std::iter::empty());
    let mut letters = DeadLetterTopic::open(&topics::connection(&bootstrap), &topic).unwrap();
    for record in run.iter() {
        letters.send(&DeadLetter { record, topic: "events", reason: "invalid_json" }).unwrap();
    }
    letters.flush(topics::PATIENCE).unwrap();
    let records = everything(&mut topics::open(&bootstrap, &topic)).remove(&Partition(0)).unwrap();
    let [first, second] = &records[..] else { panic!("{records:?}") };
    assert_eq!(first.key.as_deref(), Some(&b"user"[..]));
    assert_eq!(first.value.as_deref(), Some(&b"not json \xff"[..]));
    assert_eq!(first.timestamp, Some(1_700_000_000_123));
    let note = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
    let notes = |offset| {
        let notes = [("reason", "invalid_json"), ("topic", "events"), ("partition", "3"), ("offset", offset)];
        notes.into_iter().chain([("timestamp", "1700000000123")]).map(|(name, value)| note(name, value))
    };
    let mut expected = vec![("trace".to_owned(), Some(vec![0xff, 0])), ("empty".to_owned(), None)];
    expected.extend(notes("41"));
    assert_eq!(first.headers, expected);
    assert_eq!((second.key.as_deref(), second.value.as_deref()), (None, None));
    assert_eq!(second.headers, notes("42").collect::<Vec<_>>());
}

#[test]
fn dead_letters_to_a_topic_that_is_missing_fail_before_the_first_one() {
    let connection = topics::connection(&shared().bootstrap());
    assert!(DeadLetterTopic::open(&connection, &unique("nowhere")).is_err());
}

#[test]
fn the_embedded_broker_serves_what_was_produced_to_it() {
    let broker = kafka::embedded::Broker::start(&[("events", 8)]).unwrap();
    let bootstrap = broker.bootstrap_servers().unwrap();
    let mut producer = kafka::Producer::new(&topics::connection(&bootstrap), "events", Compression::Lz4).unwrap();
    let sent: Vec<String> = topics::numbered(0..1000);
    for value in &sent {
        let (partition, value) = (Some(Partition(5)), Some(value.as_bytes()));
        producer.send(kafka::Outgoing { partition, value, ..Default::default() }).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
    assert_eq!(producer.delivered(), 1000);
    let records = everything(&mut topics::open(&bootstrap, "events"));
    assert_eq!(records.len(), 8);
    assert_eq!(values(&records[&Partition(5)]), sent);
}
