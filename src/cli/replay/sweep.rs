//! `replay --sweep`: one range under several settings, side by side.
//!
//! What the settings under comparison do not concern is done once: variants that read and assemble the log alike share
//! one reading, and part only where trajectories are merged. Each variant ends in the state, and so in the digest, of a
//! replay of its own.

mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::plan::{self, Paths, job_failure};
use super::super::{args, print_json, print_text};
use super::{RANGE_FILE, ReplayReport, check_log, finished, keep_range, open_source, read_back, watch};
use crate::checkpoint::{Purpose, RealDisk, StateDirectory, replace_file};
use crate::clock::Stopwatch;
use crate::exit::{Exit, Failure};
use crate::runtime::{self, Job, JobError, JobSpec, Mode, Outcome, SealPlan};
use crate::settings::{self, Settings};

/// What `replay --sweep --json` prints; `schemas/sweep-report.v1.schema.json`.
#[derive(Debug, Serialize)]
struct Report {
    from: String,
    until: String,
    /// What was varied, and over which values.
    sweep: BTreeMap<String, Vec<String>>,
    /// How often the range was read.
    readings: usize,
    variants: Vec<Row>,
    page: Option<PathBuf>,
    elapsed_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    /// Also the name of its directory below the state directory.
    variant: String,
    settings: BTreeMap<String, String>,
    report: ReplayReport,
}

/// One point of the product of all swept settings.
struct Variant {
    name: String,
    assignments: Vec<(String, String)>,
    settings: Settings,
}

/// Every variant holds a window, a buffer and two networks.
const VARIANTS_MAX: usize = 64;
const PAGE: &str = "sweep.html";

/// Settings that matter only after the trajectories of a log have been assembled.
const AFTER_ASSEMBLY: [&str; 6] = ["catalog.", "filter.", "learner.", "reward.clip", "score.", "state."];

pub fn sweep(arguments: &args::Replay, state: &Path) -> Result<Exit, Failure> {
    let stopwatch = Stopwatch::start();
    let axes = axes(&arguments.sweep)?;
    let variants = variants(arguments, &axes)?;
    let unwritable = |path: &Path| {
        let path = path.display().to_string();
        move |error| Exit::Io.because(format!("could not write {path}: {error}"))
    };
    if let Some(path) = &arguments.html {
        // Told before the log is read, not after.
        fs::OpenOptions::new().create(true).append(true).open(path).map_err(unwritable(path))?;
    }
    let claim = StateDirectory::claim(&RealDisk, state, Purpose::Replay);
    let _claim = claim.map_err(|error| job_failure(JobError::Checkpoint(error)))?;
    let groups = groups(&variants);
    let mut done_before = BTreeSet::new();
    for group in &groups {
        done_before.extend(read_once(arguments, state, group)?);
    }
    finished::tidy_up(&arguments.source, state);
    let seconds = stopwatch.seconds();
    let rows = variants.iter().map(|variant| {
        let outcome = read_back(&state.join(&variant.name))?;
        let settings = variant.assignments.iter().map(|(name, _)| (name.clone(), variant.value(name))).collect();
        let report = ReplayReport::of(&outcome, seconds, done_before.contains(&variant.name));
        Ok(Row { variant: variant.name.clone(), settings, report })
    });
    let mut report = Report {
        from: arguments.from.clone(),
        until: arguments.until.clone(),
        sweep: axes.into_iter().collect(),
        readings: groups.len(),
        variants: rows.collect::<Result<_, Failure>>()?,
        page: None,
        elapsed_seconds: seconds,
    };
    // Without a state directory of one's own nobody would find a page in it.
    let page = arguments.html.clone().or_else(|| arguments.state.as_ref().map(|state| state.join(PAGE)));
    if let Some(path) = page {
        let html = report.page().to_html().map_err(|error| Exit::Bug.because(error))?;
        fs::write(&path, html).map_err(unwritable(&path))?;
        report.page = Some(path);
    }
    if arguments.json {
        print_json(&report)?;
    } else {
        print_text(&report.in_words())?;
    }
    Ok(Exit::Success)
}

/// `filter.kappa=.02,.05` as a name and its values.
fn axes(given: &[String]) -> Result<Vec<(String, Vec<String>)>, Failure> {
    let refused = |text: &str, problem: &str| {
        Err(Exit::Usage.because(format!("--sweep {text}: {problem}; write it as filter.kappa=.02,.05,.1")))
    };
    let mut axes: Vec<(String, Vec<String>)> = Vec::new();
    for text in given {
        let Some((name, values)) = text.split_once('=') else { return refused(text, "there is no =") };
        let values = split_values(values);
        let distinct: BTreeSet<&String> = values.iter().collect();
        if values.iter().any(String::is_empty) {
            return refused(text, "a value is empty");
        }
        if distinct.len() < values.len() {
            return refused(text, "a value is there twice");
        }
        if axes.iter().any(|(other, _)| other == name) {
            return refused(text, "the setting is swept twice");
        }
        axes.push((name.trim().to_owned(), values));
    }
    Ok(axes)
}

/// Between commas that stand in no list, table or quotes.
fn split_values(text: &str) -> Vec<String> {
    let (mut values, mut depth, mut quoted) = (vec![String::new()], 0_u32, false);
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                values.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(value) = values.last_mut() {
            value.push(character);
        }
    }
    values.into_iter().map(|value| value.trim().to_owned()).collect()
}

/// Every combination, the last setting varying fastest; all are checked before the first record is read.
fn variants(arguments: &args::Replay, axes: &[(String, Vec<String>)]) -> Result<Vec<Variant>, Failure> {
    let count = axes.iter().map(|(_, values)| values.len()).product::<usize>();
    if count > VARIANTS_MAX {
        return Err(Exit::Usage.because(format!("--sweep: {count} variants are more than {VARIANTS_MAX}")));
    }
    let mut combinations: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for (name, values) in axes {
        let longer = |shorter: &Vec<(String, String)>| {
            let shorter = shorter.clone();
            values
                .iter()
                .map(move |value| [&shorter[..], &[(name.clone(), value.clone())]].concat())
                .collect::<Vec<_>>()
        };
        combinations = combinations.iter().flat_map(longer).collect();
    }
    let mut names = BTreeSet::new();
    let mut variants = Vec::new();
    for assignments in combinations {
        let written: Vec<String> = assignments.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let given = &arguments.settings;
        let settings = settings::load_swept(given.config.as_deref(), &given.set, &written)
            .map_err(|error| error.exit().because(error))?;
        let mut name = directory_name(&written);
        while !names.insert(name.clone()) {
            name.push('_');
        }
        variants.push(Variant { name, assignments, settings });
    }
    Ok(variants)
}

fn directory_name(written: &[String]) -> String {
    let kept = |character: char| character.is_ascii_alphanumeric() || "._-=+".contains(character);
    written.join("+").chars().map(|character| if kept(character) { character } else { '_' }).collect()
}

/// Variants that share one reading: equal in everything that matters up to the closed trajectories.
fn groups(variants: &[Variant]) -> Vec<Vec<&Variant>> {
    let mut groups: BTreeMap<Vec<(&str, &str)>, Vec<&Variant>> = BTreeMap::new();
    for variant in variants {
        let front = variant.settings.effective.iter();
        let front = front.filter(|(name, _)| !AFTER_ASSEMBLY.iter().any(|prefix| name.starts_with(prefix)));
        groups.entry(front.collect()).or_default().push(variant);
    }
    groups.into_values().collect()
}

/// Reads the log for those variants that are not done; says which were.
fn read_once(arguments: &args::Replay, state: &Path, group: &[&Variant]) -> Result<Vec<String>, Failure> {
    let Some(first) = group.first() else { return Ok(Vec::new()) };
    let decoder = plan::decoder(&first.settings)?;
    let mut source = open_source(&first.settings, &arguments.source, &decoder, state)?;
    let range = keep_range(&mut *source, arguments, state)?;
    let kept = fs::read(state.join(RANGE_FILE)).map_err(|error| Exit::Io.because(error))?;
    let (mut claims, mut jobs, mut done) = (Vec::new(), Vec::new(), Vec::new());
    for variant in group {
        let directory = state.join(&variant.name);
        let claim = StateDirectory::claim(&RealDisk, &directory, Purpose::Replay);
        claims.push(claim.map_err(|error| job_failure(JobError::Checkpoint(error)))?);
        // So that the directory is that of a replay, and can be looked at and gone on from as such.
        replace_file(&RealDisk, &directory.join(RANGE_FILE), &kept)
            .map_err(|error| job_failure(JobError::Checkpoint(error)))?;
        let spec = job(arguments, variant, &directory)?;
        let (store, restored) = runtime::open_store(&spec).map_err(job_failure)?;
        match restored {
            None => jobs.push((spec, store)),
            Some(restored) => {
                check_done(&spec, &restored, &directory)?;
                check_log(&mut *source, &restored)?;
                done.push(variant.name.clone());
            }
        }
    }
    if jobs.is_empty() {
        return Ok(done);
    }
    let job = Job::start_together(jobs, source, range).map_err(job_failure)?;
    watch(job, false)?;
    Ok(done)
}

/// What a replay with the variant's settings would be, but for its side files and seals.
fn job(arguments: &args::Replay, variant: &Variant, directory: &Path) -> Result<JobSpec, Failure> {
    let topic = super::topic_name(&variant.settings, &arguments.source)?;
    let wants_decisions = arguments.decisions.is_some() || variant.settings.decisions.file.is_some();
    let journal = arguments.journal.as_deref().map(super::read_journal).transpose()?.unwrap_or_default();
    let paths = Paths {
        state: directory.to_path_buf(),
        decisions: wants_decisions.then(|| directory.join("decisions.jsonl")),
        kill: None,
        mode: Mode::Range { journal },
    };
    let mut spec = plan::job(&variant.settings, &topic, paths)?;
    // Two variants cannot write one file.
    spec.dead_letters = directory.join("dead-letters.jsonl");
    // A sweep that was interrupted begins anew, so nothing is gained by seals on the way.
    spec.seals = SealPlan { every: None, every_records: None };
    Ok(spec)
}

/// A variant that an earlier sweep has finished is not done again; anything else in its place is refused.
fn check_done(spec: &JobSpec, restored: &Outcome, directory: &Path) -> Result<(), Failure> {
    if !restored.sealed.manifest.facts.complete {
        return Err(Exit::Data.because(format!(
            "{} was left by a sweep that was interrupted, and those begin anew: remove the state directory, or name \
             another one",
            directory.display()
        )));
    }
    finished::refuse_other_settings(spec, restored, directory)
}

impl Variant {
    /// As it is in force.
    fn value(&self, name: &str) -> String {
        let effective = self.settings.effective.iter().find(|(other, _)| *other == name);
        effective.map_or_else(String::new, |(_, value)| value.to_owned())
    }
}
