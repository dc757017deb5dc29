//! What goes wrong with brokers and topics: each a clear error or a survival.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sluicebox::kafka::{KafkaError, RetentionGap, TopicSource};
use sluicebox::position::{NextOffset, Partition};
use sluicebox::source::range::{Boundary, resolve};
use sluicebox::source::{Bounds, Fault, Polled, Range, Source};

use crate::broker::{Broker, free_port, shared, unique};
use crate::topics::{self, numbered, values};

const ZERO: Partition = Partition(0);

fn bounds(start: u64, end: Option<u64>) -> Range {
    let end = end.map(NextOffset::boundary);
    Range::from([(ZERO, Bounds { start: NextOffset::boundary(start), end })])
}

/// A topic of one partition with the records 0 to 19, of which the first ten are gone.
fn topic_with_gap() -> String {
    let (bootstrap, topic) = (shared().bootstrap(), unique("gap"));
    topics::create(&bootstrap, &topic, 1);
    topics::produce(&bootstrap, &topic, 0, 1_700_000_000_000, &numbered(0..20));
    topics::delete_records_before(&bootstrap, &topic, 0, 10);
    topic
}

fn open_with(policy: RetentionGap, topic: &str) -> TopicSource {
    let mut settings = topics::settings(&shared().bootstrap(), topic);
    settings.retention_gap = policy;
    TopicSource::connect(settings).unwrap()
}

#[test]
fn a_broker_that_is_absent_at_the_start_is_an_error_with_its_address() {
    let bootstrap = format!("127.0.0.1:{}", free_port());
    let mut settings = topics::settings(&bootstrap, "any");
    settings.connection.connect_timeout = Duration::from_secs(2);
    let begun = Instant::now();
    let Err(error) = TopicSource::connect(settings) else { panic!("nobody listens there") };
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let message = error.to_string();
    assert!(message.contains(&bootstrap) && message.contains("within 2 s"), "{message}");
    assert!(message.contains("refused"), "the client's own reason is missing: {message}");
    assert_eq!(error.fault(), Fault::Unavailable);
}

#[test]
fn a_topic_that_is_missing_is_an_error_with_its_name() {
    let topic = unique("missing");
    let Err(error) = TopicSource::connect(topics::settings(&shared().bootstrap(), &topic)) else {
        panic!("there is no such topic")
    };
    assert!(matches!(error, KafkaError::TopicMissing { .. }), "{error}");
    assert!(error.to_string().contains(&topic), "{error}");
    assert_eq!(error.fault(), Fault::Unavailable);
}

#[test]
fn a_retention_gap_fails_unless_the_settings_allow_it() {
    let topic = topic_with_gap();
    let error = open_with(RetentionGap::Fail, &topic).assign(&bounds(3, Some(15))).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("offsets 3 to 10 of partition 0"), "{message}");
    assert_eq!(error.fault(), Fault::Data);
    // Nothing is lost for a range that begins behind the gap.
    let records = topics::read(&mut open_with(RetentionGap::Fail, &topic), &bounds(10, Some(15)));
    assert_eq!(values(&records[&ZERO]), numbered(10..15));
}

#[test]
fn a_retention_gap_that_is_allowed_is_reported_and_passed_over() {
    let topic = topic_with_gap();
    let cases = [
        (RetentionGap::Earliest, Some(15), (3, 10), 10..15),
        (RetentionGap::Earliest, Some(7), (3, 7), 0..0),
        (RetentionGap::Latest, Some(15), (3, 15), 0..0),
        (RetentionGap::Latest, Some(20), (3, 20), 0..0),
    ];
    for (policy, end, (from, to), expected) in cases {
        let mut source = open_with(policy, &topic);
        source.assign(&bounds(3, end)).unwrap();
        let (mut lost, mut found) = (Vec::new(), Vec::new());
        topics::poll_until(&mut source, |polled| {
            match &polled {
                Polled::Lost { from, to, .. } => lost.push((from.raw(), to.raw())),
                Polled::Records(runs) => found.extend(runs[0].iter().map(|record| record.to_record())),
                Polled::RangeEnd(_) | Polled::CaughtUp(_) | Polled::Nothing => {}
            }
            matches!(polled, Polled::RangeEnd(_))
        });
        assert_eq!(lost, [(from, to)], "{policy:?}");
        assert_eq!(values(&found), numbered(expected), "{policy:?}");
    }
}

#[test]
fn records_that_are_deleted_while_their_partition_is_paused_are_a_gap_too() {
    let (bootstrap, topic) = (shared().bootstrap(), unique("late-gap"));
    topics::create(&bootstrap, &topic, 1);
    topics::produce(&bootstrap, &topic, 0, 1_700_000_000_000, &numbered(0..20));
    let mut source = open_with(RetentionGap::Earliest, &topic);
    source.assign(&bounds(0, Some(20))).unwrap();
    source.pause(&[ZERO]).unwrap();
    for _ in 0..5 {
        assert!(matches!(source.poll(Duration::from_millis(100)).unwrap(), Polled::Nothing));
    }
    topics::delete_records_before(&bootstrap, &topic, 0, 10);
    source.resume(&[ZERO]).unwrap();
    let (mut lost, mut found) = (Vec::new(), Vec::new());
    topics::poll_until(&mut source, |polled| {
        match &polled {
            Polled::Lost { from, to, .. } => lost.push((from.raw(), to.raw())),
            Polled::Records(runs) => found.extend(runs[0].iter().map(|record| record.to_record())),
            Polled::RangeEnd(_) | Polled::CaughtUp(_) | Polled::Nothing => {}
        }
        matches!(polled, Polled::RangeEnd(_))
    });
    assert_eq!(lost, [(0, 10)]);
    assert_eq!(values(&found), numbered(10..20));
}

#[test]
fn a_position_behind_the_end_of_the_log_is_another_log() {
    let (bootstrap, topic) = (shared().bootstrap(), unique("behind"));
    topics::create(&bootstrap, &topic, 1);
    topics::produce(&bootstrap, &topic, 0, 1_700_000_000_000, &numbered(0..5));
    let error = topics::open(&bootstrap, &topic).assign(&bounds(6, None)).unwrap_err();
    assert!(error.to_string().contains("from offset 6, but ends at 5"), "{error}");
    topics::open(&bootstrap, &topic).assign(&bounds(5, None)).unwrap();
}

#[test]
fn a_broker_that_is_killed_and_comes_back_is_survived() {
    let mut broker = Broker::start();
    let (bootstrap, topic) = (broker.bootstrap(), unique("restart"));
    topics::create(&bootstrap, &topic, 2);
    for partition in 0..2 {
        topics::produce(&bootstrap, &topic, partition, 1_700_000_000_000, &numbered(0..3000));
    }
    let mut source = topics::open(&bootstrap, &topic);
    let range = resolve(&mut source, &Boundary::Earliest, Some(&Boundary::Latest)).unwrap();
    source.assign(&range).unwrap();
    // One partition has been read, the other has not when the broker goes.
    source.pause(&[Partition(1)]).unwrap();
    let mut found: BTreeMap<Partition, Vec<_>> = BTreeMap::new();
    let mut open = 2;
    let mut take = |polled| {
        match polled {
            Polled::Records(runs) => {
                for run in runs {
                    found.entry(run.partition()).or_default().extend(run.iter().map(|record| record.to_record()));
                }
            }
            Polled::RangeEnd(_) => open -= 1,
            Polled::CaughtUp(_) | Polled::Lost { .. } | Polled::Nothing => {}
        }
        open
    };
    topics::poll_until(&mut source, |polled| take(polled) == 1);
    broker.kill();
    source.resume(&[Partition(1)]).unwrap();
    for _ in 0..5 {
        take(source.poll(Duration::from_millis(100)).unwrap());
    }
    broker.restart();
    topics::poll_until(&mut source, |polled| take(polled) == 0);
    for partition in [Partition(0), Partition(1)] {
        assert_eq!(values(&found[&partition]), numbered(0..3000), "partition {partition}");
    }
}

#[test]
fn a_wrong_password_is_told_and_the_right_one_reads() {
    let (broker, with_passwords) = Broker::start_with_passwords();
    let topic = unique("passwords");
    topics::create(&broker.bootstrap(), &topic, 1);
    topics::produce(&broker.bootstrap(), &topic, 0, 1_700_000_000_000, &numbered(0..5));
    let connect = |password: &str| {
        let mut settings = topics::settings(&with_passwords, &topic);
        let sasl = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "bob"),
            ("sasl.password", password),
        ];
        settings.connection.properties = sasl.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        settings.connection.connect_timeout = Duration::from_secs(5);
        assert!(!format!("{settings:?}").contains(password), "a password must not be printed");
        TopicSource::connect(settings)
    };
    let Err(error) = connect("guessed") else { panic!("the password is wrong") };
    let message = error.to_string();
    assert!(message.contains("Authentication failed"), "{message}");
    assert_eq!(error.fault(), Fault::Unavailable);
    let records = topics::read(&mut connect("secret").unwrap(), &bounds(0, Some(5)));
    assert_eq!(values(&records[&ZERO]), numbered(0..5));
}
