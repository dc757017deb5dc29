//! What happened, told on the terminal while it happens; [`super::page`] tells it again in the report.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::clock::Stopwatch;
use crate::exit::{Exit, Failure};
use crate::report::Kill;
use crate::settings::Settings;
use crate::simulate::MeasuredReturn;

/// Terminal lines come this often.
const TELL_EVERY_SECONDS: f64 = 2.0;
const BAR_WIDTH: f64 = 16.0;

pub struct Story {
    watch: Stopwatch,
    told: f64,
    total: u64,
    pub(super) loggers: Vec<(&'static str, MeasuredReturn)>,
    pub(super) measured: Vec<Measured>,
    pub(super) moments: Vec<Moment>,
    latest: Moment,
    /// Kills that prove something, and after how many sessions they came.
    kills: Vec<Kill>,
    pub(super) killed_at: Vec<f64>,
    pub(super) digests: (String, String),
    ending: Ending,
}

/// A sealed policy's return in the world.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub sessions: u64,
    pub value: MeasuredReturn,
}

/// The thorough measurements of the end, and what the learner said of itself.
#[derive(Debug, Clone)]
pub struct Ending {
    pub first: MeasuredReturn,
    pub last: MeasuredReturn,
    pub logging: MeasuredReturn,
    pub expert: MeasuredReturn,
    pub facts: Value,
}

/// The learner's status at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moment {
    pub checkpoint: u64,
    pub sessions: u64,
    pub threshold: Option<f64>,
    pub admitted_share: Option<f64>,
    pub loss: Option<f64>,
    admitted: u64,
    updates: u64,
    records: u64,
    records_before: u64,
    sealed_records: u64,
}

impl Moment {
    fn of(status: &Value) -> Moment {
        let count = |name: &str| status[name].as_u64().unwrap_or_default();
        Moment {
            checkpoint: count("checkpoint"),
            sessions: count("trajectories"),
            threshold: status["threshold"].as_f64(),
            admitted_share: status["admitted_share"].as_f64(),
            loss: status["loss"].as_f64(),
            admitted: count("admitted"),
            updates: count("updates"),
            records: count("records"),
            records_before: count("records_before"),
            sealed_records: count("sealed_records"),
        }
    }

    /// Records read, over all restarts.
    pub fn read(&self) -> u64 {
        self.records + self.records_before
    }

    /// After a first seal, and well before the next: else surviving would prove nothing.
    pub fn has_unsealed_progress(&self) -> bool {
        self.sealed_records > 0 && self.read() > self.sealed_records + self.sealed_records / 50
    }
}

impl Story {
    pub fn begin(watch: &Stopwatch) -> Story {
        let ending = Ending { first: NOTHING, last: NOTHING, logging: NOTHING, expert: NOTHING, facts: Value::Null };
        Story {
            watch: *watch,
            told: 0.0,
            total: 0,
            loggers: Vec::new(),
            measured: Vec::new(),
            moments: Vec::new(),
            latest: Moment::default(),
            kills: Vec::new(),
            killed_at: Vec::new(),
            digests: Default::default(),
            ending,
        }
    }

    pub fn say(&self, line: &str) {
        eprintln!("{:6.1} s  {line}", self.watch.seconds());
    }

    pub fn loggers(&mut self, loggers: Vec<(&'static str, MeasuredReturn)>) {
        self.loggers = loggers;
        let returns: Vec<_> = self.loggers.iter().map(|(name, found)| format!("{name} {:.2}", found.mean)).collect();
        self.say(&format!("What a visit returns under each, measured: {}.", returns.join(", ")));
    }

    pub fn log_begins(&mut self, total: u64) {
        self.total = total;
        let untrained = self.measured.first().map_or(0.0, |measured| measured.value.mean);
        self.say(&format!("They write {total} records; a learner reads along. Its policy begins at {untrained:.2}."));
    }

    pub fn note(&mut self, status: &Value) {
        let moment = Moment::of(status);
        self.latest = moment;
        // A process that has just started has judged nothing yet, although its checkpoint has.
        if moment.sessions == 0 {
            return;
        }
        // After a restart the learner goes through a part of the log again, with the same figures.
        if self.moments.last().is_none_or(|last| last.sessions < moment.sessions) {
            self.moments.push(moment);
        }
        if self.watch.seconds() - self.told >= TELL_EVERY_SECONDS {
            self.told = self.watch.seconds();
            self.say(&self.progress(&moment));
        }
    }

    fn progress(&self, moment: &Moment) -> String {
        let share = moment.read() as f64 / self.total.max(1) as f64;
        let filled = (share * BAR_WIDTH).min(BAR_WIDTH) as usize;
        let bar: String = (0..BAR_WIDTH as usize).map(|cell| if cell < filled { '█' } else { '░' }).collect();
        let threshold = moment.threshold.map_or_else(|| "warming up".to_owned(), |value| format!("{value:.2}"));
        let policy = self.measured.last().map_or(0.0, |measured| measured.value.mean);
        format!(
            "{bar} {:3.0} %   {:5} sessions, {:4} kept, threshold {threshold}   {:5} updates   policy {policy:.2}",
            100.0 * share,
            moment.sessions,
            moment.admitted,
            moment.updates,
        )
    }

    pub fn latest(&self) -> Moment {
        self.latest
    }

    pub fn measured(&mut self, measured: Measured) {
        if self.measured.last().is_none_or(|last| last.sessions < measured.sessions) {
            self.measured.push(measured);
        }
    }

    pub fn killed(&mut self, kill: Kill) {
        let (read, sealed) = (kill.records_read, kill.records_sealed);
        self.say(&format!(
            "kill -9: the learner is dead. It had read {read} records, {sealed} of them sealed; it goes on from {}.",
            kill.checkpoint
        ));
        if sealed > 0 && read > sealed {
            self.kills.push(kill);
            self.killed_at.push(self.moments.last().map_or(0.0, |moment| moment.sessions as f64));
        }
        // The next process counts from its checkpoint.
        self.latest = Moment::default();
    }

    pub fn compare(&mut self, resumed: String, straight: String) {
        let verdict = if resumed == straight { "the same bits" } else { "OTHER BITS" };
        self.say(&format!("Both learners have ended: {verdict}."));
        self.digests = (resumed, straight);
    }

    pub fn ends(
        &mut self,
        (first, last): (MeasuredReturn, MeasuredReturn),
        (logging, expert): (MeasuredReturn, MeasuredReturn),
        facts: Value,
    ) {
        self.ending = Ending { first, last, logging, expert, facts };
    }

    pub fn ending(&self) -> &Ending {
        &self.ending
    }

    pub fn is_identical(&self) -> bool {
        !self.digests.0.is_empty() && self.digests.0 == self.digests.1
    }

    pub fn kills(&self) -> &[Kill] {
        &self.kills
    }

    pub fn first_threshold(&self) -> Option<f64> {
        self.moments.iter().find_map(|moment| moment.threshold)
    }

    pub fn write(&self, file: &Path, settings: &Settings) -> Result<(), Failure> {
        let html = super::page::report(self, settings).to_html().map_err(|error| Exit::Bug.because(error))?;
        fs::write(file, html).map_err(|error| Exit::Io.because(format!("could not write {}: {error}", file.display())))
    }
}

const NOTHING: MeasuredReturn = MeasuredReturn { mean: 0.0, low: 0.0, high: 0.0, episodes: 0, reward: 0.0 };
