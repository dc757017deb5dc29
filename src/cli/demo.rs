//! `demo`: the whole product in one process tree, and the proof that a crash changes nothing.
//!
//! Children of the same executable: an embedded broker, a simulator that writes its log into it, and a learner that reads
//! the log while it is written. The learner is killed on the way and goes on; a second learner that nobody disturbs reads
//! the same log. This process only watches, measures the policies that the learner seals, and writes the report.

mod children;
mod story;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::args;
use super::print_json;
use crate::checkpoint::{RealDisk, read_newest};
use crate::clock::Stopwatch;
use crate::exit::{Exit, Failure};
use crate::policy::Policy;
use crate::position::Partition;
use crate::settings::{self, Settings};
use crate::simulate::{
    Actor, Audience, Choice, Logger, MeasuredReturn, RawSimulateSettings, SimulateSettings, Trial, World,
};
use crate::source::partitioner::partition_of;
use crate::time::EventTime;
use children::{Broker, Learner, Simulator};
use story::{Measured, Story};

/// Settings of the demo, so that it needs no file.
const SETTINGS: &str = include_str!("../../configs/demo.toml");
const TOPIC: &str = "demo";
const PARTITIONS: u32 = 8;
/// Seconds over which the simulator spreads its log, so that a person can watch.
const WRITING_SECONDS: f64 = 20.0;
/// The learner is killed when it has read this share of the log.
const KILL_AT: f64 = 0.5;
const LOOK_EVERY: Duration = Duration::from_millis(100);
const TRIAL: Trial = Trial { episodes: 400, seed: 7, time: EventTime::START };

/// What `demo --json` prints; `schemas/demo-report.v1.schema.json`.
#[derive(Debug, Serialize)]
struct DemoReport {
    ok: bool,
    seed: u64,
    events: u64,
    elapsed_seconds: f64,
    kappa: f64,
    admitted_share: Option<f64>,
    threshold: FirstLast,
    policy_return: PolicyReturn,
    crash: Crash,
    digest: String,
    report: PathBuf,
}

#[derive(Debug, Serialize)]
struct FirstLast {
    first: Option<f64>,
    last: Option<f64>,
}

/// Mean returns per visit, measured by roll-outs in the simulator.
#[derive(Debug, Serialize)]
struct PolicyReturn {
    /// The logging policies together, as they made the log.
    logging: f64,
    start: f64,
    end: f64,
    /// 95 % interval of `end`.
    interval: [f64; 2],
}

#[derive(Debug, Serialize)]
struct Crash {
    kills: u64,
    digest_identical: bool,
}

pub fn demo(arguments: &args::Demo) -> Result<Exit, Failure> {
    let watch = Stopwatch::start();
    let stage = Stage::set(arguments)?;
    let outcome = stage.play(&watch)?;
    if arguments.json {
        print_json(&outcome)?;
    } else {
        println!("{}", outcome.in_words());
    }
    Ok(if outcome.ok { Exit::Success } else { Exit::Refuted })
}

/// Everything that is there before the first process starts.
struct Stage {
    seed: u64,
    directory: PathBuf,
    settings_file: PathBuf,
    settings: Settings,
    world: World,
    /// Records that each partition will hold.
    counts: BTreeMap<Partition, u64>,
}

impl Stage {
    fn set(arguments: &args::Demo) -> Result<Stage, Failure> {
        let directory = arguments.out.clone().unwrap_or_else(|| PathBuf::from("sluicebox-demo"));
        // What an earlier demo left would be taken for a state to go on from.
        for stale in ["learner", "undisturbed"] {
            let _ = fs::remove_dir_all(directory.join(stale));
        }
        let io = |error: std::io::Error| {
            Exit::Io.because(format!("could not write to {}: {error}", directory.display()))
        };
        fs::create_dir_all(&directory).map_err(io)?;
        let settings_file = directory.join("demo.toml");
        fs::write(&settings_file, settings_text(arguments, &directory)?).map_err(io)?;
        let settings = settings::load(Some(&settings_file), &arguments.settings.set)
            .map_err(|error| error.exit().because(error))?;
        let raw: RawSimulateSettings = settings
            .simulate
            .clone()
            .try_into()
            .map_err(|error: toml::de::Error| Exit::Config.because(format!("[simulate]: {}", error.message())))?;
        let world =
            SimulateSettings::new(raw, EventTime::FIRST).map(World::new).map_err(|error| Exit::Config.because(error))?;
        let mut catalog = fs::File::create(directory.join("items.jsonl")).map_err(io)?;
        world.write_catalogue(&mut catalog).map_err(io)?;
        let mut counts: BTreeMap<Partition, u64> = (0..PARTITIONS).map(|number| (Partition(number), 0)).collect();
        for record in world.events() {
            match record.audience {
                Audience::User(user) => {
                    *counts.entry(partition_of(Some(user.as_bytes()), PARTITIONS)).or_default() += 1;
                }
                Audience::EveryPartition => counts.values_mut().for_each(|count| *count += 1),
            }
        }
        Ok(Stage { seed: arguments.seed, directory, settings_file, settings, world, counts })
    }

    fn play(&self, watch: &Stopwatch) -> Result<DemoReport, Failure> {
        let total: u64 = self.counts.values().sum();
        let mut story = Story::begin(self.loggers());
        let broker = Broker::start(TOPIC, PARTITIONS)?;
        story.say(format!("embedded broker at {}, {PARTITIONS} partitions", broker.address));
        let rate = total as f64 / WRITING_SECONDS;
        let mut simulator = Simulator::start(&self.settings_file, &broker.address, TOPIC, PARTITIONS, rate)?;
        story.say(format!("simulator writes {total} records in about {WRITING_SECONDS:.0} s"));
        let report = self.disturbed(&broker, total, &mut story)?;
        simulator.end()?;
        story.say("a second learner reads the same log undisturbed".to_owned());
        let straight = self.undisturbed(&broker)?;
        let digest = text(&report, "digest");
        let identical = digest == text(&straight, "digest");
        story.compare(&digest, &text(&straight, "digest"));
        let file = self.directory.join("report.html");
        story.write(&file, &report, &self.settings)?;
        let file = fs::canonicalize(&file).unwrap_or(file);
        Ok(self.outcome(&story, &report, identical, watch.seconds(), file))
    }

    /// The learner that is killed once and goes on.
    fn disturbed(&self, broker: &Broker, total: u64, story: &mut Story) -> Result<Value, Failure> {
        let state = self.directory.join("learner");
        let mut learner = Learner::start(self, broker, &state)?;
        let mut sealed = 0;
        let mut killed = false;
        loop {
            std::thread::park_timeout(LOOK_EVERY);
            for status in learner.news() {
                story.note(&status);
            }
            let latest = story.latest();
            if latest.checkpoint > sealed {
                sealed = latest.checkpoint;
                self.measure(&state, story)?;
            }
            if !killed && latest.is_worth_a_kill() && latest.read() as f64 >= KILL_AT * total as f64 {
                killed = true;
                learner.kill();
                story.killed();
                learner = Learner::start(self, broker, &state)?;
            }
            if let Some(report) = learner.finished()? {
                for status in learner.news() {
                    story.note(&status);
                }
                self.measure(&state, story)?;
                return Ok(report);
            }
        }
    }

    fn undisturbed(&self, broker: &Broker) -> Result<Value, Failure> {
        let mut learner = Learner::start(self, broker, &self.directory.join("undisturbed"))?;
        loop {
            std::thread::park_timeout(LOOK_EVERY);
            learner.news();
            if let Some(report) = learner.finished()? {
                return Ok(report);
            }
        }
    }

    /// Rolls the newest sealed policy out in the world.
    fn measure(&self, state: &Path, story: &mut Story) -> Result<(), Failure> {
        let loaded = read_newest(&RealDisk, state).map_err(|error| Exit::Io.because(error))?;
        let Some((sealed, parts)) = loaded.newest else { return Ok(()) };
        let policy = Policy::from_bytes(&parts.policy, None).map_err(|error| Exit::Bug.because(error))?;
        let updates = sealed.manifest.facts.counters.get("updates").copied().unwrap_or_default();
        let mut act = |state: &[f32]| Choice::Embedding(policy.mean(state).unwrap_or_default());
        let measured = self.world.rollout(Actor::Policy(&mut act), TRIAL);
        story.measured(Measured { updates, value: measured });
        Ok(())
    }

    fn loggers(&self) -> Vec<(&'static str, MeasuredReturn)> {
        let logger = |name, logger| (name, self.world.rollout(Actor::Logger(logger), TRIAL));
        vec![
            ("logging mixture", self.world.rollout(Actor::Mixture, TRIAL)),
            logger("expert", Logger::Expert),
            logger("popular", Logger::Popular),
            logger("random", Logger::Random),
        ]
    }

    fn outcome(
        &self,
        story: &Story,
        report: &Value,
        identical: bool,
        elapsed_seconds: f64,
        file: PathBuf,
    ) -> DemoReport {
        let (start, end) = story.returns();
        let logging = story.logging().mean;
        DemoReport {
            ok: identical && story.kills() > 0 && end.low > story.logging().high,
            seed: self.seed,
            events: report["events"].as_u64().unwrap_or_default(),
            elapsed_seconds,
            kappa: report["kappa"].as_f64().unwrap_or_default(),
            admitted_share: report["admitted_share"].as_f64(),
            threshold: FirstLast { first: story.first_threshold(), last: report["threshold"].as_f64() },
            policy_return: PolicyReturn { logging, start: start.mean, end: end.mean, interval: [end.low, end.high] },
            crash: Crash { kills: story.kills(), digest_identical: identical },
            digest: text(report, "digest"),
            report: file,
        }
    }
}

/// The settings that all children share, with the command line's seed and places written in.
fn settings_text(arguments: &args::Demo, directory: &Path) -> Result<String, Failure> {
    let text = match &arguments.settings.config {
        None => SETTINGS.to_owned(),
        Some(path) => fs::read_to_string(path)
            .map_err(|error| Exit::Config.because(format!("could not read {}: {error}", path.display())))?,
    };
    let mut table: toml::Table = text.parse().map_err(|error| Exit::Config.because(format!("{error}")))?;
    let mut set = |section: &str, key: &str, value: toml::Value| {
        let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        if let toml::Value::Table(section) = section {
            section.insert(key.to_owned(), value);
        }
    };
    let seed = i64::try_from(arguments.seed).unwrap_or(i64::MAX);
    set("simulate", "seed", seed.into());
    set("learner", "seed", seed.into());
    set("catalog", "file", directory.join("items.jsonl").to_string_lossy().into_owned().into());
    set("checkpoint", "every", "1s".into());
    set("http", "listen", "off".into());
    toml::to_string(&table).map_err(|error| Exit::Bug.because(error))
}

fn text(report: &Value, name: &str) -> String {
    report[name].as_str().unwrap_or_default().to_owned()
}

impl DemoReport {
    fn in_words(&self) -> String {
        let PolicyReturn { logging, start, end, interval: [low, high] } = &self.policy_return;
        let proof = match self.crash.digest_identical {
            true => "ended with the digest of the run without a kill",
            false => "did NOT end with the digest of the run without a kill",
        };
        format!(
            "\nreturn per visit   {end:.2} [{low:.2}, {high:.2}]; untrained {start:.2}, logging policies {logging:.2}\n\
             crash              killed {} time(s) with SIGKILL, {proof}\n\
             digest             {}\n\
             report             {}\n\
             took               {:.0} s for {} events",
            self.crash.kills,
            self.digest,
            self.report.display(),
            self.elapsed_seconds,
            self.events
        )
    }
}
