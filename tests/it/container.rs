//! The container files, where no engine is at hand: by the schema of compose files, and by what a build reads.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::binary::{python, repository, told};

#[test]
fn docker_compose_fits_the_specification_the_image_and_the_command_line() {
    let mut check = Command::new(python());
    check.arg(repository("tests/compose.py")).args(["--schema", &repository("tests/data/compose-spec.json")]);
    let output = check.args(["--sluicebox", env!("CARGO_BIN_EXE_sluicebox")]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn the_image_is_built_from_everything_that_the_build_reads() {
    let ignore = fs::read_to_string(repository(".dockerignore")).unwrap();
    let copied: BTreeSet<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut read: BTreeSet<String> = ["Cargo.toml", "Cargo.lock", "src"].map(str::to_owned).into();
    if fs::read_to_string(repository("Cargo.toml")).unwrap().contains("[[bench]]") {
        // Cargo refuses a package whose named targets have no files, whichever of them it builds.
        read.insert("benches".to_owned());
    }
    collect_included(Path::new(&repository("src")), &mut read);
    assert!(read.contains("configs"), "{read:?}");
    let missing: Vec<&String> = read.iter().filter(|name| !copied.contains(name.as_str())).collect();
    assert!(missing.is_empty(), ".dockerignore leaves out {missing:?}");
}

/// The top folders outside `src` that `include_str!` and `include_bytes!` reach into.
fn collect_included(folder: &Path, read: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_included(&path, read);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for included in ["include_str!(\"", "include_bytes!(\""].iter().flat_map(|open| text.split(open).skip(1)) {
            let file = included.split('"').next().unwrap_or_default();
            if let Ok(found) = folder.join(file).canonicalize() {
                let inside = found.strip_prefix(Path::new(&repository("")).canonicalize().unwrap()).unwrap();
                read.insert(inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned());
            }
        }
    }
}
