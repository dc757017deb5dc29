//! The product's own proof, run on real logs: the process is killed again and again, and nobody can tell.

use std::fs;
use std::sync::OnceLock;

use serde_json::Value;

use crate::binary::{json_of, repository};
use crate::broker::{shared, unique};

pub const LOG: &str = "tests/data/recsim_iev_mix_200.jsonl.gz";
pub const RECORDS: u64 = 32_157;

/// The settings that make the recsim log the topic that all tests share which only read it.
pub fn recsim_topic() -> [String; 2] {
    static TOPIC: OnceLock<String> = OnceLock::new();
    let brokers = format!("kafka.brokers={}", shared().bootstrap());
    let topic = TOPIC.get_or_init(|| {
        let topic = unique("recsim-shared");
        let log = repository(LOG);
        let loaded =
            // A broker that has just started on a busy machine takes its time over a first topic.
            json_of([&["load", &log, "-c", "configs/recsim.toml", "--topic", &topic, "--set", &brokers, "--json"][..],
                &["--set", "kafka.connect_timeout=3m"]].concat());
        assert_eq!(loaded["records"], RECORDS);
        topic
    });
    [brokers, format!("kafka.topics={topic}")]
}

fn proof(kills: u32, seed: u32, more: &[&str]) -> Value {
    let (kills, seed) = (kills.to_string(), seed.to_string());
    let mut arguments =
        vec!["verify-resume", "-c", "configs/recsim.toml", "--json", "--kills", &kills, "--seed", &seed];
    arguments.extend(more);
    json_of(arguments)
}

fn assert_proven(report: &Value, kills: u64) {
    assert_eq!(report["identical"], true, "{report:#}");
    assert_eq!(report["digest"], report["digest_after_kills"], "{report:#}");
    assert_eq!((&report["decisions_identical"], &report["dead_letters_identical"]), (&true.into(), &true.into()));
    assert_eq!(report["kills"], kills, "{report:#}");
    assert!(report["share_after_first_seal"].as_f64() >= Some(0.8), "{report:#}");
    assert!(report["kills_by_record"].as_u64() > Some(0) && report["kills_by_disk"].as_u64() > Some(0), "{report:#}");
}

#[test]
fn a_crash_is_invisible() {
    let [brokers, topic] = recsim_topic();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("proof");
    let report = proof(50, 1, &["--set", &brokers, "--set", &topic, "--state", &state.to_string_lossy()]);
    assert_proven(&report, 50);
    // What was compared is not empty, and the kills did happen in the state that was compared.
    let lines = |run: &str| fs::read_to_string(state.join(run).join("decisions.jsonl")).unwrap();
    assert_eq!(lines("straight").lines().count(), 200);
    assert_eq!(lines("straight"), lines("killed"));
    let drafts = fs::read_dir(state.join("killed/state")).unwrap();
    assert!(drafts.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with("draft-")));
}

#[test]
fn a_crash_is_invisible_with_baselines_steps_and_embeddings_too() {
    let log = repository(LOG);
    let items = format!("catalog.file={}", repository("tests/data/recsim_iev_items.jsonl"));
    let settings = [
        "filter.unit=step",
        "score.kind=advantage",
        "score.baseline=linear",
        "score.generation=500",
        "learner.policy=gaussian",
        "learner.replay_ratio=0.1",
        "catalog.item=/item_id",
        "catalog.embedding=/features",
        &items,
    ];
    let mut more = vec!["--file", &log, "--partitions", "3"];
    settings.iter().for_each(|setting| more.extend(["--set", setting]));
    for seed in [7, 8] {
        let report = proof(12, seed, &more);
        assert_proven(&report, 12);
    }
}

/// A fit of the network comes back from the learner's thread: where a kill finds it must not matter.
#[test]
fn a_crash_is_invisible_to_a_baseline_that_the_learner_has_to_answer() {
    let log = repository(LOG);
    let mut more = vec!["--file", &log, "--partitions", "3"];
    for setting in ["filter.unit=step", "score.kind=advantage", "score.baseline=network", "score.scale=context"] {
        more.extend(["--set", setting]);
    }
    more.extend([
        "--set",
        "score.generation=100",
        "--set",
        "filter.noise_gate=0.2",
        "--set",
        "learner.replay_ratio=0.1",
    ]);
    let report = proof(12, 5, &more);
    assert_proven(&report, 12);
}

/// What is asked of a tilted policy depends on its critic, and so on where the critic's batches stand among the questions.
#[test]
fn a_crash_is_invisible_to_a_tilted_policy_and_its_validation() {
    let log = repository("tests/data/recsim_iev_mix_200.jsonl.gz");
    let mut arguments = vec!["verify-resume", "-c", "configs/recsim.toml", "--file", &log, "--partitions", "4"];
    arguments.extend(["--set", "learner.tilt=1", "--set", "validation.share=0.2"]);
    arguments.extend(["--kills", "6", "--seed", "3", "--json"]);
    let report = json_of(arguments);
    assert_eq!(report["identical"], true, "{report:#}");
}
