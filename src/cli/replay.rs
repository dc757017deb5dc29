//! `replay`: a part of the log, once, to its end.

mod finished;
mod sweep;

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::args::{self, FileSource as FileArguments};
use super::plan::{self, Paths, job_failure};
use super::progress::Progress;
use super::{print_json, print_text, publish, settings_from};
use crate::checkpoint::{Purpose, RealDisk, StateDirectory, replace_file};
use crate::clock::Stopwatch;
use crate::decode::Decoder;
use crate::exit::{Exit, Failure};
use crate::files::{self, FileSource, LineKey};
use crate::position::NextOffset;
use crate::runtime::{self, Job, JobError, JobSpec, JournalEntry, Mode, Outcome, WarmStart};
use crate::settings::{Class, Settings};
use crate::source::range::{Boundary, resolve};
use crate::source::{LogIdentity, Range, Source};
use crate::time::EventTime;
use crate::validation::Summary;

/// What `replay --json` prints; `schemas/replay-report.v1.schema.json`.
#[derive(Debug, Serialize)]
pub struct ReplayReport {
    #[serde(flatten)]
    pub counters: std::collections::BTreeMap<String, u64>,
    pub platform: String,
    pub kappa: f64,
    pub admitted_share: Option<f64>,
    pub threshold: Option<f32>,
    pub mean_return: Option<f64>,
    /// Null if nothing was scored.
    pub validation: Option<Summary>,
    pub digest: String,
    pub checkpoint: PathBuf,
    pub restarts: u64,
    pub elapsed_seconds: f64,
    pub events_per_second: f64,
    /// The range had been read to its end before, and nothing was read now.
    pub already_complete: bool,
    /// What came of `--publish`.
    pub published: Option<publish::Report>,
    /// The checkpoint goes with the command: nobody named a place for it.
    #[serde(skip)]
    pub is_passing: bool,
}

/// The range of a state directory, kept beside its checkpoints from before the first record on.
#[derive(Debug, Serialize, Deserialize)]
struct KeptRange {
    from: String,
    until: String,
    log: LogIdentity,
    range: Range,
}

pub const RANGE_FILE: &str = "range.json";

pub fn replay(arguments: &args::Replay) -> Result<Exit, Failure> {
    // Lives until the report has been printed: without --state nobody needs the checkpoints afterwards.
    let temporary;
    let state = match &arguments.state {
        Some(state) => state.clone(),
        None => {
            temporary = tempfile::tempdir().map_err(|error| Exit::Io.because(error))?;
            temporary.path().join("state")
        }
    };
    if !arguments.sweep.is_empty() {
        return sweep::sweep(arguments, &state);
    }
    let watch = Stopwatch::start();
    let settings = settings_from(&arguments.settings)?;
    if arguments.publish && arguments.state.is_none() && settings.publish.dir.is_none() {
        let error = "--publish needs a place that stays: --set publish.dir=DIR, or --state DIR";
        return Err(Exit::Usage.because(error));
    }
    let (outcome, already_complete) = read_range(&settings, arguments, &state)?;
    let mut report = ReplayReport::of(&outcome, watch.seconds(), already_complete);
    report.is_passing = arguments.state.is_none();
    if arguments.publish {
        report.published = Some(publish::publish_checkpoint(&settings, &outcome, &state)?);
    }
    if arguments.json {
        print_json(&report)?
    } else {
        print_text(&report.in_words())?
    }
    report.hint();
    Ok(report.published.map_or(Exit::Success, |published| published.exit()))
}

/// What came of the range, and whether that was there already.
fn read_range(settings: &Settings, arguments: &args::Replay, state: &Path) -> Result<(Outcome, bool), Failure> {
    let claim = StateDirectory::claim(&RealDisk, state, Purpose::Replay);
    let _claim = claim.map_err(|error| job_failure(JobError::Checkpoint(error)))?;
    let journal = arguments.journal.as_deref().map(read_journal).transpose()?.unwrap_or_default();
    let topic = topic_name(settings, &arguments.source)?;
    let paths = Paths {
        state: state.to_path_buf(),
        decisions: arguments.decisions.clone(),
        kill: arguments.kill_at,
        mode: Mode::Range { journal },
    };
    let mut spec = plan::job(settings, &topic, paths)?;
    let (store, restored) = runtime::open_store(&spec).map_err(job_failure)?;
    spec.warm_start = warm_start(&arguments.begin, restored.as_ref())?;
    if let Some(restored) = &restored {
        if restored.sealed.manifest.facts.complete {
            finished::check(settings, arguments, &spec, restored, state)?;
            finished::tidy_up(&arguments.source, state);
            return Ok((read_back(state)?, true));
        }
        check_settings(&spec, restored, settings)?;
    }
    let mut source = open_source(settings, &arguments.source, &spec.decoder, state)?;
    let range = keep_range(&mut *source, arguments, state)?;
    if let Some(restored) = &restored {
        check_log(&mut *source, restored)?;
    }
    let job = Job::start(spec, store, restored, source, range).map_err(job_failure)?;
    watch(job, arguments.machine_progress)?;
    finished::tidy_up(&arguments.source, state);
    Ok((read_back(state)?, false))
}

/// The policy to begin with, where nothing has been sealed yet.
pub fn warm_start(begin: &args::WarmStart, restored: Option<&Outcome>) -> Result<Option<WarmStart>, Failure> {
    match (&begin.warm_start, restored) {
        (None, _) => Ok(None),
        (Some(path), Some(restored)) => {
            let checkpoint = restored.sealed.directory.display();
            tracing::info!(from = %path.display(), %checkpoint, "--warm-start is passed over: there is a state to go on from");
            Ok(None)
        }
        (Some(path), None) => {
            let warm = runtime::read_warm_start(path).map_err(job_failure)?;
            tracing::info!(from = %path.display(), items = warm.vocabulary.ids.len(), "beginning with another state's policy");
            Ok(Some(warm))
        }
    }
}

/// Shows progress until the job has ended.
fn watch(job: Job, machine: bool) -> Result<(), Failure> {
    let mut progress = Progress::new(machine);
    while !job.is_finished() {
        std::thread::park_timeout(PROGRESS_EVERY);
        progress.show(&job.board().figures());
    }
    progress.finish();
    job.join().map_err(job_failure)
}

const PROGRESS_EVERY: Duration = Duration::from_millis(50);

fn read_back(state: &Path) -> Result<Outcome, Failure> {
    let outcome = runtime::read_outcome(state).map_err(job_failure)?;
    outcome.ok_or_else(|| Exit::Bug.because("the job ended without a checkpoint"))
}

/// What dead letters call the log.
fn topic_name(settings: &Settings, given: &FileArguments) -> Result<String, Failure> {
    match &given.file {
        Some(file) => Ok(file.file_name().unwrap_or_default().to_string_lossy().into_owned()),
        None => Ok(settings.kafka.topic().map_err(|error| error.exit().because(error))?.to_owned()),
    }
}

/// The log that the command names: the topic of the settings, or a file split as `load` would.
pub fn open_source(
    settings: &Settings,
    given: &FileArguments,
    decoder: &Decoder,
    state: &Path,
) -> Result<Box<dyn Source>, Failure> {
    let Some(file) = &given.file else { return Ok(Box::new(plan::topic_source(settings)?)) };
    let key = line_keys(decoder);
    let mut ignore = |_lines: u64| {};
    let splitting = (given.partitions, splitting(settings));
    let opened = FileSource::open(file, &state.join(finished::SPOOL), splitting, &key, &mut ignore);
    Ok(Box::new(opened.map_err(|error| job_failure(JobError::Source(error.into())))?))
}

/// The log that `open_source` makes of a file, without making it.
fn log_of_file(settings: &Settings, given: &FileArguments, file: &Path) -> Result<LogIdentity, Failure> {
    let identity = files::identity(file, (given.partitions, splitting(settings)));
    identity.map_err(|error| job_failure(JobError::Source(error.into())))
}

/// All that decides which user a line is of.
fn splitting(settings: &Settings) -> [u8; 32] {
    *blake3::hash(format!("{:?}", settings.mapping).as_bytes()).as_bytes()
}

/// By what `load` and the file source place a line.
pub fn line_keys(decoder: &Decoder) -> impl for<'line> Fn(&'line [u8]) -> LineKey<'line> {
    move |line| {
        let key = decoder.key(None, Some(line));
        LineKey { user: key.user.map(|user| Cow::Owned(user.as_bytes().to_vec())), time: key.time }
    }
}

/// The range of an earlier start, if it was this one.
fn kept_range(log: &LogIdentity, arguments: &args::Replay, state: &Path) -> Result<Option<Range>, Failure> {
    let path = state.join(RANGE_FILE);
    let Ok(text) = fs::read(&path) else { return Ok(None) };
    let refused = |problem: &str| job_failure(JobError::Range { path: path.clone(), problem: problem.to_owned() });
    let kept: KeptRange = serde_json::from_slice(&text).map_err(|error| refused(&error.to_string()))?;
    if (&kept.from, &kept.until) != (&arguments.from, &arguments.until) {
        return Err(refused(&format!("it was --from {} --until {}", kept.from, kept.until)));
    }
    if kept.log != *log {
        let was = runtime::describe_log(&kept.log);
        return Err(job_failure(JobError::AnotherLog { difference: format!("it was {was}") }));
    }
    Ok(Some(kept.range))
}

/// Resolves the range once; a restart reads the same records although "now" has moved on.
fn keep_range(source: &mut dyn Source, arguments: &args::Replay, state: &Path) -> Result<Range, Failure> {
    if let Some(range) = kept_range(&source.identity(), arguments, state)? {
        return Ok(range);
    }
    let boundary = |flag: &str, text: &str| {
        let boundary = text.parse::<Boundary>();
        if matches!(boundary, Ok(Boundary::Time(millis)) if EventTime::new(millis).is_none()) {
            tracing::warn!("{flag} {text} is outside the years 2000 to 2099; ts= counts milliseconds since 1970");
        }
        boundary.map_err(|error| Exit::Usage.because(format!("{flag} {text}: {error}")))
    };
    let (from, until) = (boundary("--from", &arguments.from)?, boundary("--until", &arguments.until)?);
    let mut range = resolve(source, &from, Some(&until)).map_err(|error| job_failure(JobError::Source(error)))?;
    if let (true, Boundary::Offsets(ends)) = (arguments.wait, &until) {
        for (partition, bounds) in &mut range {
            bounds.end = ends.get(partition).map(|end| NextOffset::boundary(*end));
        }
    }
    let kept = KeptRange {
        from: arguments.from.clone(),
        until: arguments.until.clone(),
        log: source.identity(),
        range: range.clone(),
    };
    let text = serde_json::to_vec_pretty(&kept).map_err(|error| Exit::Bug.because(error))?;
    replace_file(&RealDisk, &state.join(RANGE_FILE), &text)
        .map_err(|error| job_failure(JobError::Checkpoint(error)))?;
    Ok(range)
}

/// Refuses settings that the state cannot go on with; tells of those that it can.
pub fn check_settings(spec: &JobSpec, restored: &Outcome, settings: &Settings) -> Result<(), Failure> {
    refuse_structural(spec, restored, settings)?;
    for difference in plan::structural_changes(&restored.meta.settings, &spec.settings) {
        if difference.class == Class::Tunable {
            let (before, after) = (difference.before, difference.after);
            tracing::info!(name = difference.name, ?before, ?after, "a setting changes from here on");
        }
    }
    Ok(())
}

fn refuse_structural(spec: &JobSpec, restored: &Outcome, settings: &Settings) -> Result<(), Failure> {
    let changes = plan::structural_changes(&restored.meta.settings, &spec.settings).into_iter();
    let structural = changes.filter(|difference| difference.class == Class::Structural);
    let mut names: Vec<String> = structural.map(|difference| difference.name).collect();
    if restored.meta.catalog != spec.encoder.catalog.fingerprint() {
        names.push(format!("catalog.file ({:?} has other content)", settings.catalog.file.clone().unwrap_or_default()));
    }
    if names.is_empty() {
        return Ok(());
    }
    let checkpoint = restored.sealed.directory.display().to_string();
    Err(job_failure(JobError::SettingsChanged { names, checkpoint }))
}

/// The same offsets do not make the same log: a topic that was deleted and made again has them too.
pub fn check_log(source: &mut dyn Source, restored: &Outcome) -> Result<(), Failure> {
    let another = |difference: String| job_failure(JobError::AnotherLog { difference });
    if restored.meta.log != source.identity() {
        let (was, is) = (runtime::describe_log(&restored.meta.log), runtime::describe_log(&source.identity()));
        return Err(another(format!("it was {was}, this is {is}")));
    }
    for (partition, intake) in &restored.content.intakes {
        let Some((offset, fingerprint)) = intake.progress.last_record else { continue };
        let found = source.fetch_one(*partition, offset).map_err(|error| job_failure(JobError::Source(error)))?;
        // A record that retention has deleted cannot be compared; one that is there must be the one that was read.
        let Some(record) = found else { continue };
        if crate::pipeline::record_fingerprint(record.timestamp, record.value.as_deref()) != fingerprint {
            return Err(another(format!("the record at partition {partition}, offset {offset} is another one")));
        }
    }
    Ok(())
}

fn read_journal(path: &Path) -> Result<Vec<JournalEntry>, Failure> {
    let failed =
        |problem: String| Exit::Data.because(format!("could not read the journal {}: {problem}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    text.lines().map(|line| serde_json::from_str(line).map_err(|error| failed(error.to_string()))).collect()
}

impl ReplayReport {
    pub fn of(outcome: &Outcome, elapsed_seconds: f64, already_complete: bool) -> ReplayReport {
        let facts = &outcome.sealed.manifest.facts;
        let pipeline = &outcome.content.pipeline;
        let counters = facts.counters.clone();
        let events = counters.get("events").copied().unwrap_or_default() as f64;
        let trajectories = pipeline.totals.trajectories;
        ReplayReport {
            counters,
            platform: facts.platform.clone(),
            kappa: pipeline.filter.kappa(),
            admitted_share: pipeline.filter.totals.admitted_share(),
            threshold: pipeline.filter.threshold,
            mean_return: (trajectories > 0).then(|| pipeline.totals.reward / trajectories as f64),
            validation: Some(&outcome.content.validation).filter(|state| !state.is_empty()).map(|s| s.summary()),
            digest: facts.digest.to_string(),
            checkpoint: outcome.sealed.directory.clone(),
            restarts: outcome.meta.restarts,
            elapsed_seconds,
            events_per_second: if already_complete { 0.0 } else { events / elapsed_seconds.max(1e-9) },
            already_complete,
            published: None,
            is_passing: false,
        }
    }

    /// A range from which nothing could be learned is no failure, and seldom what was meant.
    fn hint(&self) {
        let count = |name: &str| self.counters.get(name).copied().unwrap_or_default();
        if count("records") == 0 {
            tracing::warn!("the range holds no record, so nothing was learned");
        } else if count("trajectories") == 0 {
            let (malformed, orphan) = (count("malformed"), count("orphan"));
            tracing::warn!(
                malformed,
                orphan,
                "no session came of these records, so nothing was learned; `sluicebox check` shows how they are read"
            );
        } else if count("held") > 0 && count("admitted") + count("filtered") == 0 {
            tracing::warn!(
                held = count("held"),
                "every unit was held back, so nothing was learned: a unit is judged once the baseline has two generations of \
                 score.generation units (score.baseline = \"none\" needs none) and the window is full enough \
                 (filter.warmup = \"admit\" does not wait for it)"
            );
        }
    }

    fn in_words(&self) -> String {
        let count = |name: &str| self.counters.get(name).copied().unwrap_or_default();
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        format!(
            "records      {} ({} decoded, {} ignored, {} tombstones, {} malformed), {} lost\n\
             events       {} ({} applied, {} duplicates, {} late, {} orphan)\n\
             sessions     {} of {} steps, mean return {}\n\
             units        {} admitted, {} filtered, {} held, {} expired\n\
             filter       kappa {}, admitted share {}, threshold {}\n\
             learner      {} updates, {} refused\n\
             validation   {}\n\
             digest       {}\n\
             platform     {}\n\
             checkpoint   {}{}\n\
             took         {}{}",
            count("records"),
            count("decoded"),
            count("ignored"),
            count("tombstones"),
            count("malformed"),
            count("lost"),
            count("events"),
            count("applied"),
            count("duplicates"),
            count("late"),
            count("orphan"),
            count("trajectories"),
            count("steps"),
            number(self.mean_return),
            count("admitted"),
            count("filtered"),
            count("held"),
            count("expired"),
            self.kappa,
            number(self.admitted_share),
            number(self.threshold.map(f64::from)),
            count("updates"),
            count("refused_updates"),
            self.validation.as_ref().map_or_else(|| "-".to_owned(), |summary| summary.all.in_words()),
            self.digest,
            self.platform,
            self.checkpoint.display(),
            if self.is_passing { ", gone with this command: --state DIR keeps it" } else { "" },
            match self.already_complete {
                true =>
                    "nothing was read: this range was read to its end before; another --state reads it again".to_owned(),
                false => format!("{:.1} s, {:.0} events/s", self.elapsed_seconds, self.events_per_second),
            },
            self.published
                .as_ref()
                .map_or_else(String::new, |published| format!("\npublished    {}", published.in_words())),
        )
    }
}
