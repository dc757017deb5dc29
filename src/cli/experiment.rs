//! `experiment`: the paper's studies, run again, as a report for people and a list of checks for programs.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::{args, print_json, print_text};
use crate::clock::Stopwatch;
use crate::exit::{Exit, Failure};
use crate::experiment::{self, Check, Findings, Frozen, Plan};
use crate::report::{Figure, Report, Section, Table};

/// What `experiment --json` prints; `schemas/experiment-report.v1.schema.json`.
#[derive(Debug, Serialize)]
struct ExperimentReport {
    ok: bool,
    quick: bool,
    /// The command that makes it again.
    command: String,
    studies: Vec<Study>,
    checks: Vec<Check>,
    passed: usize,
    failed: usize,
    /// How the methods were set after tuning.
    recipes: Vec<String>,
    elapsed_seconds: f64,
    report: String,
}

#[derive(Debug, Serialize)]
struct Study {
    title: String,
    seeds: usize,
    elapsed_seconds: f64,
    /// Where a baseline wins, among others.
    sentences: Vec<String>,
}

pub fn experiment(arguments: &args::Experiment) -> Result<Exit, Failure> {
    let plans = if arguments.files.is_empty() {
        Plan::built_in(&arguments.set)
    } else {
        arguments.files.iter().map(|file| Plan::read(file, &arguments.set)).collect()
    };
    let mut plans = plans.map_err(|error| Exit::Config.because(error))?;
    if let Some(seeds) = arguments.seeds {
        plans.iter_mut().for_each(|plan| (plan.full.seeds, plan.quick.seeds) = (seeds as usize, seeds as usize));
    }
    // An hour of studies must not end before a directory that cannot be written.
    fs::create_dir_all(&arguments.out)
        .and_then(|()| tempfile::tempfile_in(&arguments.out))
        .map_err(|error| unwritable(&arguments.out, &error))?;
    let watch = Stopwatch::start();
    let mut frozen = Frozen::default();
    let (mut studies, mut found) = (Vec::new(), Vec::new());
    for plan in &plans {
        tracing::info!(study = %plan.title, "study begins");
        let own_watch = Stopwatch::start();
        let findings =
            experiment::run(plan, arguments.quick, &mut frozen).map_err(|error| Exit::Config.because(error))?;
        for check in findings.checks.iter().filter(|check| !check.pass) {
            tracing::warn!(check = %check.name, expected = %check.expected, measured = check.measured, "check fails");
        }
        studies.push(Study {
            title: plan.title.clone(),
            seeds: if arguments.quick { plan.quick.seeds } else { plan.full.seeds },
            elapsed_seconds: own_watch.seconds(),
            sentences: findings.sentences.clone(),
        });
        found.push(findings);
    }
    let checks: Vec<Check> = found.iter().flat_map(|findings| findings.checks.clone()).collect();
    let passed = checks.iter().filter(|check| check.pass).count();
    let report = ExperimentReport {
        ok: passed == checks.len(),
        quick: arguments.quick,
        command: command(arguments),
        studies,
        passed,
        failed: checks.len() - passed,
        checks,
        recipes: frozen.describe(),
        elapsed_seconds: watch.seconds(),
        report: arguments.out.join("experiments.html").display().to_string(),
    };
    write(&arguments.out, &report, &found)?;
    if arguments.json {
        print_json(&report)?;
    } else {
        let table = checks_table(&report.checks).to_markdown();
        print_text(&format!("{table}\n{passed} of {} checks pass; see {}", report.checks.len(), report.report))?;
    }
    Ok(if arguments.strict && !report.ok { Exit::Refuted } else { Exit::Success })
}

fn command(arguments: &args::Experiment) -> String {
    let mut command = String::from("sluicebox experiment");
    for file in &arguments.files {
        command.push_str(&format!(" {}", file.display()));
    }
    if arguments.quick {
        command.push_str(" --quick");
    }
    if let Some(seeds) = arguments.seeds {
        command.push_str(&format!(" --seeds {seeds}"));
    }
    arguments.set.iter().for_each(|set| command.push_str(&format!(" --set {set}")));
    command.push_str(&format!(" --out {}", arguments.out.display()));
    command
}

fn write(out: &Path, report: &ExperimentReport, found: &[Findings]) -> Result<(), Failure> {
    let html = page(report, found).to_html().map_err(|error| Exit::Bug.because(error))?;
    let json = serde_json::to_string_pretty(report).map_err(|error| Exit::Bug.because(error))? + "\n";
    let files = [("experiments.md", markdown(report, found)), ("experiments.html", html), ("experiments.json", json)];
    files.iter().try_for_each(|(name, text)| fs::write(out.join(name), text)).map_err(|error| unwritable(out, &error))
}

fn unwritable(out: &Path, error: &io::Error) -> Failure {
    Exit::Io.because(format!("could not write the report to {}: {error}", out.display()))
}

const LEAD: &str = "The studies of arXiv 2602.10430, run again. The paper leaves many constants open, so its figures need \
                    not be equal to ours: the order and the relative gaps are the test. Figures are means over seeds with \
                    95 % intervals (Student's t); differences are paired by seed.";

fn checks_table(checks: &[Check]) -> Table {
    let mut table = Table::new("Checks", ["check", "expected", "measured", "95 % interval", "holds"]);
    for check in checks {
        let number = |value: f64| {
            if value != 0.0 && value.abs() < 1e-3 { format!("{value:.1e}") } else { format!("{value:.3}") }
        };
        let interval =
            check.interval.map_or("-".to_owned(), |[low, high]| format!("{} to {}", number(low), number(high)));
        let holds = if check.pass { "yes" } else { "**no**" };
        table.row([check.name.clone(), check.expected.clone(), number(check.measured), interval, holds.to_owned()]);
    }
    table
}

fn summary(report: &ExperimentReport) -> String {
    format!("{} of {} checks hold", report.passed, report.checks.len())
}

fn markdown(report: &ExperimentReport, found: &[Findings]) -> String {
    let quick = if report.quick { " This is the quick form: fewer seeds, shorter runs." } else { "" };
    let mut text = format!(
        "# Experiments\n\n{LEAD}{quick}\n\nMade by `{}` in {:.0} s. {}.\n\n",
        report.command,
        report.elapsed_seconds,
        summary(report)
    );
    text.push_str(&checks_table(&report.checks).to_markdown());
    if !report.recipes.is_empty() {
        text.push_str("\n## How the methods were set\n\nTuned once, on logs of their own, and then frozen:\n\n");
    }
    report.recipes.iter().for_each(|recipe| text.push_str(&format!("* {recipe}\n")));
    for (findings, study) in found.iter().zip(&report.studies) {
        text.push_str(&format!("\n## {}\n\n{} Seeds: {}.\n", findings.title, findings.about, study.seeds));
        findings.tables.iter().for_each(|table| text.push_str(&format!("\n{}", table.to_markdown())));
        if !findings.sentences.is_empty() {
            text.push('\n');
        }
        findings.sentences.iter().for_each(|sentence| text.push_str(&format!("* {sentence}\n")));
    }
    text
}

fn page(report: &ExperimentReport, found: &[Findings]) -> Report {
    let checks = Section {
        title: "Checks".to_owned(),
        lead: summary(report),
        tables: vec![checks_table(&report.checks)],
        ..Section::default()
    };
    let recipes = (!report.recipes.is_empty()).then(|| Section {
        title: "How the methods were set".to_owned(),
        lead: "Tuned once, on logs of their own, and then frozen.".to_owned(),
        sentences: report.recipes.clone(),
        ..Section::default()
    });
    let studies = found.iter().zip(&report.studies).map(|(findings, study)| Section {
        title: findings.title.clone(),
        lead: format!("{} Seeds: {}.", findings.about, study.seeds),
        tables: findings.tables.clone(),
        charts: findings.charts.clone(),
        sentences: findings.sentences.clone(),
    });
    Report {
        title: "sluicebox experiments".to_owned(),
        lead: LEAD.to_owned(),
        headline: vec![Figure {
            label: "checks that hold".to_owned(),
            value: format!("{} of {}", report.passed, report.checks.len()),
            note: if report.quick { "quick form".to_owned() } else { "full form".to_owned() },
        }],
        sections: [checks].into_iter().chain(recipes).chain(studies).collect(),
        made_by: format!("sluicebox {}, {}", env!("CARGO_PKG_VERSION"), report.command),
        ..Report::default()
    }
}
