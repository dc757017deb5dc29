//! A real log, from a file and from a real broker, ends in the same bits; settings that matter change them.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::binary::{json_of, repository};
use crate::broker;
use crate::tools::check_schema;

const LOG: &str = "tests/data/recsim_iev_mix_200.jsonl.gz";

/// `replay` of the recsim log from the file, with more arguments.
fn from_file(state: &str, more: &[&str]) -> Value {
    let log = repository(LOG);
    let mut arguments = vec!["replay", "-c", "configs/recsim.toml", "--file", &log, "--partitions", "4"];
    arguments.extend(["--state", state, "--json"]);
    arguments.extend(more);
    json_of(arguments)
}

fn temporary() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state").to_string_lossy().into_owned();
    (directory, state)
}

#[test]
fn a_topic_and_the_file_it_was_loaded_from_end_in_the_same_digest() {
    let broker = broker::shared();
    let topic = broker::unique("recsim");
    let bootstrap = format!("kafka.brokers={}", broker.bootstrap());
    let loaded = json_of([
        "load",
        &repository(LOG),
        "-c",
        "configs/recsim.toml",
        "--topic",
        &topic,
        "--partitions",
        "4",
        "--set",
        &bootstrap,
        "--json",
    ]);
    assert_eq!(loaded["records"], 32_157);
    let (_kept, state) = temporary();
    let topics = format!("kafka.topics={topic}");
    let from_topic = |state: &str, more: &[&str]| {
        let mut arguments = vec!["replay", "-c", "configs/recsim.toml", "--from", "earliest", "--until", "now"];
        arguments.extend(["--state", state, "--json", "--set", &bootstrap, "--set", &topics]);
        arguments.extend(more);
        json_of(arguments)
    };
    let topic_report = from_topic(&format!("{state}-topic"), &[]);
    let file_report = from_file(&format!("{state}-file"), &[]);
    assert_eq!(topic_report["digest"], file_report["digest"], "{topic_report:#}\n{file_report:#}");
    assert_eq!(topic_report["records"], 32_157);

    // Poll sizes, fetch settings and threads are nobody's business but the machine's.
    let other_way = from_topic(
        &format!("{state}-other"),
        &[
            "--set",
            "runtime.threads=3",
            "--set",
            "kafka.properties={\"fetch.message.max.bytes\"=\"20000\", \"queued.max.messages.kbytes\"=\"64\"}",
            "--set",
            "checkpoint.every_records=1000",
            "--set",
            "merge.queue_max=3",
        ],
    );
    assert_eq!(other_way["digest"], file_report["digest"], "{other_way:#}");
    let other_settings = from_file(&format!("{state}-kappa"), &["--set", "filter.kappa=.2"]);
    assert_ne!(other_settings["digest"], file_report["digest"]);
}

#[test]
fn the_best_sessions_are_admitted_and_the_counts_add_up() {
    let (kept, state) = temporary();
    let decisions = kept.path().join("decisions.jsonl");
    let report = from_file(&state, &["--decisions", &decisions.to_string_lossy(), "--set", "learner.replay_ratio=0"]);
    let count = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{name} in {report:#}"));
    assert_eq!(count("records"), count("decoded") + count("ignored") + count("tombstones") + count("malformed"));
    assert_eq!(
        count("events"),
        count("applied") + count("duplicates") + count("late") + count("orphan") + count("parked")
    );
    assert_eq!(count("trajectories"), count("admitted") + count("filtered") + count("held") + count("expired"));
    assert_eq!((count("records"), count("trajectories")), (32_157, 200));

    let labels = fs::read_to_string(repository("tests/data/recsim_iev_mix_200.labels.csv")).unwrap();
    let logger: BTreeMap<&str, &str> = labels
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(','))
        .map(|(s, rest)| (s, rest.split(',').next().unwrap()))
        .collect();
    let lines = fs::read_to_string(&decisions).unwrap();
    let admitted: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["verdict"] == "admit")
        .collect();
    let best = admitted
        .iter()
        .filter(|line| !["random", "popular"].contains(&logger[line["session"].as_str().unwrap()]))
        .count();
    assert!(best as f64 >= 0.6 * admitted.len() as f64, "{best} of {} admitted sessions", admitted.len());
    assert_eq!(admitted.len() as u64, count("admitted"));

    // The judged share lies within four binomial standard deviations of kappa.
    let judged = lines.lines().filter(|line| !line.contains("\"verdict\":\"hold\"")).count() as f64;
    let (share, kappa) = (report["admitted_share"].as_f64().unwrap(), report["kappa"].as_f64().unwrap());
    assert!((share - kappa).abs() < 4.0 * (kappa * (1.0 - kappa) / judged).sqrt(), "{share} of {judged}");
}

#[test]
fn every_verdict_in_the_decision_log_can_be_computed_again_by_sorting() {
    for unit in ["trajectory", "step"] {
        let (kept, state) = temporary();
        let decisions = kept.path().join("decisions.jsonl");
        let unit_setting = format!("filter.unit={unit}");
        from_file(
            &state,
            &[
                "--decisions",
                &decisions.to_string_lossy(),
                "--set",
                &unit_setting,
                "--set",
                "score.kind=advantage",
                "--set",
                "score.baseline=linear",
                "--set",
                "score.generation=20",
                "--set",
                "learner.replay_ratio=0",
            ],
        );
        let mut window: Vec<f64> = Vec::new();
        let mut judged = 0;
        for (index, line) in fs::read_to_string(&decisions).unwrap().lines().enumerate() {
            let line: Value = serde_json::from_str(line).unwrap();
            if index % 97 == 0 {
                check_schema("decision", &line);
            }
            let Some(score) = line["score"].as_f64() else {
                assert_eq!((&line["verdict"], &line["reason"]), (&"hold".into(), &"no_baseline".into()));
                continue;
            };
            let seen = &window[window.len() - line["window_len"].as_u64().unwrap() as usize..];
            if let Some(threshold) = line["threshold"].as_f64() {
                judged += 1;
                let mut sorted = seen.to_vec();
                sorted.sort_by(|left, right| right.total_cmp(left));
                let mass = line["level"].as_f64().unwrap() * sorted.len() as f64;
                let rank = (mass.floor() as usize + 1).min(sorted.len());
                assert_eq!(threshold, sorted[rank - 1], "{line}");
                let above = sorted.iter().filter(|other| **other > threshold).count() as f64;
                let equal = sorted.iter().filter(|other| **other == threshold).count() as f64;
                let share = (mass - above) / equal;
                assert!((share - line["atom_share"].as_f64().unwrap()).abs() < 1e-9, "{line}");
                let weight = if score > threshold {
                    1.0
                } else if score == threshold {
                    share
                } else {
                    0.0
                };
                if line["reason"] != "user_share" {
                    assert!((weight - line["weight"].as_f64().unwrap()).abs() < 1e-9, "{line}");
                    assert_eq!(line["verdict"] == "admit", weight > 0.0, "{line}");
                }
            } else {
                assert_eq!(line["reason"], "warm_up", "{line}");
            }
            window.push(score);
        }
        assert!(judged > 100, "{judged} judged units");
    }
}

#[test]
fn the_other_logs_can_be_read_by_their_mappings() {
    for (config, file, events) in [("cb_synth", "cb_synth_5k", 5_000), ("otto", "otto20", 862)] {
        let (_kept, state) = temporary();
        let (config, file) = (format!("configs/{config}.toml"), repository(&format!("tests/data/{file}.jsonl.gz")));
        let report =
            json_of(["replay", "-c", &config, "--file", &file, "--partitions", "2", "--state", &state, "--json"]);
        assert_eq!((&report["records"], &report["malformed"]), (&events.into(), &0.into()), "{report:#}");
        assert!(report["trajectories"].as_u64() > Some(0), "{report:#}");
    }
}
