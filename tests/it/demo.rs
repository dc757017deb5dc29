//! `demo`, the real one, in a smaller world: its processes, its kill, its proof and its report.

use std::fs;

use crate::binary::{parse, sluicebox, told};
use crate::tools::check_schema;

#[test]
fn a_small_demo_kills_its_learner_and_proves_that_nothing_changed() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        "simulate.sessions=1200",
        "simulate.items=500",
        "simulate.clusters=50",
        "simulate.rate=6000.0",
        "checkpoint.every_records=1500",
        "learner.hidden=[32]",
        "learner.batch=64",
        "filter.window=500",
    ];
    let mut command = sluicebox(["demo", "--json", "--seed", "3", "--out"]);
    command.arg(directory.path());
    settings.into_iter().for_each(|setting| {
        command.args(["--set", setting]);
    });
    let output = command.output().unwrap();
    let report = parse(&output);
    check_schema("demo-report", &report);
    assert!(report["crash"]["kills"].as_u64() >= Some(1), "{}", told(&output));
    assert_eq!(report["crash"]["digest_identical"], true, "{report:#}");
    assert!(report["events"].as_u64() > Some(10_000), "{report:#}");
    // Both learners left what they say: the one that was killed has been restarted, the other has not.
    let state = |name: &str| {
        let state = directory.path().join(name);
        crate::binary::json_of(["inspect", &state.to_string_lossy(), "--json"])
    };
    let (disturbed, undisturbed) = (state("learner"), state("undisturbed"));
    assert_eq!(disturbed["digest"], report["digest"]);
    assert_eq!(undisturbed["digest"], report["digest"]);
    // The policy has learned something even here, and the exit code says what the report says.
    let returns = &report["policy_return"];
    assert!(returns["end"].as_f64() > returns["start"].as_f64(), "{returns:#}");
    assert_eq!(output.status.success(), report["ok"] == true, "{}", told(&output));

    let page = fs::read_to_string(report["report"].as_str().unwrap()).unwrap();
    assert!(page.matches("<svg").count() >= 4, "threshold, return, keep ratio and loss are drawn");
    let digest = report["digest"].as_str().unwrap();
    assert!(page.contains(&digest[..12]) && page.contains("SIGKILL"), "the proof is on the page");
    for outside in ["<script src", "<link", "https://", "<img src=\"http"] {
        assert!(!page.contains(outside), "{outside} on a page that should need nothing else");
    }
}
