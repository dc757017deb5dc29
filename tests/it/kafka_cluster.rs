//! What only several brokers show: a leader dies in the middle of a `run`, and nothing is lost, nothing comes twice.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::binary::{Running, get, json_of, sluicebox, told, wait_until};
use crate::broker::{free_port, unique};
use crate::cluster::Cluster;
use crate::run::visits;
use crate::topics::{self, Transaction};

const LIMIT: Duration = Duration::from_secs(120);
const TIME: i64 = 1_700_000_000_000;

/// Everything in order and once, whatever happens to the brokers meanwhile: else the producer would be what is tested.
fn produce(bootstrap: &str, topic: &str, values: &[String]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true").set("acks", "all");
    let producer: BaseProducer = config.set("reconnect.backoff.max.ms", "200").set("log_level", "0").create().unwrap();
    for value in values {
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).timestamp(TIME).payload(value.as_bytes());
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

#[test]
fn a_leader_that_dies_in_the_middle_of_a_run_loses_and_doubles_nothing() {
    let mut cluster = Cluster::start();
    let (bootstrap, topic) = (cluster.bootstrap(), unique("leader"));
    topics::create_replicated(&bootstrap, &topic, 1, 3);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let address = format!("127.0.0.1:{}", free_port());
    let settings: Vec<String> = [
        format!("kafka.brokers={bootstrap}"),
        format!("kafka.topics={topic}"),
        "mapping.context_dimension=2".to_owned(),
        "learner.policy=softmax".to_owned(),
        "filter.unit=trajectory".to_owned(),
        "score.kind=return".to_owned(),
        "checkpoint.every=200ms".to_owned(),
    ]
    .into_iter()
    .flat_map(|setting| ["--set".to_owned(), setting])
    .collect();

    produce(&bootstrap, &topic, &visits(0, 100));
    // What was never committed must not be learned from.
    topics::produce_in_transaction(&bootstrap, &topic, &visits(500, 20), Transaction::Abort);
    let mut command = sluicebox(["run", "--state", &path("state"), "--decisions", &path("live.jsonl")]);
    command.args(&settings).args(["--set", &format!("http.listen={address}")]);
    let running = Running::start(command);
    let wait_for = |records: u64| {
        wait_until(&format!("{records} records are sealed"), LIMIT, || {
            let status = get(&address, "/status").filter(|(code, _)| *code == 200);
            let status = status.map(|(_, body)| serde_json::from_str::<serde_json::Value>(&body).unwrap());
            status.is_some_and(|status| status["counters"]["records"].as_u64() >= Some(records))
        });
    };
    wait_for(300);
    cluster.kill_leader(&topic, 0);
    produce(&bootstrap, &topic, &visits(100, 100));
    topics::produce_in_transaction(&bootstrap, &topic, &visits(200, 50), Transaction::Commit);
    wait_for(750);
    running.signal(libc::SIGTERM);
    let output = running.end(LIMIT);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));

    let sealed = json_of(["inspect", &path("state"), "--json"]);
    let count = |name: &str| sealed["counters"][name].as_u64();
    // The last events wait for the watermark.
    let used = count("applied").zip(count("parked")).map(|(applied, parked)| applied + parked);
    assert_eq!((count("records"), used), (Some(750), Some(750)), "{sealed:#}");
    assert_eq!((count("duplicates"), count("late"), count("orphan")), (Some(0), Some(0), Some(0)), "{sealed:#}");
    // Read again in peace by the brokers that are left, the log says the same.
    let mut arguments = vec!["replay".to_owned(), "--json".to_owned()];
    arguments.extend(["--state".to_owned(), path("quiet"), "--decisions".to_owned(), path("quiet.jsonl")]);
    let report = json_of(arguments.into_iter().chain(settings));
    assert_eq!(report["records"], 750, "{report:#}");
    let (live, quiet) = (std::fs::read(path("live.jsonl")).unwrap(), std::fs::read(path("quiet.jsonl")).unwrap());
    assert!(!live.is_empty() && quiet.starts_with(&live), "the run judged otherwise than a quiet replay");
}
