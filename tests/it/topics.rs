//! What tests do to topics, written against the client library itself and not with the code under test.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists;
use rdkafka::{ClientConfig, Offset as RawOffset, TopicPartitionList};
use sluicebox::kafka::{Connection, ConsumerSettings, RetentionGap, TopicSource};
use sluicebox::position::{Partition, Position};
use sluicebox::source::{Polled, Range, Record, Source};

/// Longer than anything takes on a machine that is busy with the other tests.
pub const PATIENCE: Duration = Duration::from_secs(180);

pub fn connection(bootstrap: &str) -> Connection {
    Connection { brokers: bootstrap.to_owned(), properties: BTreeMap::new(), connect_timeout: Duration::from_secs(20) }
}

pub fn settings(bootstrap: &str, topic: &str) -> ConsumerSettings {
    ConsumerSettings {
        connection: connection(bootstrap),
        topic: topic.to_owned(),
        group: format!("group-of-{topic}"),
        retention_gap: RetentionGap::Fail,
    }
}

pub fn open(bootstrap: &str, topic: &str) -> TopicSource {
    TopicSource::connect(settings(bootstrap, topic)).unwrap()
}

pub fn create(bootstrap: &str, topic: &str, partitions: i32) {
    create_replicated(bootstrap, topic, partitions, 1);
}

/// All topics that the broker has.
pub fn names(bootstrap: &str) -> Vec<String> {
    let client = admin(bootstrap);
    let metadata = client.inner().fetch_metadata(None, PATIENCE).unwrap();
    metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
}

pub fn create_replicated(bootstrap: &str, topic: &str, partitions: i32, replicas: i32) {
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas));
    let begun = Instant::now();
    loop {
        let results = block_on(admin(bootstrap).create_topics([&new], &AdminOptions::new()));
        let results = match results {
            // Names are unique: what is there already is what an unanswered attempt has made.
            Ok(results) if results.iter().all(|it| matches!(it, Ok(_) | Err((_, TopicAlreadyExists)))) => return,
            results => results,
        };
        // On a machine that is busy enough, a broker misses a heartbeat, and for that moment the cluster has none.
        assert!(begun.elapsed() < PATIENCE, "{results:?}");
    }
}

/// Makes a retention gap: everything before `offset` is gone.
pub fn delete_records_before(bootstrap: &str, topic: &str, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, RawOffset::Offset(offset)).unwrap();
    block_on(admin(bootstrap).delete_records(&list, &AdminOptions::new())).unwrap();
}

/// Appends values to one partition, with record times one second apart from `first_time` on.
pub fn produce(bootstrap: &str, topic: &str, partition: i32, first_time: i64, values: &[String]) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    send(&producer, topic, partition, first_time, values);
    producer.flush(PATIENCE).unwrap();
}

/// The same in one transaction that is committed, aborted, or left open for as long as the producer lives.
pub fn produce_in_transaction(bootstrap: &str, topic: &str, values: &[String], ending: Transaction) -> BaseProducer {
    let id = crate::broker::unique("transaction");
    let config = ClientConfig::new().set("bootstrap.servers", bootstrap).set("transactional.id", id).clone();
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    send(&producer, topic, 0, 1_700_000_000_000, values);
    producer.flush(PATIENCE).unwrap();
    match ending {
        Transaction::Commit => producer.commit_transaction(PATIENCE).unwrap(),
        Transaction::Abort => producer.abort_transaction(PATIENCE).unwrap(),
        Transaction::LeaveOpen => return producer,
    }
    wait_for_markers(bootstrap, topic);
    producer
}

/// The coordinator says "committed" before its markers stand in the partitions, and until then the records lie beyond the
/// end for all who read what is committed.
fn wait_for_markers(bootstrap: &str, topic: &str) {
    let end = |isolation: &str| {
        let config = ClientConfig::new().set("bootstrap.servers", bootstrap).set("isolation.level", isolation).clone();
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.fetch_watermarks(topic, 0, PATIENCE).map(|(_, end)| end)
    };
    crate::binary::wait_until(
        "the markers are there",
        PATIENCE,
        || matches!((end("read_uncommitted"), end("read_committed")), (Ok(all), Ok(committed)) if committed >= all),
    );
}

#[derive(Debug, Clone, Copy)]
pub enum Transaction {
    Commit,
    Abort,
    LeaveOpen,
}

/// Everything that the range holds, by partition, and the partitions that reported their end.
pub fn read(source: &mut dyn Source, range: &Range) -> BTreeMap<Partition, Vec<Record>> {
    source.assign(range).unwrap();
    let mut records: BTreeMap<_, Vec<_>> = range.keys().map(|partition| (*partition, Vec::new())).collect();
    let mut open = range.len();
    let begun = Instant::now();
    while open > 0 {
        match source.poll(Duration::from_millis(100)).unwrap() {
            Polled::Records(runs) => {
                for run in runs {
                    let list = records.get_mut(&run.partition()).unwrap();
                    list.extend(run.iter().map(|record| record.to_record()));
                }
            }
            Polled::RangeEnd(_) => open -= 1,
            Polled::CaughtUp(_) | Polled::Lost { .. } | Polled::Nothing => {}
        }
        assert!(begun.elapsed() < PATIENCE, "{open} partitions of {range:?} did not end");
    }
    records
}

/// Polls until `done` says that it has seen enough.
pub fn poll_until(source: &mut dyn Source, mut done: impl FnMut(Polled) -> bool) {
    let begun = Instant::now();
    while !done(source.poll(Duration::from_millis(100)).unwrap()) {
        assert!(begun.elapsed() < PATIENCE, "what was waited for did not happen");
    }
}

pub fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.value.clone().unwrap().into()).unwrap()).collect()
}

pub fn numbered(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| format!("value {number}")).collect()
}

pub fn raw(position: &Position) -> Vec<u64> {
    position.values().map(|next| next.raw()).collect()
}

/// One setting of a topic, as the broker has it.
pub fn setting(bootstrap: &str, topic: &str, name: &str) -> Option<String> {
    let resource = ResourceSpecifier::Topic(topic);
    let results = block_on(admin(bootstrap).describe_configs([&resource], &AdminOptions::new())).unwrap();
    results.into_iter().next()?.unwrap().get(name)?.value.clone()
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, first_time: i64, values: &[String]) {
    for (index, value) in values.iter().enumerate() {
        let time = first_time + 1000 * index as i64;
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).timestamp(time).payload(value.as_bytes());
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
}

fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap()
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
