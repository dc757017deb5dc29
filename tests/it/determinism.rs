//! The same log ends in the same bits, however it is read; other settings end in other bits.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::process::Output;

use serde_json::Value;
use sluicebox::source::partitioner::partition_of;

use crate::binary::{json_of, parse, repository, sluicebox, told};
use crate::crash::{LOG, RECORDS, recsim_topic};

fn from_topic(more: &[&str]) -> Value {
    let [brokers, topic] = recsim_topic();
    let mut arguments = vec!["replay", "-c", "configs/recsim.toml", "--json", "--set", &brokers, "--set", &topic];
    arguments.extend(["--set", "learner.replay_ratio=0.2"]);
    more.iter().for_each(|setting| arguments.extend(["--set", setting]));
    json_of(arguments)
}

#[test]
fn threads_do_not_reach_the_bits() {
    let digests: BTreeSet<String> = ["1", "2", "4"]
        .into_iter()
        .map(|threads| from_topic(&[&format!("runtime.threads={threads}")])["digest"].to_string())
        .collect();
    assert_eq!(digests.len(), 1, "{digests:?}");
}

#[test]
fn the_way_of_reading_does_not_reach_the_bits() {
    let ways: [&[&str]; 6] = [
        &[],
        &["kafka.properties={\"fetch.message.max.bytes\"=\"4000\", \"queued.max.messages.kbytes\"=\"64\"}"],
        &[
            "kafka.properties={\"max.partition.fetch.bytes\"=\"3000\", \"fetch.wait.max.ms\"=\"1\", \"queued.min.messages\"=\"1\"}",
        ],
        &["merge.queue_max=1", "merge.ahead_max=1s"],
        &["checkpoint.every=off", "checkpoint.every_records=777"],
        &["checkpoint.every=100ms", "checkpoint.keep=1", "runtime.threads=3", "merge.queue_max=100000"],
    ];
    let reference = from_topic(ways[0]);
    assert_eq!(reference["records"], RECORDS);
    for way in &ways[1..] {
        let report = from_topic(way);
        assert_eq!(report["digest"], reference["digest"], "{way:?}: {report:#}");
    }
}

#[test]
fn settings_that_matter_reach_the_bits() {
    let log = repository(LOG);
    let settings = [
        "filter.kappa=.1",
        "filter.kappa=.2",
        "learner.seed=99",
        "session.gap=1s",
        "filter.unit=step",
        "score.discount=.9",
        "learner.learning_rate=.01",
        "learner.objective=bc",
        "filter.window=100",
    ];
    let digests: BTreeSet<String> = settings
        .into_iter()
        .map(|setting| {
            let arguments = ["replay", "-c", "configs/recsim.toml", "--json", "--file", &log, "--set", setting];
            json_of(arguments.into_iter().chain(["--set", "learner.replay_ratio=0.2"]))["digest"].to_string()
        })
        .collect();
    assert_eq!(digests.len(), settings.len(), "two of the settings end in the same digest");
}

const SKEWED: &str = r#"
mapping.kind = { pointer = "/type", table = { shown = "decision" } }
mapping.time = "/ts"
mapping.user = "/user"
mapping.item = "/item"
mapping.reward = "/reward"
mapping.context = "/x"
mapping.context_dimension = 2
learner.policy = "softmax"
learner.replay_ratio = 0
filter.unit = "trajectory"
score.kind = "return"
score.baseline = "none"
"#;

/// Ten times as many events in one partition of two as in the other, both over the same ten hours, five to a user.
fn skewed_log(events: u64) -> String {
    let mut names = [Vec::new(), Vec::new()];
    for number in 0_u64.. {
        let name = format!("user-{number}");
        names[partition_of(Some(name.as_bytes()), 2).0 as usize].push(name);
        if names.iter().all(|names| names.len() as u64 > events / 5) {
            break;
        }
    }
    let mut log = String::new();
    for n in 0..events {
        let mut shown = |partition: usize, n: u64, count: u64| {
            let (user, time) = (&names[partition][(n / 5) as usize], 1_700_000_000_000 + n * 36_000_000 / count);
            let (item, reward) = (n * 7919 % 13, n * 104_729 % 11);
            writeln!(
                log,
                r#"{{"type":"shown","ts":{time},"user":"{user}","item":{item},"reward":{reward},"x":[1,{item}]}}"#
            )
            .unwrap();
        };
        shown(0, n, events);
        if n % 10 == 0 {
            shown(1, n / 10, events / 10);
        }
    }
    log
}

/// The most trajectories that were seen waiting in the merge.
fn peak(output: &Output) -> u64 {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let statuses = text.lines().filter_map(|line| line.strip_prefix("sluicebox-status "));
    let queued = statuses.map(|status| serde_json::from_str::<Value>(status).unwrap()["queued_trajectories"].as_u64());
    queued
        .map(|queued| queued.unwrap_or_else(|| panic!("no such figure: {text}")))
        .max()
        .unwrap_or_else(|| panic!("it said nothing: {text}"))
}

#[test]
fn a_partition_ten_times_as_large_as_the_other_neither_blocks_nor_piles_up() {
    let directory = tempfile::tempdir().unwrap();
    let (config, log) = (directory.path().join("skewed.toml"), directory.path().join("skewed.jsonl"));
    fs::write(&config, SKEWED).unwrap();
    fs::write(&log, skewed_log(30_000)).unwrap();
    let run = |limits: &[&str]| {
        let mut command = sluicebox(["replay", "--json", "--machine-progress", "--partitions", "2", "-c"]);
        command.arg(&config).arg("--file").arg(&log);
        // Small cuts keep the runs small, so that a pause shows.
        command.args(["--set", "checkpoint.every=off", "--set", "checkpoint.every_records=250"]);
        limits.iter().for_each(|limit| {
            command.args(["--set", limit]);
        });
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        (parse(&output), peak(&output))
    };
    let (tight, tight_peak) = run(&["merge.queue_max=5", "merge.ahead_max=1s"]);
    let (loose, loose_peak) = run(&["merge.queue_max=1000000", "merge.ahead_max=30d"]);
    assert_eq!((&tight["records"], &tight["trajectories"]), (&33_000.into(), &6_600.into()), "{tight:#}");
    assert_eq!(tight["digest"], loose["digest"]);
    // What is in flight when a partition is paused still arrives; beyond that nothing may pile up.
    assert!(tight_peak < loose_peak.max(400), "{tight_peak} trajectories waited, {loose_peak} without limits");
}

/// Sessions of one user, so that of several partitions one is full and the others are empty.
fn lonely_log(sessions: u32) -> String {
    let mut log = String::new();
    for number in 0..sessions {
        let time = 1_700_000_000_000_i64 + i64::from(number) * 3_600_000;
        let head = |kind: &str, at: i64| {
            format!(r#"{{"type":"{kind}","event_id":"{kind}{number}","ts":{at},"user":"ann","session":"s{number}""#)
        };
        let _ = writeln!(
            log,
            r#"{},"decision_id":"d{number}","item":"i{}","reward":{}}}"#,
            head("decision", time),
            number % 5,
            number % 7
        );
        let _ = writeln!(log, "{}}}", head("session_end", time + 1_000));
    }
    log
}

#[test]
fn empty_partitions_neither_hold_a_replay_back_nor_reach_the_bits() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log.jsonl");
    fs::write(&file, lonely_log(300)).unwrap();
    let replay = |more: &[&str]| {
        let mut arguments = vec!["replay", "--file", file.to_str().unwrap(), "--partitions", "4", "--json"];
        for setting in ["learner.policy=softmax", "filter.unit=trajectory", "score.kind=return"] {
            arguments.extend(["--set", setting]);
        }
        more.iter().for_each(|setting| arguments.extend(["--set", setting]));
        json_of(arguments)
    };
    // Each limit by itself would stop the reading for ever if the merge waited for the empty partitions.
    let reports = [
        replay(&["merge.queue_max=10", "merge.ahead_max=3650d"]),
        replay(&["merge.queue_max=1000000", "merge.ahead_max=1s", "runtime.threads=1"]),
        replay(&["merge.queue_max=1000000", "merge.ahead_max=3650d", "checkpoint.every_records=7"]),
    ];
    assert_eq!(reports[0]["trajectories"], 300);
    let digests: BTreeSet<String> = reports.iter().map(|report| report["digest"].to_string()).collect();
    assert_eq!(digests.len(), 1, "{digests:?}");
}
