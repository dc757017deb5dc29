//! Checkpoints that an earlier version has written.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::binary::{json_of, repository};

/// Written as `tests/fixtures/README.md` says.
const FIXTURE: &str = "tests/fixtures/checkpoint-v1";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), &to).unwrap()),
        }
    }
}

#[test]
fn a_checkpoint_of_the_first_format_is_described_and_gone_on_from() {
    let directory = tempfile::tempdir().unwrap();
    // A name that looks like that of a checkpoint, and is that of a state directory.
    let state = directory.path().join("checkpoint-old");
    copy(Path::new(&repository(FIXTURE)), &state);
    let state = state.to_string_lossy();
    let found = json_of(["inspect", &state, "--json"]);
    assert_eq!((&found["format"], &found["sequence"]), (&1.into(), &7.into()), "{found:#}");
    assert_eq!(found["counters"]["records"], 700);

    let (config, log) = (repository(&format!("{FIXTURE}.toml")), repository("tests/data/otto20.jsonl.gz"));
    let replay = ["replay", "-c", &config, "--file", &log, "--partitions", "1", "--state", &state, "--json"];
    let report: Value = json_of(replay);
    assert_eq!((&report["records"], &report["restarts"]), (&862.into(), &1.into()), "{report:#}");
    assert!(report["updates"].as_u64() > found["counters"]["updates"].as_u64(), "{report:#} after {found:#}");
}
