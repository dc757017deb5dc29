//! What is learned from a log, asked of sessions that were held out of it. Who logged which session is known here alone.

use std::collections::HashMap;
use std::fs;
use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::binary::{json_of, repository};
use crate::publish::Conversation;

const ITEMS: f64 = 50.0;
const FOLDS: u64 = 4;

/// The log without one fold of its sessions, and that fold.
struct Split {
    directory: tempfile::TempDir,
    held_out: Vec<Value>,
    loggers: HashMap<String, String>,
}

fn session(event: &Value) -> &str {
    event["session_id"].as_str().unwrap()
}

impl Split {
    fn new(fold: u64) -> Split {
        let directory = tempfile::tempdir().unwrap();
        let (mut kept, mut held_out, mut lines) = (String::new(), Vec::new(), String::new());
        let file = fs::File::open(repository("tests/data/recsim_iev_mix_200.jsonl.gz")).unwrap();
        GzDecoder::new(file).read_to_string(&mut lines).unwrap();
        for line in lines.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            // By a hash of the session and not by time: neither users nor loggers stand in any order.
            if xxh3_64(session(&event).as_bytes()) % FOLDS != fold {
                kept.push_str(line);
                kept.push('\n');
            } else if event["type"] == "impression" {
                held_out.push(event);
            }
        }
        fs::write(directory.path().join("log.jsonl"), kept).unwrap();
        let labels = fs::read_to_string(repository("tests/data/recsim_iev_mix_200.labels.csv")).unwrap();
        let fields = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
        let loggers = labels.lines().skip(1).map(fields).map(|fields| (fields[0].clone(), fields[1].clone())).collect();
        Split { directory, held_out, loggers }
    }

    /// Mean log pi(a | s) over the held-out decisions of each logger, after one pass over the rest. Item for item as a service would ask.
    fn log_likelihoods(&self, settings: &[&str]) -> HashMap<&str, f64> {
        let path = |name: &str| self.directory.path().join(name).to_string_lossy().into_owned();
        let (log, state) = (path("log.jsonl"), path(&settings.concat()));
        let mut arguments =
            vec!["replay", "-c", "configs/recsim.toml", "--file", &log, "--state", &state, "--publish", "--json"];
        settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
        json_of(arguments);
        let mut policy = Conversation::recommend(&format!("{state}/published"), &["--temperature", "1"]);
        let mut sums: HashMap<&str, (f64, f64)> = HashMap::new();
        for event in &self.held_out {
            let mut decision = event.clone();
            let item = decision["item_id"].take().to_string();
            decision["propensity"].take();
            let answer = policy.ask(&json!({ "decision": decision, "top": ITEMS as usize }).to_string());
            let place = answer["items"].as_array().unwrap().iter().position(|other| *other == *item);
            let place = place.unwrap_or_else(|| panic!("{item} is missing: {answer}"));
            let log = answer["propensities"][place].as_f64().unwrap().ln();
            let sum = sums.entry(&self.loggers[session(event)]).or_default();
            *sum = (sum.0 + log, sum.1 + 1.0);
        }
        assert_eq!(policy.end(), 0);
        sums.into_iter().map(|(logger, (sum, count))| (logger, sum / count)).collect()
    }
}

/// Against a policy that knows nothing: uniform over the items.
fn assert_tells_them_apart(fold: u64, settings: &[&str], margin: f64) {
    let split = Split::new(fold);
    let found = split.log_likelihoods(settings);
    let uniform = -ITEMS.ln();
    let (near_optimal, random) = (found["oracle"], found["random"]);
    assert!(near_optimal > uniform + margin, "fold {fold}, {settings:?}: {found:?} against {uniform:.2}");
    assert!(random < uniform - margin, "fold {fold}, {settings:?}: {found:?} against {uniform:.2}");
}

#[test]
fn the_filter_learns_the_near_optimal_logger_and_unlearns_the_random_one() {
    assert_tells_them_apart(0, &["learner.objective=drpo"], 0.4);
    assert_tells_them_apart(1, &["learner.objective=adaptive-bc"], 0.4);
}

#[test]
fn weights_over_the_whole_log_tell_the_loggers_apart_too() {
    // Everything is admitted, so that fewer draws of each step are as many updates.
    let whole = ["filter.kappa=1", "learner.replay_ratio=8"];
    assert_tells_them_apart(2, &[whole[0], whole[1], "learner.objective=bc"], 0.05);
    assert_tells_them_apart(3, &[whole[0], whole[1], "learner.objective=awr"], 0.05);
}
