//! What the documents say is held to the code.

use std::fs;
use std::path::Path;

use crate::binary::{repository, sluicebox};

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
    for document in ["README.md", "ARCHITECTURE.md", "docs/guarantees.md", "docs/failures.md", "docs/performance.md"] {
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
