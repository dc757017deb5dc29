//! What only several brokers show: a leader dies in the middle of a `run`, and nothing is lost, nothing comes twice.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use crate::binary::{json_of, told};
use crate::broker::unique;
use crate::cluster::Cluster;
use crate::run::{Setup, visits};
use crate::topics::{self, Transaction};

const LIMIT: Duration = Duration::from_secs(120);
const TIME: i64 = 1_700_000_000_000;
const BATCH: usize = 30;

/// Everything in order and once, whatever happens to the brokers meanwhile: else the producer would be what is tested.
/// Whenever a batch is safe it says how many of them are.
fn produce(bootstrap: &str, topic: &str, values: &[String], mut say: impl FnMut(usize)) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true").set("acks", "all");
    let producer: BaseProducer = config.set("reconnect.backoff.max.ms", "200").set("log_level", "0").create().unwrap();
    for (number, batch) in (1..).zip(values.chunks(BATCH)) {
        for value in batch {
            let record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).timestamp(TIME).payload(value.as_bytes());
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(LIMIT).unwrap();
        say(number);
    }
}

/// The records up to where the run stands once more, by a process that nobody disturbs: the report, and the digest at the
/// place where the run stands, before the end of the range closes what is open.
fn replay_quietly(setup: &Setup, sealed: &Value) -> (Value, Value) {
    let next = sealed["lanes"][0]["next_offset"].as_u64().unwrap();
    let mut arguments = vec!["replay".to_owned(), "--json".to_owned()];
    arguments.extend(["--state".to_owned(), setup.path("quiet"), "--decisions".to_owned(), setup.path("quiet.jsonl")]);
    arguments.extend(["--until".to_owned(), format!("offset=0:{next}")]);
    let journal = setup.path("state/idle-journal.jsonl");
    if Path::new(&journal).exists() {
        arguments.extend(["--journal".to_owned(), journal]);
    }
    let report = json_of(arguments.into_iter().chain(setup.settings()));
    let last = report["checkpoint"].as_str().unwrap().rsplit('-').next().unwrap().parse::<u64>().unwrap();
    let before = json_of(["inspect", &setup.path(&format!("quiet/checkpoint-{}", last - 1)), "--json"]);
    (report, before["digest"].clone())
}

#[test]
fn a_leader_that_dies_in_the_middle_of_a_run_loses_and_doubles_nothing() {
    let mut cluster = Cluster::start();
    let (bootstrap, topic) = (cluster.bootstrap(), unique("leader"));
    topics::create_replicated(&bootstrap, &topic, 1, 3);
    let setup = Setup::on(bootstrap.clone(), topic.clone());

    produce(&bootstrap, &topic, &visits(0, 100), drop);
    // What was taken back must not be learned from; its times would make everything after it late.
    topics::produce_in_transaction(&bootstrap, &topic, &visits(5_000, 20), Transaction::Abort);
    let running = setup.run();
    setup.wait_for("records", 300);
    let (saying, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        let (bootstrap, topic) = (&bootstrap, &topic);
        scope.spawn(move || produce(bootstrap, topic, &visits(100, 100), |batches| saying.send(batches).unwrap()));
        heard.iter().find(|batches| *batches == 3).expect("the producer goes on");
        let dead = cluster.kill_leader(topic, 0);
        // The rest of these records goes to whoever leads now.
        assert_eq!(heard.iter().last(), Some(10));
        assert_ne!(cluster.leader(topic, 0), dead);
    });
    topics::produce_in_transaction(&bootstrap, &topic, &visits(5_000, 20), Transaction::Abort);
    topics::produce_in_transaction(&bootstrap, &topic, &visits(200, 50), Transaction::Commit);
    setup.wait_for("records", 750);
    running.signal(libc::SIGTERM);
    let output = running.end(LIMIT);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));

    let sealed = json_of(["inspect", &setup.path("state"), "--json"]);
    let count = |name: &str| sealed["counters"][name].as_u64();
    // The last events wait for the watermark.
    let used = count("applied").zip(count("parked")).map(|(applied, parked)| applied + parked);
    assert_eq!((count("records"), used), (Some(750), Some(750)), "{sealed:#}");
    assert_eq!((count("duplicates"), count("late"), count("orphan")), (Some(0), Some(0), Some(0)), "{sealed:#}");
    // Read again in peace by the brokers that are left, the log says the same.
    let (report, digest) = replay_quietly(&setup, &sealed);
    assert_eq!(report["records"], 750, "{report:#}");
    assert_eq!(digest, sealed["digest"], "the run learned otherwise than a quiet replay: {sealed:#}");
    let (live, quiet) =
        (std::fs::read(setup.path("decisions.jsonl")).unwrap(), std::fs::read(setup.path("quiet.jsonl")).unwrap());
    assert!(!live.is_empty() && quiet.starts_with(&live), "the run judged otherwise than a quiet replay");
}
