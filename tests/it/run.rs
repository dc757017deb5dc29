//! `run`: live tail, HTTP, a graceful stop, and a restart that goes on.

use std::time::Duration;

use crate::binary::{Running, get, json_of, sluicebox, wait_until};
use crate::{broker, topics};

const LIMIT: Duration = Duration::from_secs(60);

/// Two people with a session a minute each: `count` sessions from `first` on, all of one step that pays.
fn visits(first: u32, count: u32) -> Vec<String> {
    (first..first + count)
        .flat_map(|number| {
            let time = 1_700_000_000_000_i64 + i64::from(number) * 120_000;
            let user = ["ann", "bob"][number as usize % 2];
            [
                format!(
                    r#"{{"type":"decision","event_id":"e{number}","ts":{time},"user":"{user}","session":"s{number}","decision_id":"d{number}","item":"i{}","context":[1,2]}}"#,
                    number % 5
                ),
                format!(
                    r#"{{"type":"reward","event_id":"r{number}","ts":{},"user":"{user}","session":"s{number}","decision_id":"d{number}","value":{}}}"#,
                    time + 1_000,
                    number % 7
                ),
                format!(
                    r#"{{"type":"session_end","event_id":"x{number}","ts":{},"user":"{user}","session":"s{number}"}}"#,
                    time + 2_000
                ),
            ]
        })
        .collect()
}

struct Setup {
    bootstrap: String,
    topic: String,
    address: String,
    directory: tempfile::TempDir,
}

impl Setup {
    fn new(name: &str, partitions: i32) -> Setup {
        let bootstrap = broker::shared().bootstrap();
        let topic = broker::unique(name);
        topics::create(&bootstrap, &topic, partitions);
        let address = format!("127.0.0.1:{}", broker::free_port());
        Setup { bootstrap, topic, address, directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_string_lossy().into_owned()
    }

    fn settings(&self) -> Vec<String> {
        [
            format!("kafka.brokers={}", self.bootstrap),
            format!("kafka.topics={}", self.topic),
            format!("http.listen={}", self.address),
            "mapping.context_dimension=2".to_owned(),
            "learner.policy=softmax".to_owned(),
            "filter.unit=trajectory".to_owned(),
            "score.kind=return".to_owned(),
            "checkpoint.every=200ms".to_owned(),
            "idle.after=500ms".to_owned(),
        ]
        .into_iter()
        .flat_map(|setting| ["--set".to_owned(), setting])
        .collect()
    }

    fn run(&self) -> Running {
        let mut command =
            sluicebox(["run", "--state", &self.path("state"), "--decisions", &self.path("decisions.jsonl")]);
        command.args(self.settings());
        Running::start(command)
    }

    fn status(&self) -> Option<serde_json::Value> {
        let (code, body) = get(&self.address, "/status")?;
        (code == 200).then(|| serde_json::from_str(&body).unwrap())
    }

    fn wait_for(&self, counter: &str, count: u64) {
        wait_until(&format!("{counter} reaches {count}"), LIMIT, || {
            self.status().is_some_and(|status| status["counters"][counter].as_u64() >= Some(count))
        });
    }
}

#[test]
fn it_tails_the_topic_stops_gracefully_and_goes_on() {
    let setup = Setup::new("run", 1);
    topics::produce(&setup.bootstrap, &setup.topic, 0, 1_700_000_000_000, &visits(0, 60));
    let running = setup.run();
    setup.wait_for("records", 180);
    assert_eq!(get(&setup.address, "/readyz").unwrap().0, 200);
    assert_eq!(get(&setup.address, "/livez").unwrap().0, 200);
    // The live tail: what comes later is read as well.
    topics::produce(&setup.bootstrap, &setup.topic, 0, 1_700_000_000_000, &visits(60, 40));
    setup.wait_for("records", 300);
    let metrics = get(&setup.address, "/metrics").unwrap().1;
    assert!(metrics.contains("\nsluicebox_decoded_records_total 300\n"), "{metrics}");
    running.signal(libc::SIGTERM);
    let output = running.end(LIMIT);
    assert_eq!(output.status.code(), Some(0), "{}", crate::binary::told(&output));

    let stopped = json_of(["inspect", &setup.path("state"), "--json"]);
    topics::produce(&setup.bootstrap, &setup.topic, 0, 1_700_000_000_000, &visits(100, 20));
    let mut killed = setup.run();
    setup.wait_for("records", 360);
    killed.0.kill().unwrap();
    drop(killed);
    let running = setup.run();
    setup.wait_for("records", 360);
    running.signal(libc::SIGINT);
    assert_eq!(running.end(LIMIT).status.code(), Some(0));
    let decisions = std::fs::read_to_string(setup.path("decisions.jsonl")).unwrap();
    let sequences: Vec<u64> = decisions
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["sequence"].as_u64().unwrap())
        .collect();
    assert!(
        sequences.len() > 100 && sequences.iter().copied().eq(0..sequences.len() as u64),
        "{sequences:?} after {stopped}"
    );
}

#[test]
fn a_silent_partition_holds_nobody_back_and_loses_nothing_when_it_speaks() {
    let setup = Setup::new("idle", 2);
    topics::produce(&setup.bootstrap, &setup.topic, 0, 1_700_000_000_000, &visits(0, 60));
    let running = setup.run();
    setup.wait_for("held", 20);
    topics::produce(&setup.bootstrap, &setup.topic, 1, 1_700_000_000_000, &visits(200, 60));
    setup.wait_for("records", 360);
    setup.wait_for("trajectories", 110);
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(LIMIT).status.code(), Some(0));
    let journal =
        std::fs::read_to_string(std::path::Path::new(&setup.path("state")).join("idle-journal.jsonl")).unwrap();
    assert!(journal.lines().count() >= 2, "one entry for falling idle and one for waking up: {journal}");

    // The log and the journal together say everything: two replays of them end in the same bits.
    let replay = |name: &str| {
        let mut arguments = vec!["replay".to_owned(), "--json".to_owned(), "--state".to_owned(), setup.path(name)];
        arguments.extend(setup.settings());
        arguments.extend(["--journal".to_owned(), format!("{}/idle-journal.jsonl", setup.path("state"))]);
        arguments.extend(["--decisions".to_owned(), setup.path(&format!("{name}.jsonl"))]);
        json_of(arguments)
    };
    let (one, other) = (replay("one"), replay("other"));
    assert_eq!(one["digest"], other["digest"]);
    // What the run had judged is how the replay begins, line by line.
    let live = std::fs::read_to_string(setup.path("decisions.jsonl")).unwrap();
    let replayed = std::fs::read_to_string(setup.path("one.jsonl")).unwrap();
    assert!(replayed.starts_with(&live) && !live.is_empty(), "{live}\n--\n{replayed}");
}
