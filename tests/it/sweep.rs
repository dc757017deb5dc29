//! `replay --sweep`: one reading, and every variant as if it had been replayed alone.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::binary::{failure_of, json_of, repository};
use crate::tools::check_schema;

const LOG: &str = "tests/data/recsim_iev_mix_200.jsonl.gz";

fn replay(state: &Path, more: &[&str]) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["replay", "-c", "configs/recsim.toml", "--partitions", "3", "--json"].map(str::to_owned).into();
    arguments.extend(["--file".to_owned(), repository(LOG)]);
    arguments.extend(["--state".to_owned(), state.to_string_lossy().into_owned()]);
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    arguments
}

fn variant<'a>(report: &'a Value, name: &str) -> &'a Value {
    let variants = report["variants"].as_array().unwrap();
    variants.iter().find(|variant| variant["variant"] == name).unwrap_or_else(|| panic!("{name} in {report:#}"))
}

#[test]
fn every_variant_of_a_sweep_ends_in_the_digest_of_its_own_replay() {
    let kept = tempfile::tempdir().unwrap();
    let (state, quick) = (kept.path().join("sweep"), ["--set", "learner.replay_ratio=0.2"]);
    let sweep = ["--sweep", "filter.kappa=.05,.2", "--sweep", "learner.objective=drpo,bc"];
    let report = json_of(replay(&state, &[&sweep[..], &quick].concat()));
    check_schema("sweep-report", &report);
    assert_eq!((report["variants"].as_array().unwrap().len(), &report["readings"]), (4, &1.into()));
    let name = "filter.kappa=.2+learner.objective=bc";
    assert_eq!(variant(&report, name)["settings"]["filter.kappa"], "0.2");
    for (kappa, objective) in [(".05", "drpo"), (".2", "bc")] {
        let settings = [format!("filter.kappa={kappa}"), format!("learner.objective={objective}")];
        let alone = kept.path().join(settings.join("+"));
        let alone = json_of(replay(&alone, &[&["--set", &settings[0], "--set", &settings[1]][..], &quick].concat()));
        let swept = &variant(&report, &settings.join("+"))["report"];
        check_schema("replay-report", swept);
        assert_eq!(swept["digest"], alone["digest"], "{swept:#}\n{alone:#}");
        assert_eq!(swept["records"], 32_157);
    }
    let page = fs::read_to_string(state.join("sweep.html")).unwrap();
    assert!(page.contains(name) && !page.contains("http://") && !page.contains("https://"));

    // What is there already is not done again, and is a replay's state in every way.
    let again = json_of(replay(&state, &[&sweep[..], &quick].concat()));
    assert_eq!(again["variants"][0]["report"]["digest"], report["variants"][0]["report"]["digest"]);
    let inspected = json_of(["inspect", &state.join(name).to_string_lossy(), "--json"]);
    assert_eq!(inspected["digest"], variant(&report, name)["report"]["digest"]);
    let said =
        failure_of(replay(&state, &["--sweep", "filter.kappa=.05,.2", "--sweep", "learner.objective=drpo,bc"]), 78);
    assert!(said.contains("learner.replay_ratio"), "{said}");
}

#[test]
fn what_changes_the_sessions_is_read_again_for_each() {
    let kept = tempfile::tempdir().unwrap();
    let sweep = ["--sweep", "session.max_steps=20,1000", "--sweep", "filter.kappa=.1,.2"];
    let no_training = ["--set", "learner.replay_ratio=0"];
    let report = json_of(replay(&kept.path().join("sweep"), &[&sweep[..], &no_training].concat()));
    assert_eq!(report["readings"], 2);
    let trajectories = |name: &str| variant(&report, name)["report"]["trajectories"].as_u64().unwrap();
    assert_eq!(trajectories("session.max_steps=1000+filter.kappa=.2"), 200);
    assert!(trajectories("session.max_steps=20+filter.kappa=.2") > 1_000);
}

#[test]
fn a_sweep_that_makes_no_sense_is_refused_before_it_reads() {
    let kept = tempfile::tempdir().unwrap();
    let state = kept.path().join("sweep");
    for (sweep, code, reason) in [
        ("filter.kappa", 64, "no ="),
        ("filter.kappa=.1,,.2", 64, "empty"),
        ("filter.kappa=.1,.1", 64, "twice"),
        ("filter.kappa=.1,7", 78, "filter.kappa"),
        ("filter.kapa=.1,.2", 78, "filter.kappa"),
    ] {
        let said = failure_of(replay(&state, &["--sweep", sweep]), code);
        assert!(said.contains(reason), "{sweep}: {said}");
        assert!(said.contains("--sweep") && !said.contains("--set"), "{sweep}: {said}");
    }
    let nowhere = kept.path().join("nowhere/page.html");
    let said = failure_of(replay(&state, &["--sweep", "filter.kappa=.1,.2", "--html", &nowhere.to_string_lossy()]), 74);
    assert!(said.contains("nowhere/page.html"), "{said}");
    assert!(!state.exists());
}
