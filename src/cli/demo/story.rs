//! What happened, told on the terminal while it happens and in the report afterwards.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::clock::Stopwatch;
use crate::exit::{Exit, Failure};
use crate::report::{Chart, CrashProof, Figure, Kill, Level, Mark, Point, Report, Series, Tone};
use crate::settings::Settings;
use crate::simulate::MeasuredReturn;

/// Terminal lines come this often.
const TELL_EVERY_SECONDS: f64 = 2.0;

pub struct Story {
    watch: Stopwatch,
    told: f64,
    loggers: Vec<(&'static str, MeasuredReturn)>,
    measured: Vec<Measured>,
    moments: Vec<Moment>,
    kills: Vec<(Kill, f64)>,
    digests: (String, String),
}

/// A sealed policy's return in the world.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub updates: u64,
    pub value: MeasuredReturn,
}

/// The learner's status at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moment {
    pub checkpoint: u64,
    records: u64,
    records_before: u64,
    sealed_records: u64,
    trajectories: f64,
    threshold: Option<f64>,
    admitted_share: Option<f64>,
    updates: f64,
    loss: Option<f64>,
}

impl Moment {
    fn of(status: &Value) -> Moment {
        let count = |name: &str| status[name].as_u64().unwrap_or_default();
        Moment {
            checkpoint: count("checkpoint"),
            records: count("records"),
            records_before: count("records_before"),
            sealed_records: count("sealed_records"),
            trajectories: count("trajectories") as f64,
            threshold: status["threshold"].as_f64(),
            admitted_share: status["admitted_share"].as_f64(),
            updates: count("updates") as f64,
            loss: status["loss"].as_f64(),
        }
    }

    /// Records read, over all restarts.
    pub fn read(&self) -> u64 {
        self.records + self.records_before
    }

    /// After a first seal, with progress that is not sealed: else surviving would prove nothing.
    pub fn is_worth_a_kill(&self) -> bool {
        self.checkpoint > 0 && self.sealed_records > 0 && self.read() > self.sealed_records
    }
}

impl Story {
    pub fn begin(loggers: Vec<(&'static str, MeasuredReturn)>) -> Story {
        let story = Story {
            watch: Stopwatch::start(),
            told: 0.0,
            loggers,
            measured: Vec::new(),
            moments: Vec::new(),
            kills: Vec::new(),
            digests: Default::default(),
        };
        let returns: Vec<String> =
            story.loggers.iter().map(|(name, measured)| format!("{name} {:.2}", measured.mean)).collect();
        story.say(format!("measured returns per visit: {}", returns.join(", ")));
        story
    }

    pub fn say(&self, line: String) {
        eprintln!("{:5.1} s  {line}", self.watch.seconds());
    }

    pub fn note(&mut self, status: &Value) {
        let moment = Moment::of(status);
        if self.moments.last().is_some_and(|last| last.trajectories > moment.trajectories) {
            // After a restart the learner goes through a part of the log again.
            self.moments.retain(|earlier| earlier.trajectories < moment.trajectories);
        }
        self.moments.push(moment);
        if self.watch.seconds() - self.told >= TELL_EVERY_SECONDS {
            self.told = self.watch.seconds();
            let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
            let policy = self.measured.last().map(|measured| measured.value.mean);
            self.say(format!(
                "{} records, threshold {}, {} admitted of the mass, {} updates, policy return {}",
                moment.read(),
                number(moment.threshold),
                number(moment.admitted_share),
                moment.updates,
                number(policy)
            ));
        }
    }

    pub fn latest(&self) -> Moment {
        self.moments.last().copied().unwrap_or_default()
    }

    pub fn measured(&mut self, measured: Measured) {
        if self.measured.last().is_none_or(|last| last.updates < measured.updates) {
            self.measured.push(measured);
        }
    }

    pub fn killed(&mut self) {
        let latest = self.latest();
        let kill = Kill {
            records_read: latest.read(),
            records_sealed: latest.sealed_records,
            checkpoint: format!("checkpoint-{}", latest.checkpoint),
        };
        self.say(format!(
            "SIGKILL to the learner: {} records read, {} sealed; it starts again from {}",
            kill.records_read, kill.records_sealed, kill.checkpoint
        ));
        self.kills.push((kill, latest.trajectories));
    }

    pub fn compare(&mut self, resumed: &str, straight: &str) {
        self.digests = (resumed.to_owned(), straight.to_owned());
        let verdict = if resumed == straight { "identical" } else { "DIFFERENT" };
        self.say(format!("digests with and without the kill: {verdict}"));
    }

    pub fn kills(&self) -> u64 {
        self.kills.len() as u64
    }

    pub fn logging(&self) -> MeasuredReturn {
        self.loggers.first().map_or(NOTHING, |(_, measured)| *measured)
    }

    pub fn first_threshold(&self) -> Option<f64> {
        self.moments.iter().find_map(|moment| moment.threshold)
    }

    /// Of the first and the last sealed policy.
    pub fn returns(&self) -> (MeasuredReturn, MeasuredReturn) {
        let at = |measured: Option<&Measured>| measured.map_or(NOTHING, |measured| measured.value);
        (at(self.measured.first()), at(self.measured.last()))
    }

    pub fn write(&self, file: &Path, report: &Value, settings: &Settings) -> Result<(), Failure> {
        let html = self.report(report, settings).to_html().map_err(|error| Exit::Bug.because(error))?;
        fs::write(file, html)
            .map_err(|error| Exit::Io.because(format!("could not write {}: {error}", file.display())))
    }

    fn report(&self, report: &Value, settings: &Settings) -> Report {
        let (start, end) = self.returns();
        let logging = self.logging();
        let figure = |label: &str, value: String, note: String| Figure { label: label.to_owned(), value, note };
        let identical = self.digests.0 == self.digests.1;
        Report {
            title: "sluicebox demo".to_owned(),
            lead: format!(
                "A learner read a simulated log of three recommenders of different quality, kept the best {:.0} % of its \
                 sessions, and trained a policy on those alone. It was killed on the way and ended with {} bits as an \
                 undisturbed one.",
                100.0 * settings.filter.kappa,
                if identical { "the same" } else { "OTHER" }
            ),
            headline: vec![
                figure(
                    "Return per visit",
                    format!("{:.2}", end.mean),
                    format!("95 % interval {:.2} to {:.2}; logging policies {:.2}", end.low, end.high, logging.mean),
                ),
                figure("Untrained", format!("{:.2}", start.mean), "the first sealed policy".to_owned()),
                figure("Events", report["events"].to_string(), format!("{} sessions", report["trajectories"])),
            ],
            charts: self.charts(settings.filter.kappa),
            crash: Some(CrashProof {
                kills: self.kills.iter().map(|(kill, _)| kill.clone()).collect(),
                straight_digest: self.digests.1.clone(),
                resumed_digest: self.digests.0.clone(),
            }),
            reading: vec![
                "The threshold is the quantile of the last sessions' returns above which a session is kept. It is warming \
                 up until enough sessions have ended."
                    .to_owned(),
                "Returns of policies are measured by roll-outs in the simulator, with the same people and the same luck for \
                 everybody, and never estimated from the filtered log."
                    .to_owned(),
            ],
            summary: ["records", "decoded", "malformed", "events", "applied", "duplicates", "late", "orphan", "trajectories",
                "steps", "admitted", "filtered", "held", "updates", "refused_updates"]
                .iter()
                .map(|name| ((*name).to_owned(), report[*name].to_string()))
                .collect(),
            settings: ["filter.kappa", "filter.unit", "filter.window", "score.kind", "learner.objective", "learner.seed"]
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), settings.effective.value(name)?.to_owned())))
                .collect(),
            made_by: format!("sluicebox {}, sluicebox demo", env!("CARGO_PKG_VERSION")),
        }
    }

    fn charts(&self, kappa: f64) -> Vec<Chart> {
        let line = |name: &str, tone, value: &dyn Fn(&Moment) -> Option<f64>, x: &dyn Fn(&Moment) -> f64| {
            let point = |moment: &Moment| Some(Point { x: x(moment), y: value(moment)?, interval: None });
            Series { name: name.to_owned(), tone, points: thinned(self.moments.iter().filter_map(point).collect()) }
        };
        let sessions = |moment: &Moment| moment.trajectories;
        let updates = |moment: &Moment| moment.updates;
        let marks = || {
            self.kills.iter().map(|(_, at)| Mark { name: "kill -9".to_owned(), x: *at }).collect::<Vec<_>>()
        };
        let chart = |title: &str, explanation: &str, x: &str, y: &str, zero, series, levels, marks| Chart {
            title: title.to_owned(),
            explanation: explanation.to_owned(),
            x_label: x.to_owned(),
            y_label: y.to_owned(),
            y_from_zero: zero,
            series: vec![series],
            levels,
            marks,
        };
        let tones = [Tone::Violet, Tone::Green, Tone::Amber, Tone::Gray];
        let levels = self.loggers.iter().zip(tones).map(|((name, measured), tone)| Level {
            name: (*name).to_owned(),
            tone,
            value: measured.mean,
        });
        let policy = Series {
            name: "policy".to_owned(),
            tone: Tone::Teal,
            points: self.measured.iter().map(|measured| Point {
                x: measured.updates as f64,
                y: measured.value.mean,
                interval: Some((measured.value.low, measured.value.high)),
            }).collect(),
        };
        vec![
            chart(
                "Return of the policy",
                "Mean return per visit of every sealed policy, with its 95 % interval, beside those who made the log.",
                "updates", "return per visit", true, policy, levels.collect(), Vec::new(),
            ),
            chart(
                "Threshold", "Sessions that returned more than this were kept.", "sessions", "return", false,
                line("threshold", Tone::Teal, &|moment| moment.threshold, &sessions), Vec::new(), marks(),
            ),
            chart(
                "Share of the mass that was kept", "It should stay near kappa.", "sessions", "share", true,
                line("kept", Tone::Teal, &|moment| moment.admitted_share, &sessions),
                vec![Level { name: "kappa".to_owned(), tone: Tone::Gray, value: kappa }], marks(),
            ),
            chart(
                "Loss", "Weighted negative log-likelihood of the batch.", "updates", "loss", false,
                line("loss", Tone::Teal, &|moment| moment.loss, &updates), Vec::new(), Vec::new(),
            ),
        ]
    }
}

const NOTHING: MeasuredReturn = MeasuredReturn { mean: 0.0, low: 0.0, high: 0.0, episodes: 0, reward: 0.0 };

/// A picture has room for a few hundred points, and none for two at the same place.
fn thinned(mut points: Vec<Point>) -> Vec<Point> {
    points.dedup_by(|next, before| next.x <= before.x);
    let step = points.len().div_ceil(400).max(1);
    let last = points.last().copied();
    let mut kept: Vec<Point> = points.into_iter().step_by(step).collect();
    if kept.last() != last.as_ref() {
        kept.extend(last);
    }
    kept
}
