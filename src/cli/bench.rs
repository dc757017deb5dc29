//! `bench`: what this machine makes of the product, stage by stage.
//!
//! Every stage runs in a process of its own, so that its CPU time and its memory are its own; so does the broker. The
//! stages over one log come in turns, and the middle turn of each counts.

mod checkpoint;
mod latency;
mod report;
mod stage;
mod topic;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::de::DeserializeOwned;

use self::report::{BenchReport, Checkpoint, Latency, Machine, Ratios, Stage, Topic, Window};
pub use self::stage::bench_stage;
use super::args::{Bench, BenchSize, StageName};
use super::demo::children::{Broker, Guarded, command, spawn};
use super::{plan, print_json, print_text};
use crate::bench::usage;
use crate::bench::window::AtLevel;
use crate::bench::workload;
use crate::exit::{Exit, Failure};
use crate::kafka::delete_topic;
use crate::settings::{self, PREFIX};

/// The embedded broker keeps a few MiB of each, so a log of some size needs many.
const PARTITIONS: u32 = 64;
const LATENCY_PARTITIONS: u32 = 8;
const TOPIC: &str = "bench";
const LATENCY_TOPIC: &str = "bench-latency";
const CATALOG: &str = "catalog.jsonl";
const KAPPAS: [f64; 3] = [0.05, 0.2, 0.5];

/// Bytes of a batch there.
const EMBEDDED_BATCH: u32 = 256 << 10;

/// So many times the events on brokers that keep all of them: the longer the log, the less its beginning counts, and its end.
const BROKERS_TIMES: u64 = 5;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Size {
    events: u64,
    turns: usize,
    window: usize,
    operations: usize,
    step_turns: usize,
    sessions: u64,
    snapshots: usize,
    latency_seconds: u64,
}

impl Size {
    fn of(quick: bool, given: &BenchSize) -> Size {
        let full = match quick {
            true => Size {
                events: 400_000,
                turns: 1,
                window: 1_000_000,
                operations: 1_000_000,
                step_turns: 5,
                sessions: 1_000_000,
                snapshots: 50,
                latency_seconds: 6,
            },
            false => Size {
                events: 800_000,
                turns: 3,
                window: 1_000_000,
                operations: 4_000_000,
                step_turns: 25,
                sessions: 1_000_000,
                snapshots: 200,
                latency_seconds: 20,
            },
        };
        Size {
            events: given.events.unwrap_or(full.events),
            window: given.window.unwrap_or(full.window as u64) as usize,
            operations: given.window.map_or(full.operations, |window| full.operations.min(2 * window as usize)),
            sessions: given.sessions.unwrap_or(full.sessions),
            latency_seconds: given.seconds.unwrap_or(full.latency_seconds),
            ..full
        }
    }
}

pub fn bench(arguments: &Bench) -> Result<Exit, Failure> {
    stage::check_overrides(&arguments.set)?;
    let size = Size::of(arguments.quick, &arguments.size);
    let directory = tempfile::tempdir().map_err(|error| Exit::Io.because(error))?;
    let catalog = directory.path().join(CATALOG);
    fs::write(&catalog, workload::catalog(arguments.seed)).map_err(|error| Exit::Io.because(error))?;
    let run = Stages { directory: directory.path(), size, seed: arguments.seed, set: &arguments.set };

    let broker = Broker::start(TOPIC, PARTITIONS)?;
    let topic = run.topic(&broker.address, TOPIC, Some(&broker))?;
    drop(broker);
    let brokers = match &arguments.brokers {
        Some(address) => Some(run.with_events(BROKERS_TIMES * size.events).on_brokers(address)?),
        None => None,
    };
    let broker = Broker::start(LATENCY_TOPIC, LATENCY_PARTITIONS)?;
    let latency_ms: Latency = run.over_topic(StageName::Latency, &broker.address, LATENCY_TOPIC)?;
    drop(broker);
    let levels = KAPPAS.iter().map(|kappa| run.alone(StageName::Window, &["--kappa", &kappa.to_string()]));
    let levels = levels.collect::<Result<Vec<AtLevel>, Failure>>()?;
    let checkpoint: Checkpoint = run.alone(StageName::Checkpoint, &[])?;
    let report = BenchReport {
        machine: Machine::this(),
        quick: arguments.quick,
        seed: arguments.seed,
        set: arguments.set.clone(),
        partitions: PARTITIONS,
        ratios: Ratios::of(&topic),
        topic,
        brokers,
        window: Window::of(size.window, levels),
        step: run.alone(StageName::Step, &[])?,
        checkpoint,
        latency_ms,
    };
    if arguments.json {
        print_json(&report)?
    } else {
        print_text(&report.in_words())?
    }
    Ok(Exit::Success)
}

/// Runs stages as processes.
struct Stages<'a> {
    directory: &'a Path,
    size: Size,
    seed: u64,
    /// Settings that the user has overridden.
    set: &'a [String],
}

impl Stages<'_> {
    fn with_events(&self, events: u64) -> Stages<'_> {
        Stages { size: Size { events, ..self.size }, ..*self }
    }

    /// Leaves the brokers as they were.
    fn on_brokers(&self, address: &str) -> Result<Topic, Failure> {
        let topic = format!("{TOPIC}-{}", std::process::id());
        let measured = self.topic(address, &topic, None);
        let settings = settings::load(None, &[format!("kafka.brokers={address}")]);
        let settings = settings.map_err(|error| error.exit().because(error))?;
        if let Err(error) = delete_topic(&plan::connection(&settings), &topic) {
            tracing::warn!(%topic, %error, "the topic of the measurement could not be deleted");
        }
        measured
    }

    /// Writes the log and reads it in every depth.
    fn topic(&self, address: &str, topic: &str, broker: Option<&Broker>) -> Result<Topic, Failure> {
        // Of each partition an answer of the embedded broker holds one batch, and one of a real broker as many as fit.
        let batch = format!("kafka.properties.{}={EMBEDDED_BATCH}", topic::BATCH_SIZE);
        let set: &[&str] = if broker.is_some() { &["--set", &batch] } else { &[] };
        let _: u64 = self.alone(StageName::Write, &[&["--brokers", address, "--topic", topic], set].concat())?;
        let depths =
            [StageName::Consume, StageName::Decode, StageName::Filter, StageName::Job, StageName::JobDefaultRatio];
        let mut turns: Vec<Vec<Stage>> = depths.iter().map(|_| Vec::new()).collect();
        let busy = || broker.and_then(|broker| usage::cpu_time_of(broker.process()));
        let before = busy();
        for _ in 0..self.size.turns.max(1) {
            for (depth, turns) in depths.iter().zip(&mut turns) {
                turns.push(self.over_topic(*depth, address, topic)?);
            }
        }
        let reads = (self.size.turns.max(1) * depths.len()) as f64 * self.size.events as f64;
        let broker_cpu_us_per_event =
            busy().zip(before).map(|(after, before)| (after - before).as_secs_f64() * 1e6 / reads.max(1.0));
        let mut middle = turns.into_iter().map(Stage::middle);
        let mut next = || middle.next().unwrap_or_default();
        Ok(Topic {
            events: self.size.events,
            consume: next(),
            decode: next(),
            filter: next(),
            job: next(),
            job_default_replay_ratio: next(),
            broker_cpu_us_per_event,
        })
    }

    fn over_topic<T: DeserializeOwned>(&self, stage: StageName, address: &str, topic: &str) -> Result<T, Failure> {
        self.alone(stage, &["--brokers", address, "--topic", topic])
    }

    fn alone<T: DeserializeOwned>(&self, stage: StageName, further: &[&str]) -> Result<T, Failure> {
        let mut command = self.command(stage)?;
        command.args(further);
        let child = spawn(command, stage.name())?;
        let said = output_of(child, stage).map_err(|failure| match failure.exit {
            // With the bench's own settings every stage can do its work.
            Exit::Bug if !self.set.is_empty() => {
                Exit::Config.because(format!("{}; with these settings: {}", failure.error, self.set.join(", ")))
            }
            _ => failure,
        })?;
        serde_json::from_str(&said)
            .map_err(|error| Exit::Bug.because(format!("the stage {} answers otherwise: {error}", stage.name())))
    }

    fn command(&self, stage: StageName) -> Result<Command, Failure> {
        let Size { events, turns: _, window, operations, step_turns, sessions, snapshots, latency_seconds } = self.size;
        let mut command = command("bench-stage")?;
        // Settings of the environment would measure another thing under the same name.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(PREFIX)) {
            command.env_remove(name);
        }
        command.arg(stage.name()).arg("--directory").arg(self.directory).args(["--log", "error"]);
        let numbers = [
            ("--seed", self.seed),
            ("--events", events),
            ("--window", window as u64),
            ("--operations", operations as u64),
            ("--turns", step_turns as u64),
            ("--sessions", sessions),
            ("--snapshots", snapshots as u64),
            ("--seconds", latency_seconds),
        ];
        for (flag, number) in numbers {
            command.args([flag, &number.to_string()]);
        }
        for set in self.set {
            command.args(["--set", set]);
        }
        command.stderr(std::process::Stdio::inherit());
        Ok(command)
    }
}

fn output_of(mut child: Guarded, stage: StageName) -> Result<String, Failure> {
    let mut said = String::new();
    if let Some(mut stdout) = child.0.stdout.take() {
        std::io::Read::read_to_string(&mut stdout, &mut said).map_err(|error| Exit::Io.because(error))?;
    }
    let status = child.0.wait().map_err(|error| Exit::Io.because(error))?;
    match status.success() {
        true => Ok(said),
        false => {
            let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Bug.code());
            Err(Exit::from_code(code).because(format!("the stage {} failed: {status}", stage.name())))
        }
    }
}
