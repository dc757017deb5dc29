//! Objectives with the real binary: one that diverges is held, and the studies say what they measured.

use std::fs;

use serde_json::Value;

use crate::binary::{failure_of, json_of, repository};
use crate::tools::check_schema;

/// A small simulated log in the paper's setting: single decisions, raw rewards, nothing filtered.
const SETTINGS: &str = r#"
[mapping]
context_dimension = 8
[catalog]
file = "CATALOG"
[state]
history = { length = 0, pooling = "none" }
[score]
kind = "reward"
baseline = "none"
[filter]
unit = "step"
kappa = 1.0
warmup = "admit"
max_share_per_user = 1.0
[learner]
hidden = [32, 32]
batch = 64
replay_ratio = 8.0
[simulate]
items = 300
clusters = 20
dimension = 10
context = 8
sessions = 1500
"#;

#[test]
fn an_objective_that_diverges_is_refused_rolled_back_and_counted_and_the_process_stays_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let settings = path("settings.toml");
    fs::write(&settings, SETTINGS.replace("CATALOG", &path("items.jsonl"))).unwrap();
    json_of(["simulate", "-c", &settings, "--file", &path("log.jsonl"), "--seed", "5", "--json"]);
    let replay = |objective: &str, more: &[&str]| -> Value {
        let (log, state) = (path("log.jsonl"), path(&format!("state-{objective}")));
        let set = format!("learner.objective={objective}");
        let mut arguments = vec!["replay", "-c", &settings, "--file", &log, "--state", &state, "--set", &set, "--json"];
        arguments.extend(more);
        json_of(arguments)
    };
    // Ends with 0: a policy that runs away is no reason to fall over.
    let apg = replay("apg", &[]);
    assert!(apg["refused_updates"].as_u64() > Some(20), "{apg:#}");
    assert!(apg["rollbacks"].as_u64() > Some(2), "{apg:#}");
    assert!(apg["updates"].as_u64() > Some(100), "it went on learning: {apg:#}");
    // The same log, the same number of decisions: nothing to refuse where nothing repels.
    let drpo = replay("drpo", &["--set", "filter.kappa=0.1"]);
    assert_eq!((&drpo["refused_updates"], &drpo["rollbacks"]), (&0.into(), &0.into()), "{drpo:#}");
    assert_eq!(apg["steps"], drpo["steps"]);
}

#[test]
fn the_studies_print_their_checks_and_are_the_same_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let out = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let study = |name: &str| repository(&format!("configs/experiments/{name}.toml"));
    let run = |name: &str| -> Value {
        let (phantom, curriculum) = (study("phantom"), study("curriculum"));
        let set = ["--set", "quick.seeds=2"];
        json_of([&["experiment", &phantom, &curriculum, "--quick", "--out", &out(name), "--json"][..], &set].concat())
    };
    let (first, again) = (run("a"), run("b"));
    check_schema("experiment-report", &first);
    assert!(first["command"].as_str().is_some_and(|command| command.contains("--set quick.seeds=2")), "{first:#}");
    assert_eq!(first["checks"], again["checks"]);
    assert_eq!(first["ok"], true, "{first:#}");
    assert!(first["checks"].as_array().is_some_and(|checks| checks.len() > 10), "{first:#}");
    let markdown = fs::read_to_string(directory.path().join("a/experiments.md")).unwrap();
    let html = fs::read_to_string(directory.path().join("a/experiments.html")).unwrap();
    assert!(markdown.contains("| 9 curriculum, Gaussian |") && html.contains("9 curriculum, Gaussian"));
    assert!(!html.contains("http://") || html.contains("http://www.w3.org/"), "the page stands alone");
}

#[test]
fn a_wrong_study_is_named_with_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("wrong.toml");
    fs::write(&file, "study = \"noise\"\ntitle = \"x\"\nabout = \"y\"\nsteps = 3\n").unwrap();
    let told = failure_of(["experiment", &file.to_string_lossy()], 78);
    assert!(told.contains("wrong.toml") && told.contains("steps"), "{told}");
    let started = std::time::Instant::now();
    let told = failure_of(["experiment", "--quick", "--out", &file.join("below").to_string_lossy()], 74);
    assert!(told.contains("wrong.toml/below") && started.elapsed().as_secs() < 10, "before the first study: {told}");
    let told = failure_of(["experiment", "--quick", "--set", "quick.seed=3"], 78);
    assert!(told.contains("quick.seed") && told.contains("did you mean quick.seeds?"), "{told}");
}
