//! Progressive validation through the whole program.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::binary::{json_of, repository};
use crate::tools::check_schema;

fn replay(config: &str, log: &str, state: &Path, settings: &[&str]) -> Value {
    let state = state.to_string_lossy();
    let mut arguments = vec!["replay", "-c", config, "--file", log, "--partitions", "3", "--state", &state, "--json"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let report = json_of(arguments);
    check_schema("replay-report", &report);
    report
}

#[test]
fn looking_changes_nothing_that_is_learned() {
    let kept = tempfile::tempdir().unwrap();
    let log = repository("tests/data/recsim_iev_mix_200.jsonl.gz");
    let of = |name: &str, settings: &[&str]| {
        replay(
            "configs/recsim.toml",
            &log,
            &kept.path().join(name),
            &[&["learner.replay_ratio=0.5"], settings].concat(),
        )
    };
    let (blind, watched) = (of("blind", &["validation.share=0"]), of("watched", &["validation.share=0.5"]));
    let part = |report: &Value, name: &str| {
        fs::read(PathBuf::from(report["checkpoint"].as_str().unwrap()).join(name)).unwrap()
    };
    for name in ["policy", "optimizer"] {
        assert_eq!(part(&blind, name), part(&watched, name), "{name}");
    }
    assert_eq!(blind["validation"], Value::Null);
    let validation = &watched["validation"];
    let (scored, steps) = (validation["scored"].as_f64().unwrap(), watched["steps"].as_f64().unwrap());
    assert!((scored / steps - 0.5).abs() < 0.02, "{scored} of {steps}");
    assert_eq!(validation["steps"], 2_000, "the window is full");
    let by_delay = validation["by_delay"].as_array().unwrap().iter().map(|group| group["steps"].as_u64().unwrap());
    assert_eq!(by_delay.sum::<u64>(), 2_000);

    // Threads and seals decide when the core hands over, not in which order the policy is asked and taught.
    let other = of("other", &["validation.share=0.5", "runtime.threads=3", "checkpoint.every_records=700"]);
    assert_eq!((&other["digest"], &other["validation"]), (&watched["digest"], &watched["validation"]));
}

#[test]
fn what_the_policy_has_learned_shows_before_it_trains_on_it() {
    let kept = tempfile::tempdir().unwrap();
    let (log, config) = (kept.path().join("log.jsonl"), kept.path().join("settings.toml"));
    let mut lines = Vec::new();
    for session in 0..1_500_u64 {
        let start = 1_767_225_600_000 + session * 60_000;
        for step in 0..4 {
            let side = if (session + step) % 2 == 0 { 1 } else { -1 };
            lines.push(format!(
                r#"{{"type":"decision","ts":{},"user":"u{session}","item":"i{side}","context":[{side}],"propensity":0.5,"reward":1}}"#,
                start + step * 1_000
            ));
        }
        // Half of the sessions end at once, the others when they have been silent for long.
        if session % 2 == 0 {
            lines.push(format!(r#"{{"type":"session_end","ts":{},"user":"u{session}"}}"#, start + 5_000));
        }
    }
    fs::write(&log, lines.join("\n")).unwrap();
    let settings = "[mapping]\ncontext_dimension = 1\n[state]\nhistory = { length = 0, pooling = \"none\" }\n\
                    [score]\nkind = \"reward\"\nbaseline = \"none\"\n[filter]\nkappa = 0.5\nmax_share_per_user = 1.0\n\
                    [learner]\npolicy = \"softmax\"\nobjective = \"bc\"\nbatch = 32\nlearning_rate = 1e-2\n\
                    hidden = [16]\n[validation]\nshare = 1.0\nwindow = 400\n";
    fs::write(&config, settings).unwrap();
    let (config, log) = (config.to_string_lossy(), log.to_string_lossy());
    let report = replay(&config, &log, &kept.path().join("state"), &["learner.replay_ratio=4"]);
    let validation = &report["validation"];
    assert_eq!(validation["scored"], 6_000);
    assert!(validation["hit_rate"].as_f64() > Some(0.95), "{validation:#}");
    assert!(validation["log_likelihood"].as_f64() > Some(-0.3), "{validation:#}");
    assert_eq!(validation["mean_reward"], 1.0);
    assert!((validation["snips"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{validation:#}");
    let delays: Vec<&Value> = validation["by_delay"].as_array().unwrap().iter().map(|group| &group["delay"]).collect();
    // The end of the range closes what was opened in its last half hour.
    assert_eq!(delays, ["under_minute", "under_ten_minutes", "under_hour"]);
}
