//! `publish`, `export`, and the end of `replay --publish`: a checkpoint's policy becomes files that others serve.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::plan::{self, job_failure};
use super::{args, inspect, print_json, print_text, settings_from};
use crate::checkpoint::RealDisk;
use crate::exit::{Exit, Failure};
use crate::publish::{self, Evaluation, Gate, Outcome, Publications, PublishError, Published};
use crate::runtime::{self, Checkpointed, PublishPlan};
use crate::settings::{self, Settings};

/// What `publish --json` and `export --json` print; `schemas/publish-report.v1.schema.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    outcome: Verdict,
    /// The publication in question: the new one, or the one that stays current.
    #[serde(flatten)]
    publication: Option<Listed>,
    /// Why not, if not.
    reason: Option<String>,
    /// Everything there is, of `--list`.
    #[serde(skip_serializing_if = "Option::is_none")]
    publications: Option<Vec<Listed>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Published,
    Unchanged,
    Refused,
    Held,
    RolledBack,
    Exported,
    Listed,
}

#[derive(Debug, Clone, Serialize)]
struct Listed {
    name: String,
    directory: PathBuf,
    version: u64,
    parent: Option<String>,
    checkpoint: u64,
    temperature: f64,
    items: usize,
    evaluation: Option<Evaluation>,
}

pub fn publish(arguments: &args::Publish) -> Result<Exit, Failure> {
    let report = match (arguments.list, arguments.rollback) {
        (true, _) => list(arguments)?,
        (false, true) => roll_back(arguments)?,
        (false, false) => {
            let state = match &arguments.state {
                Some(state) => state.clone(),
                None => settings_from(&arguments.settings)?.checkpoint.directory,
            };
            let outcome = runtime::read_outcome(&state).map_err(job_failure)?;
            let outcome = outcome.ok_or_else(|| nothing_sealed(&state))?;
            let settings = settings_for(&arguments.settings, &outcome)?;
            publish_checkpoint(&settings, &outcome, &state)?
        }
    };
    tell(&report, arguments.json)?;
    Ok(report.exit())
}

pub fn export(arguments: &args::Export) -> Result<Exit, Failure> {
    let (outcome, passed_over) = inspect::read(&arguments.state)?;
    runtime::tell_passed_over(&passed_over);
    let settings = settings_for(&arguments.settings, &outcome)?;
    let draft = publish_plan(&settings)?.draft(&Checkpointed::from(&outcome)).map_err(failed)?;
    let published = publish::write_to(&RealDisk, &arguments.out, &draft).map_err(failed)?;
    let report = Report::of(Verdict::Exported, Some(&published), None);
    tell(&report, arguments.json)?;
    Ok(Exit::Success)
}

/// Publishes by hand what a checkpoint holds.
pub fn publish_checkpoint(settings: &Settings, checkpoint: &runtime::Outcome, state: &Path) -> Result<Report, Failure> {
    let draft = publish_plan(settings)?.draft(&Checkpointed::from(checkpoint)).map_err(failed)?;
    let publications = publications(settings, state)?;
    let gate = settings.publish.gate.map(|margin| Gate { margin });
    Ok(match publications.publish(&draft, gate, true).map_err(failed)? {
        Outcome::Published(published) => Report::of(Verdict::Published, Some(&published), None),
        Outcome::Unchanged(published) => Report::of(Verdict::Unchanged, Some(&published), None),
        Outcome::Refused(reason) => {
            let current = publications.current().map_err(failed)?;
            Report::of(Verdict::Refused, current.as_ref(), Some(reason))
        }
        Outcome::Held => Report::of(Verdict::Held, None, None),
    })
}

/// How these settings publish a policy.
pub fn publish_plan(settings: &Settings) -> Result<PublishPlan, Failure> {
    let decoder = plan::decoder(settings)?;
    let encoder = Arc::new(plan::encoder(settings, &decoder)?);
    let given = plan::learner_settings(settings, &encoder)?.given_vectors();
    Ok(PublishPlan { encoder, given, temperature: settings.publish.temperature })
}

pub fn publications(settings: &Settings, state: &Path) -> Result<Publications, Failure> {
    Publications::open(Arc::new(RealDisk), &directory_of(settings, state), settings.publish.keep).map_err(failed)
}

fn directory_of(settings: &Settings, state: &Path) -> PathBuf {
    settings.publish.dir.clone().unwrap_or_else(|| state.join("published"))
}

fn list(arguments: &args::Publish) -> Result<Report, Failure> {
    let publications = known_publications(arguments)?;
    let (current, flaw) = match publications.current() {
        // What is broken must not hide what is whole.
        Err(error @ PublishError::Broken { .. }) => (None, Some(error.to_string())),
        outcome => (outcome.map_err(failed)?, None),
    };
    let mut report = Report::of(Verdict::Listed, current.as_ref(), flaw);
    report.publications = Some(publications.list().map_err(failed)?.iter().map(Listed::of).collect());
    Ok(report)
}

fn roll_back(arguments: &args::Publish) -> Result<Report, Failure> {
    let published = known_publications(arguments)?.roll_back(arguments.to.as_deref()).map_err(failed)?;
    Ok(Report::of(Verdict::RolledBack, Some(&published), None))
}

/// Where the state's publications are; neither listing nor going back needs a checkpoint, if the settings say where.
fn known_publications(arguments: &args::Publish) -> Result<Publications, Failure> {
    let given = settings_from(&arguments.settings)?;
    let state = arguments.state.clone().unwrap_or_else(|| given.checkpoint.directory.clone());
    let settings = match given.publish.dir.is_some() || arguments.settings.config.is_some() {
        true => given,
        false => match runtime::read_outcome(&state).map_err(job_failure)? {
            Some(outcome) => settings_for(&arguments.settings, &outcome)?,
            None => given,
        },
    };
    Publications::existing(Arc::new(RealDisk), &directory_of(&settings, &state), settings.publish.keep).map_err(failed)
}

/// Those of `-c`, if they mean the same state; otherwise those that the checkpoint was made with.
fn settings_for(given: &args::SettingsFrom, outcome: &runtime::Outcome) -> Result<Settings, Failure> {
    let kept = &outcome.meta.settings;
    let settings = match &given.config {
        Some(_) => settings_from(given)?,
        None => settings::of_checkpoint(kept, &given.set).map_err(|error| error.exit().because(error))?,
    };
    let now: BTreeMap<String, String> =
        settings.effective.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let changed = plan::structural_changes(kept, &now).into_iter();
    let names: Vec<String> = changed
        .filter(|difference| difference.class == settings::Class::Structural)
        .map(|difference| difference.name)
        .collect();
    if names.is_empty() {
        return Ok(settings);
    }
    Err(Exit::Config.because(format!(
        "these settings are not those of {}; they differ in {}; without -c its own are used",
        outcome.sealed.directory.display(),
        names.join(", ")
    )))
}

fn nothing_sealed(state: &Path) -> Failure {
    Exit::Data.because(format!("there is no checkpoint in {}: only what is sealed is published", state.display()))
}

pub fn failed(error: PublishError) -> Failure {
    error.exit().because(error)
}

fn tell(report: &Report, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(report);
    }
    let publications = report.publications.iter().flatten().map(|publication| publication.in_words());
    print_text(&[report.in_words()].into_iter().chain(publications).collect::<Vec<_>>().join("\n"))
}

impl Report {
    fn of(outcome: Verdict, publication: Option<&Published>, reason: Option<String>) -> Report {
        Report { outcome, publication: publication.map(Listed::of), reason, publications: None }
    }

    pub fn exit(&self) -> Exit {
        match self.outcome {
            Verdict::Refused | Verdict::Held => Exit::Refuted,
            Verdict::Published | Verdict::Unchanged | Verdict::RolledBack => Exit::Success,
            Verdict::Exported | Verdict::Listed => Exit::Success,
        }
    }

    pub fn in_words(&self) -> String {
        let publication = self.publication.as_ref().map_or_else(|| "nothing is published".to_owned(), Listed::in_words);
        let reason = self.reason.as_deref().unwrap_or_default();
        match self.outcome {
            Verdict::Published | Verdict::Exported => publication,
            Verdict::Unchanged => format!("{publication}, as before"),
            Verdict::Refused => format!("refused: {reason}; current stays {publication}"),
            Verdict::Held => "held after a rollback".to_owned(),
            Verdict::RolledBack => format!("rolled back to {publication}"),
            Verdict::Listed => format!("current: {}", self.reason.as_ref().unwrap_or(&publication)),
        }
    }
}

impl Listed {
    fn of(published: &Published) -> Listed {
        let manifest = &published.manifest;
        Listed {
            name: published.name.clone(),
            directory: published.directory.clone(),
            version: manifest.version,
            parent: manifest.lineage.parent.as_ref().map(|parent| parent.name.clone()),
            checkpoint: manifest.lineage.checkpoint,
            temperature: manifest.serving.temperature,
            items: manifest.items.len(),
            evaluation: manifest.evaluation.clone(),
        }
    }

    fn in_words(&self) -> String {
        let directory = self.directory.display();
        format!("version {} of {} items, temperature {}, in {directory}", self.version, self.items, self.temperature)
    }
}
