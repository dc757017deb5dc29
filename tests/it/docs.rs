//! What the documents say is held to the code.

use std::fs;
use std::path::Path;

use crate::binary::{failure_of, repository, sluicebox};

fn text(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

fn sources() -> String {
    let mut all = String::new();
    let mut folders = vec![repository("src"), repository("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.to_string_lossy().into_owned());
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    all
}

#[test]
fn every_test_that_holds_a_promise_exists() {
    let sources = sources();
    let mut named = 0;
    for row in text("docs/guarantees.md").lines().filter(|line| line.starts_with("| ") && line.contains("_")) {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for test in tests.split('`').skip(1).step_by(2) {
            assert!(sources.contains(&format!("fn {test}(")), "{test} does not exist: {row}");
            named += 1;
        }
    }
    assert!(named > 15, "{named} tests named");
}

#[test]
fn the_settings_of_the_readme_are_accepted() {
    let readme = text("README.md");
    let toml = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("my.toml");
    fs::write(&file, toml).unwrap();
    let record = r#"{"type":"impression","ts_ms":1700000000000,"user":{"id":7},"item_id":"a","features":[0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9]}"#;
    let click = r#"{"type":"click","ts_ms":1700000001000,"user":{"id":7},"item_id":"a"}"#;
    let sample = directory.path().join("sample.jsonl");
    fs::write(&sample, format!("{record}\n{click}\n")).unwrap();
    let output = sluicebox(["check", "-c"]).arg(&file).arg("--sample").arg(&sample).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", crate::binary::told(&output));
    let report = crate::binary::parse(&output);
    assert_eq!((&report["decoded"], &report["malformed"]), (&2.into(), &0.into()), "{report:#}");
}

#[test]
fn what_the_documents_link_to_exists() {
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "docs/guarantees.md",
        "docs/failures.md",
        "docs/mapping.md",
        "docs/performance.md",
        "docs/serving.md",
    ];
    for document in documents {
        let text = text(document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") || link.starts_with('#') {
                continue;
            }
            let base = Path::new(&repository(document)).parent().unwrap().to_path_buf();
            assert!(base.join(link).exists(), "{document} links to {link}");
        }
    }
}

#[test]
fn the_metrics_that_the_documents_name_are_declared() {
    let declared: Vec<&str> = sluicebox::telemetry::declared::ALL.iter().map(|metric| metric.name).collect();
    for document in ["README.md", "docs/failures.md", "docs/performance.md"] {
        let text = text(document);
        for name in text.split('`').skip(1).step_by(2).filter(|quoted| quoted.starts_with("sluicebox_")) {
            assert!(declared.contains(&name), "{document} names {name}");
        }
    }
}

/// What the refusal of a key that does not exist offers instead.
fn keys_of(table: &str) -> Vec<String> {
    let nonsense = format!("{table}.nonsense=1");
    let said = failure_of(["check", "--sample", &repository("README.md"), "--set", &nonsense], 78);
    let (_, offered) = said.split_once("expected one of").unwrap_or_else(|| panic!("{said}"));
    offered.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_key_of_the_mapping_is_explained() {
    let text = text("docs/mapping.md");
    for table in ["mapping", "mapping.feedback"] {
        let keys = keys_of(table);
        assert!(keys.len() > 8, "{keys:?}");
        for key in keys {
            assert!(text.contains(&format!("`{key}`")), "docs/mapping.md says nothing of {table}.{key}");
        }
    }
}

#[test]
fn the_examples_of_the_mapping_read_their_records() {
    let text = text("docs/mapping.md");
    let blocks = |language: &str| -> Vec<String> {
        let fence = format!("```{language}\n");
        let parts = text.split(&fence).skip(1);
        parts.map(|part| part.split("```").next().unwrap().to_owned()).collect()
    };
    let (mappings, records) = (blocks("toml"), blocks("json"));
    assert_eq!((mappings.len(), records.len()), (2, 2));
    // Decisions, and what they earned: a click and a purchase; nothing, and a click.
    for (index, (decisions, most)) in [(1, 10.0), (2, 1.0)].into_iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let (config, sample) = (directory.path().join("my.toml"), directory.path().join("sample.jsonl"));
        fs::write(&config, &mappings[index]).unwrap();
        fs::write(&sample, &records[index]).unwrap();
        let output =
            sluicebox(["check", "-c"]).arg(&config).arg("--sample").arg(&sample).arg("--json").output().unwrap();
        let report = crate::binary::parse(&output);
        assert_eq!(report["malformed"], 0, "{report:#}");
        assert_eq!(
            (&report["kinds"]["decision"], &report["reward_max"]),
            (&decisions.into(), &most.into()),
            "{report:#}"
        );
        // Feedback finds its decision: what the sessions earned is on average all there was.
        assert!(report["mean_return"].as_f64() >= Some(most), "{report:#}");
    }
}
