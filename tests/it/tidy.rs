//! Rules about the code itself, held as data.

use std::fs;
use std::path::{Path, PathBuf};

/// What a module must not know: crate modules and outside crates whose names may not stand in its files.
const MUST_NOT_KNOW: &[(&str, &[&str])] = &[
    ("position", &["std::fs", "std::net", "rdkafka", "burn", "clock"]),
    ("time", &["std::fs", "std::net", "rdkafka", "burn", "clock"]),
    ("event", &["std::fs", "std::net", "rdkafka", "burn", "clock"]),
    ("trajectory", &["std::fs", "std::net", "rdkafka", "burn", "clock"]),
    ("decode", &["std::fs", "rdkafka", "kafka", "burn", "clock", "learner", "filter"]),
    ("assemble", &["std::fs", "rdkafka", "kafka", "burn", "clock", "learner", "filter", "merge"]),
    ("merge", &["std::fs", "rdkafka", "kafka", "burn", "clock", "learner", "filter"]),
    ("score", &["std::fs", "rdkafka", "kafka", "burn", "clock", "learner", "filter"]),
    ("window", &["std::fs", "rdkafka", "kafka", "burn", "clock", "learner", "trajectory", "event"]),
    ("filter", &["std::fs", "rdkafka", "kafka", "burn", "clock", "learner"]),
    ("learner", &["std::fs", "std::net", "rdkafka", "kafka", "clock", "window", "checkpoint"]),
    ("pipeline", &["std::fs", "std::net", "rdkafka", "kafka", "burn", "clock", "checkpoint", "learner"]),
    ("validation", &["std::fs", "std::net", "rdkafka", "kafka", "burn", "clock", "checkpoint", "learner", "filter"]),
    ("experiment", &["std::net", "rdkafka", "kafka", "burn", "clock", "checkpoint"]),
    ("evaluate", &["std::fs", "std::net", "rdkafka", "kafka", "burn", "clock", "checkpoint", "learner", "filter"]),
    ("checkpoint", &["rdkafka", "kafka", "burn", "learner", "filter", "decode"]),
    ("publish", &["rdkafka", "kafka", "burn", "clock", "learner", "filter", "runtime"]),
    (
        "serve",
        &["std::fs", "std::net", "rdkafka", "kafka", "burn", "clock", "learner", "filter", "checkpoint", "runtime"],
    ),
    ("kafka", &["burn", "learner", "filter", "window", "assemble"]),
    ("bench", &["std::net", "rdkafka", "kafka", "burn", "clock", "runtime", "cli"]),
    ("files", &["rdkafka", "kafka", "burn", "learner", "filter", "window", "assemble"]),
];

#[test]
fn modules_do_not_know_what_they_must_not() {
    let mut breaches = Vec::new();
    for (module, forbidden) in MUST_NOT_KNOW {
        for file in files_of(module) {
            for (number, line) in product_lines(&file) {
                for name in *forbidden {
                    let known = [format!("crate::{name}"), format!("{name}::")];
                    let own_path =
                        line.contains(&format!("self::{name}::")) || line.contains(&format!("super::{name}::"));
                    if !own_path && known.iter().any(|known| mentions(&line, known)) {
                        breaches.push(format!("{}:{number}: {module} must not know {name}: {line}", file.display()));
                    }
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn only_one_module_uses_each_of_the_outside_worlds() {
    for (outside, home) in
        [("rdkafka::", "kafka"), ("burn::", "learner"), ("Instant::now", "clock"), ("SystemTime::now", "clock")]
    {
        for file in source_files() {
            let module = module_of(&file);
            for (number, line) in product_lines(&file) {
                assert!(
                    module == home || !mentions(&line, outside),
                    "{}:{number}: only {home} may use {outside}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn outside_data_cannot_panic_by_habit() {
    for file in source_files() {
        for (number, line) in product_lines(&file) {
            for habit in [".unwrap()", ".expect(\"", "todo!(", "unimplemented!(", "#[allow(", "#![allow("] {
                assert!(!line.contains(habit), "{}:{number}: {habit}", file.display());
            }
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for file in source_files().into_iter().filter(|file| !is_test_file(file)) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} has no module documentation", file.display());
    }
}

#[test]
fn every_mutation_still_fits_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in fs::read_dir(root.join("tests/mutants")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "patch") {
            for field in ["Why: ", "\nTest: ", "\nCargo: "] {
                assert!(text.contains(field), "{} has no {field:?}", path.display());
            }
        }
        for section in text.split("\n--- a/").skip(1) {
            let file = fs::read_to_string(root.join(section.lines().next().unwrap())).unwrap();
            for hunk in section.split("\n@@ ").skip(1) {
                let before = hunk.lines().skip(1).filter(|line| !line.starts_with('+'));
                let before: String = before.map(|line| format!("\n{}", line.get(1..).unwrap_or_default())).collect();
                assert!(format!("\n{file}").contains(&before), "{} does not apply any more", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "{seen} hunks");
}

fn mentions(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !is_word(before) && (name.ends_with("::") || !is_word(after))
    })
}

/// Lines outside comments and test modules, with their numbers.
fn product_lines(file: &Path) -> Vec<(usize, String)> {
    if is_test_file(file) {
        return Vec::new();
    }
    let text = fs::read_to_string(file).unwrap();
    // What is only there for tests stands at the end of a file; declarations of test modules may stand anywhere.
    let end = text.match_indices("#[cfg(test)]\n").find(|(at, mark)| {
        let next = text[at + mark.len()..].lines().next().unwrap_or_default();
        !next.trim_end().ends_with(';')
    });
    let product = &text[..end.map_or(text.len(), |(at, _)| at)];
    product
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line.to_owned()))
        .collect()
}

/// Files of modules that are there for tests only, because their own declaration or that of a module above says so.
fn is_test_file(file: &Path) -> bool {
    let folder = file.parent().unwrap();
    // A module's declaration stands beside it, or, for a `mod.rs`, beside its folder.
    let (beside, name) = match file.file_stem().unwrap_or_default() == "mod" {
        true => (folder.parent().unwrap(), folder.file_name()),
        false => (folder, file.file_stem()),
    };
    let name = name.unwrap_or_default().to_string_lossy().into_owned();
    let declared = [beside.join("mod.rs"), beside.join("lib.rs"), beside.with_extension("rs")];
    let is_declared = declared.iter().filter_map(|parent| fs::read_to_string(parent).ok()).any(|text| {
        let declarations =
            ["", "pub ", "pub(crate) ", "pub(super) "].map(|visibility| format!("{visibility}mod {name};"));
        let conditions = ["#[cfg(test)]", "#[cfg(any(test, fuzzing))]"];
        conditions.iter().any(|condition| declarations.iter().any(|it| text.contains(&format!("{condition}\n{it}"))))
    });
    let above = beside.join("mod.rs");
    is_declared || (above.exists() && above != file && is_test_file(&above))
}

fn source_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn files_of(module: &str) -> Vec<PathBuf> {
    let files: Vec<_> = source_files().into_iter().filter(|file| module_of(file) == module).collect();
    assert!(!files.is_empty(), "the table names {module}, which does not exist");
    files
}

/// The top-level module that a file belongs to.
fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}
