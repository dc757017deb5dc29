//! `run`: live tail, HTTP, a graceful stop, and a restart that goes on.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use crate::binary::{Running, get, json_of, sluicebox, wait_until};
use crate::{broker, topics};

const LIMIT: Duration = Duration::from_secs(180);

/// Two people with a session a minute each: `count` sessions from `first` on, all of one step that pays.
pub fn visits(first: u32, count: u32) -> Vec<String> {
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

pub struct Setup {
    bootstrap: String,
    topic: String,
    /// Where the latest run answers: it takes a port that is free then, for one that was free before may be taken since.
    address: std::cell::RefCell<String>,
    directory: tempfile::TempDir,
}

impl Setup {
    fn new(name: &str, partitions: i32) -> Setup {
        let bootstrap = broker::shared().bootstrap();
        let topic = broker::unique(name);
        topics::create(&bootstrap, &topic, partitions);
        Setup::on(bootstrap, topic)
    }

    pub fn on(bootstrap: String, topic: String) -> Setup {
        Setup { bootstrap, topic, address: Default::default(), directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_string_lossy().into_owned()
    }

    pub fn settings(&self) -> Vec<String> {
        [
            format!("kafka.brokers={}", self.bootstrap),
            format!("kafka.topics={}", self.topic),
            "http.listen=127.0.0.1:0".to_owned(),
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

    pub fn run(&self) -> Running {
        self.run_with(&["--decisions", &self.path("decisions.jsonl")])
    }

    fn run_with(&self, more: &[&str]) -> Running {
        let mut command = sluicebox(["run", "--state", &self.path("state"), "--log-format", "json"]);
        command.args(more).args(self.settings());
        let mut running = Running::start(command);
        let mut lines = BufReader::new(running.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut said = String::new();
        let address = lines.by_ref().find_map(|line| {
            said.push_str(&line);
            let line: serde_json::Value = serde_json::from_str(&line).ok()?;
            Some(line["address"].as_str()?.to_owned())
        });
        self.address.replace(address.unwrap_or_else(|| panic!("it does not serve: {said}")));
        // Whoever is not listened to any more stops in the middle of a sentence.
        std::thread::spawn(move || lines.for_each(drop));
        running
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        get(&self.address.borrow(), path)
    }

    fn status(&self) -> Option<serde_json::Value> {
        let (code, body) = self.get("/status")?;
        (code == 200).then(|| serde_json::from_str(&body).unwrap())
    }

    pub fn wait_for(&self, counter: &str, count: u64) {
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
    assert_eq!(setup.get("/readyz").unwrap().0, 200);
    assert_eq!(setup.get("/livez").unwrap().0, 200);
    // The live tail: what comes later is read as well.
    topics::produce(&setup.bootstrap, &setup.topic, 0, 1_700_000_000_000, &visits(60, 40));
    setup.wait_for("records", 300);
    let metrics = setup.get("/metrics").unwrap().1;
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
fn a_rollback_is_served_without_waiting_for_the_next_seal() {
    let setup = Setup::new("rollback", 1);
    let directory = format!("publish.dir={}", setup.path("public"));
    let learning = ["filter.warmup=admit", "learner.batch=16", "learner.replay_ratio=4", "publish.every=100ms"];
    let learning: Vec<&str> = learning.iter().chain([&&*directory]).flat_map(|setting| ["--set", setting]).collect();
    let running = setup.run_with(&learning);
    let served = || {
        let metrics = setup.get("/metrics")?.1;
        let line = metrics.lines().find_map(|line| line.strip_prefix("sluicebox_served_updates "))?;
        line.parse::<f64>().ok().map(|version| version as u64)
    };
    let publish = |more: &[&str]| {
        json_of([&["publish", "--state", &setup.path("state"), "--json", "--set", &directory], more].concat())
    };
    let mut first = 0;
    wait_until("two policies are published, one after the other", LIMIT, || {
        topics::produce(&setup.bootstrap, &setup.topic, 0, 1_700_000_000_000, &visits(first, 40));
        first += 40;
        std::thread::sleep(Duration::from_millis(500));
        served() > Some(0) && publish(&["--list"])["publications"].as_array().unwrap().len() > 1
    });
    // Nothing more comes, so nothing more is sealed.
    setup.wait_for("records", u64::from(first) * 3);
    std::thread::sleep(Duration::from_secs(1));
    let back = publish(&["--rollback"]);
    assert_ne!(back["version"].as_u64(), served(), "{back:#}");
    wait_until("the earlier policy is served", LIMIT, || served() == back["version"].as_u64());
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(LIMIT).status.code(), Some(0));
}

#[test]
fn a_signal_ends_a_start_that_waits_for_a_broker() {
    let setup = Setup::on("127.0.0.1:1".to_owned(), "nowhere".to_owned());
    let running = setup.run_with(&["--set", "kafka.connect_timeout=9m"]);
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(Duration::from_secs(60)).status.code(), Some(0));
}

/// Whoever draws the counters must not have to tell "none yet" from "no such counter".
#[test]
fn the_status_has_every_counter_from_the_start_and_goes_on_from_the_state() {
    let setup = Setup::new("early", 1);
    // No seal comes by itself.
    let quiet = ["--set", "checkpoint.every=1h"];
    let first_status = || {
        let mut status = serde_json::Value::Null;
        wait_until("the status knows the partition", LIMIT, || {
            status = setup.status().unwrap_or_default();
            status["partitions"][0].is_object()
        });
        status
    };
    let running = setup.run_with(&quiet);
    let early = setup.status().unwrap_or_default();
    assert!(early.is_null() || early["counters"]["records"] == 0, "{early:#}");
    let status = first_status();
    assert_eq!((&status["checkpoint"], &status["filter"]["kappa"]), (&serde_json::Value::Null, &0.1.into()));
    let counters = status["counters"].as_object().unwrap();
    assert!(counters.len() > 40 && counters.values().all(|count| count == 0), "{status:#}");
    topics::produce(&setup.bootstrap, &setup.topic, 0, 1_700_000_000_000, &visits(0, 60));
    wait_until("all is read", LIMIT, || setup.status().is_some_and(|it| it["partitions"][0]["next_offset"] == 180));
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(LIMIT).status.code(), Some(0));

    let running = setup.run_with(&quiet);
    let status = first_status();
    assert_eq!((&status["counters"]["records"], &status["checkpoint"]["records"]), (&180.into(), &180.into()));
    let sealed = json_of(["inspect", &setup.path("state"), "--json"]);
    assert_eq!(status["checkpoint"]["digest"], sealed["digest"], "{status:#}");
    assert_eq!(status["learner"]["updates"], sealed["counters"]["updates"]);
    assert!(!status["checkpoint"]["sealed_at"].as_str().unwrap().is_empty(), "{status:#}");
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(LIMIT).status.code(), Some(0));
}

#[test]
fn what_retention_deleted_is_counted_once_and_stays_counted() {
    let setup = Setup::new("gap", 1);
    let produce = |visits: Vec<String>| topics::produce(&setup.bootstrap, &setup.topic, 0, 1_700_000_000_000, &visits);
    produce(visits(0, 60));
    let running = setup.run();
    setup.wait_for("records", 180);
    let status = setup.status().unwrap();
    assert_eq!(status["partitions"][0]["watermark"].as_str().unwrap()[..16], *"2023-11-15T00:10", "{status}");
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(LIMIT).status.code(), Some(0));

    produce(visits(60, 40));
    topics::delete_records_before(&setup.bootstrap, &setup.topic, 0, 240);
    let mut refused = sluicebox(["run", "--state", &setup.path("state")]);
    let refused = refused.args(setup.settings()).output().unwrap();
    assert_eq!(refused.status.code(), Some(65), "{}", crate::binary::told(&refused));
    for records in [240, 300] {
        let mut killed = setup.run_with(&["--set", "kafka.retention_gap=earliest"]);
        setup.wait_for("records", records);
        let counters = &setup.status().unwrap()["counters"];
        assert_eq!((&counters["records"], &counters["lost"]), (&records.into(), &60.into()), "{counters}");
        let metrics = setup.get("/metrics").unwrap().1;
        assert!(metrics.contains("\nsluicebox_lost_records_total 60\n"), "{metrics}");
        killed.0.kill().unwrap();
        produce(visits(100, 20));
    }
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
    assert!(!live.is_empty());
    for (number, (live, replayed)) in live.lines().zip(replayed.lines()).enumerate() {
        assert_eq!(live, replayed, "decision {number}; the journal is\n{journal}");
    }
    assert!(replayed.lines().count() >= live.lines().count());
}

#[test]
fn a_run_continues_from_a_replay_and_closes_what_that_had_left_open() {
    let setup = Setup::new("continue", 1);
    // The last session has no end: a replay closes it as the range's end, a run must not.
    let mut log = visits(0, 40);
    log.pop();
    topics::produce(&setup.bootstrap, &setup.topic, 0, 1_700_000_000_000, &log);
    let mut arguments = vec!["replay".to_owned(), "--json".to_owned(), "--state".to_owned(), setup.path("replayed")];
    arguments.extend(setup.settings());
    let replayed = json_of(arguments);
    assert_eq!(replayed["trajectories"], 40);
    assert_eq!(replayed["open_sessions"], 0);

    topics::produce(&setup.bootstrap, &setup.topic, 0, 1_700_000_000_000, &visits(40, 20));
    let run = || setup.run_with(&["--continue-from", &setup.path("replayed")]);
    let running = run();
    setup.wait_for("records", 179);
    running.signal(libc::SIGTERM);
    let output = running.end(LIMIT);
    assert_eq!(output.status.code(), Some(0), "{}", crate::binary::told(&output));
    let counters = || json_of(["inspect", &setup.path("state"), "--json"])["counters"].clone();
    // 39 sessions ended in the replay and 20 in the run; the one between them ended by its gap.
    let (first, updates) = (counters(), replayed["updates"].as_u64().unwrap());
    assert_eq!((&first["records"], &first["events"]), (&179.into(), &179.into()), "{first}");
    assert!(first["updates"].as_u64().unwrap() >= updates.saturating_sub(1), "{first} after {replayed}");
    // A restart with the same words goes on from its own state.
    topics::produce(&setup.bootstrap, &setup.topic, 0, 1_700_000_000_000, &visits(60, 10));
    let running = run();
    setup.wait_for("records", 209);
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(LIMIT).status.code(), Some(0));
    assert_eq!(counters()["records"], 209);
    // The replay's directory still belongs to the replay and is as it was.
    assert_eq!(json_of(["inspect", &setup.path("replayed"), "--json"])["digest"], replayed["digest"]);
}
