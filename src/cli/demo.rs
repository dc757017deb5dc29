//! `demo`: the whole product in one tree of processes, and the proof that a crash changes nothing.
//!
//! ```text
//! simulator -> embedded broker -> learner that is killed on the way
//!                              -> learner that nobody disturbs, afterwards
//! ```
//!
//! All of them are children of the same executable. This process only watches, measures in the simulated world what the
//! policies that the learner seals are worth, compares the two digests, and writes the report.

pub(super) mod children;
mod page;
mod simulator;
mod stage;
mod story;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::{args, plan, print_json, print_text};
use crate::checkpoint::{RealDisk, read_newest};
use crate::clock::Stopwatch;
use crate::exit::{Exit, Failure};
use crate::learner;
use crate::policy::Policy;
use crate::report::Kill;
use crate::runtime::{self, Mode};
use crate::settings::Settings;
use crate::simulate::{
    Actor, Choice, Logger, MeasuredReturn, RawSimulateSettings, SimulateSettings, Trial, World, WorldKind,
};
use crate::time::EventTime;
use children::{Broker, Learner, Simulator};
pub use simulator::demo_simulator;
use stage::Stage;
use story::{Measured, Story};

const TOPIC: &str = "demo";
/// The embedded broker keeps 5 MiB of each, and both learners must find the whole log.
const PARTITIONS: u32 = 8;
/// The first kill comes when this share of the log has been read.
const KILL_AT: f64 = 0.45;
/// A seal may come between the last that was heard and the kill; then the kill proved nothing and another follows.
const KILLS_MAX: usize = 4;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Visits by which policies are measured on the way, and in the end. The same people come to everybody.
const QUICK: Trial = Trial { episodes: 400, seed: 7, time: EventTime::START };
const THOROUGH: Trial = Trial { episodes: 2_000, seed: 8, time: EventTime::START };

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
    /// The best of them.
    expert: f64,
    start: f64,
    end: f64,
    /// 95 % interval of `end`.
    interval: [f64; 2],
}

#[derive(Debug, Serialize)]
struct Crash {
    /// Those after a first seal, with progress that was not sealed.
    kills: usize,
    digest_identical: bool,
}

pub fn demo(arguments: &args::Demo) -> Result<Exit, Failure> {
    let watch = Stopwatch::start();
    let stage = Stage::set(arguments)?;
    let outcome = stage.play(&watch)?;
    if arguments.json {
        print_json(&outcome)?;
    } else {
        print_text(&outcome.in_words())?;
    }
    Ok(if outcome.ok { Exit::Success } else { Exit::Refuted })
}

/// The simulated world of `[simulate]`.
fn world_of(settings: &Settings) -> Result<World, Failure> {
    let raw: Result<RawSimulateSettings, toml::de::Error> = settings.simulate.clone().try_into();
    let raw = raw.map_err(|error| Exit::Config.because(format!("[simulate]: {}", error.message())))?;
    let settings = SimulateSettings::new(raw, EventTime::FIRST).map_err(|error| Exit::Config.because(error))?;
    match settings.raw().world {
        WorldKind::Taste => Ok(World::new(settings)),
        WorldKind::Cu1 => Err(Exit::Config.because("simulate.world must be \"taste\": the demo needs a catalog")),
    }
}

impl Stage {
    fn play(&self, watch: &Stopwatch) -> Result<DemoReport, Failure> {
        let mut story = Story::begin(watch);
        let broker = Broker::start(TOPIC, PARTITIONS)?;
        story.say(&format!("An embedded Kafka broker listens at {}.", broker.address));
        let mut simulator = Simulator::start(self, &broker)?;
        story.say("Three recommenders serve people in a simulated world: an expert, a popular one, a random one.");
        story.loggers(self.loggers());
        story.measured(Measured { sessions: 0, value: self.rollout(&self.untrained()?, QUICK)? });
        let counts = simulator.counts()?;
        story.log_begins(counts.iter().sum());

        let report = self.disturbed(&broker, &counts, &mut story)?;
        simulator.end()?;
        story.say("A second learner reads the same log, and nobody kills it.");
        let undisturbed = self.undisturbed(&broker, &counts)?;
        story.compare(text(&report, "digest"), text(&undisturbed, "digest"));

        let first = self.rollout(&self.untrained()?, THOROUGH)?;
        let last = self.rollout(&self.sealed(&self.disturbed_state())?.1, THOROUGH)?;
        let logging = self.world.rollout(Actor::Mixture, THOROUGH);
        let expert = self.world.rollout(Actor::Logger(Logger::Expert), THOROUGH);
        story.ends((first, last), (logging, expert), report);
        let file = self.directory.join("report.html");
        story.write(&file, &self.settings)?;
        Ok(self.outcome(&story, watch.seconds(), std::fs::canonicalize(&file).unwrap_or(file)))
    }

    /// The learner that is killed and goes on.
    fn disturbed(&self, broker: &Broker, counts: &[u64], story: &mut Story) -> Result<Value, Failure> {
        let state = self.disturbed_state();
        let total: u64 = counts.iter().sum();
        let mut learner = Learner::start(self, broker, counts, &state)?;
        let mut sealed = 0;
        let mut attempts = 0;
        loop {
            std::thread::park_timeout(LOOK_EVERY);
            learner.news().iter().for_each(|status| story.note(status));
            let latest = story.latest();
            let late_enough = latest.read() as f64 >= KILL_AT * total as f64;
            if story.kills().is_empty() && attempts < KILLS_MAX && late_enough && latest.has_unsealed_progress() {
                attempts += 1;
                learner.kill();
                learner.last_news().iter().for_each(|status| story.note(status));
                story.killed(self.kill_by(&state, story.latest().read())?);
                learner = Learner::start(self, broker, counts, &state)?;
                continue;
            }
            if let Some(report) = learner.finished()? {
                learner.last_news().iter().for_each(|status| story.note(status));
                self.measure(&state, story)?;
                return Ok(report);
            }
            if latest.checkpoint > sealed {
                sealed = latest.checkpoint;
                self.measure(&state, story)?;
            }
        }
    }

    fn undisturbed(&self, broker: &Broker, counts: &[u64]) -> Result<Value, Failure> {
        let mut learner = Learner::start(self, broker, counts, &self.directory.join("undisturbed"))?;
        loop {
            std::thread::park_timeout(LOOK_EVERY);
            learner.news();
            if let Some(report) = learner.finished()? {
                return Ok(report);
            }
        }
    }

    fn disturbed_state(&self) -> PathBuf {
        self.directory.join("learner")
    }

    /// What the disk holds after a kill: what was heard last may be older.
    fn kill_by(&self, state: &Path, records_read: u64) -> Result<Kill, Failure> {
        let outcome = runtime::read_outcome(state).map_err(plan::job_failure)?;
        let sealed = outcome.as_ref().map_or(0, |outcome| outcome.content.records().records);
        let checkpoint = outcome.map_or_else(|| "nothing".to_owned(), |found| file_name(&found.sealed.directory));
        Ok(Kill { records_read, records_sealed: sealed, checkpoint })
    }

    /// Rolls the newest sealed policy out in the world.
    fn measure(&self, state: &Path, story: &mut Story) -> Result<(), Failure> {
        let (sessions, policy) = self.sealed(state)?;
        story.measured(Measured { sessions, value: self.rollout(&policy, QUICK)? });
        Ok(())
    }

    /// The newest sealed policy, and how many sessions it has seen.
    fn sealed(&self, state: &Path) -> Result<(u64, Policy), Failure> {
        let loaded = read_newest(&RealDisk, state).map_err(|error| Exit::Io.because(error))?;
        let (sealed, parts) = loaded.newest.ok_or_else(|| Exit::Bug.because("the learner sealed nothing"))?;
        let policy = Policy::from_bytes(&parts.policy, None).map_err(|error| Exit::Bug.because(error))?;
        let sessions = sealed.manifest.facts.counters.get("trajectories").copied().unwrap_or_default();
        Ok((sessions, policy))
    }

    /// What the learner begins with.
    fn untrained(&self) -> Result<Policy, Failure> {
        let state = self.directory.join("untrained");
        let mode = Mode::Range { journal: Vec::new() };
        let paths = plan::Paths { state, decisions: None, kill: None, mode };
        let spec = plan::job(&self.settings, TOPIC, paths)?;
        let learner = learner::Learner::new(spec.learner).map_err(|error| Exit::Config.because(error))?;
        Ok(learner.policy().clone())
    }

    /// The policy's mean picks the nearest item of the world, as a recommendation would.
    fn rollout(&self, policy: &Policy, trial: Trial) -> Result<MeasuredReturn, Failure> {
        let mut refused = None;
        let mut act = |context: &[f32]| {
            let mean = policy.mean(context).unwrap_or_else(|error| {
                refused.get_or_insert(error);
                Vec::new()
            });
            Choice::Embedding(mean)
        };
        let measured = self.world.rollout(Actor::Policy(&mut act), trial);
        match refused {
            None => Ok(measured),
            Some(error) => Err(Exit::Config.because(format!("the policy does not fit the simulated world: {error}"))),
        }
    }

    fn loggers(&self) -> Vec<(&'static str, MeasuredReturn)> {
        let of = |logger: Logger| (logger.name(), self.world.rollout(Actor::Logger(logger), QUICK));
        let [expert, popular, random] = Logger::ALL.map(of);
        vec![expert, ("all together", self.world.rollout(Actor::Mixture, QUICK)), popular, random]
    }

    fn outcome(&self, story: &Story, elapsed_seconds: f64, report: PathBuf) -> DemoReport {
        let ending = story.ending();
        let facts = &ending.facts;
        let identical = story.is_identical();
        DemoReport {
            ok: identical && !story.kills().is_empty() && ending.last.low > ending.logging.high,
            seed: self.seed,
            events: facts["events"].as_u64().unwrap_or_default(),
            elapsed_seconds,
            kappa: facts["kappa"].as_f64().unwrap_or_default(),
            admitted_share: facts["admitted_share"].as_f64(),
            threshold: FirstLast { first: story.first_threshold(), last: facts["threshold"].as_f64() },
            policy_return: PolicyReturn {
                logging: ending.logging.mean,
                expert: ending.expert.mean,
                start: ending.first.mean,
                end: ending.last.mean,
                interval: [ending.last.low, ending.last.high],
            },
            crash: Crash { kills: story.kills().len(), digest_identical: identical },
            digest: text(facts, "digest"),
            report,
        }
    }
}

fn text(report: &Value, name: &str) -> String {
    report[name].as_str().unwrap_or_default().to_owned()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl DemoReport {
    fn in_words(&self) -> String {
        let PolicyReturn { logging, expert, start, end, interval: [low, high] } = &self.policy_return;
        let proof = match (self.crash.kills, self.crash.digest_identical) {
            (0, _) => "was never killed where it would have proved something",
            (_, true) => "was killed by SIGKILL, went on, and ended with the digest of a run without the kill",
            (_, false) => "was killed by SIGKILL and did NOT end with the digest of a run without the kill",
        };
        format!(
            "\n  return of a visit  {end:.2} [{low:.2}, {high:.2}] by the learned policy\n\
             \x20                    {logging:.2} by the policies that wrote the log, {expert:.2} by the best of them, \
             {start:.2} untrained\n\
             \x20 the learner        {proof}\n\
             \x20 digest             {}\n\
             \x20 report             {}\n\
             \x20 took               {:.0} s for {} events\n",
            self.digest,
            self.report.display(),
            self.elapsed_seconds,
            self.events
        )
    }
}
