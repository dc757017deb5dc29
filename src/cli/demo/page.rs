//! The demo's report.

use super::story::{Moment, Story};
use crate::report::{Chart, CrashProof, Figure, Level, Mark, Point, Report, Series, Tone};
use crate::settings::Settings;

/// What the report repeats of the learner's own counts.
const COUNTS: [(&str, &str); 12] = [
    ("records", "records read"),
    ("malformed", "malformed, set aside"),
    ("events", "events"),
    ("duplicates", "duplicates, dropped"),
    ("late", "late, refused"),
    ("trajectories", "sessions"),
    ("steps", "steps"),
    ("held", "sessions held while the window warmed up"),
    ("admitted", "sessions kept"),
    ("filtered", "sessions filtered out"),
    ("updates", "updates of the policy"),
    ("refused_updates", "updates refused"),
];

const SETTINGS: [&str; 12] = [
    "filter.unit",
    "filter.kappa",
    "filter.window",
    "score.kind",
    "score.discount",
    "learner.objective",
    "learner.policy",
    "learner.batch",
    "learner.learning_rate",
    "learner.replay_ratio",
    "learner.seed",
    "checkpoint.every_records",
];

pub fn report(story: &Story, settings: &Settings) -> Report {
    let identical = if story.is_identical() { "the same bits" } else { "OTHER BITS" };
    let ending = story.ending();
    let times = ending.last.mean / ending.logging.mean.max(f64::MIN_POSITIVE);
    Report {
        title: "sluicebox demo".to_owned(),
        lead: format!(
            "Three recommenders of very different quality wrote a log. A learner read it from a topic while it was \
             written, kept the best {:.0} % of the sessions, and trained a policy on those alone: it earns {times:.2} \
             times what the log's policies earn. On the way it was killed, and it ended with {identical} as a learner \
             that nobody disturbed.",
            100.0 * settings.filter.kappa,
        ),
        headline: headline(story),
        tables: Vec::new(),
        charts: charts(story, settings.filter.kappa),
        sections: Vec::new(),
        crash: Some(CrashProof {
            kills: story.kills().to_vec(),
            straight_digest: story.digests.1.clone(),
            resumed_digest: story.digests.0.clone(),
        }),
        reading: reading(),
        summary: COUNTS.iter().map(|(name, words)| ((*words).to_owned(), ending.facts[*name].to_string())).collect(),
        settings: SETTINGS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), settings.effective.value(name)?.to_owned())))
            .collect(),
        made_by: format!("Made by sluicebox {}, command demo.", env!("CARGO_PKG_VERSION")),
    }
}

fn headline(story: &Story) -> Vec<Figure> {
    let ending = story.ending();
    let figure = |label: &str, value: String, note: String| Figure { label: label.to_owned(), value, note };
    let share = ending.facts["admitted_share"].as_f64().unwrap_or_default();
    let threshold = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |value| format!("{value:.2}"));
    vec![
        figure(
            "Return of a visit",
            format!("{:.2}", ending.last.mean),
            format!("learned policy; 95 % interval {:.2} to {:.2}", ending.last.low, ending.last.high),
        ),
        figure(
            "Who wrote the log",
            format!("{:.2}", ending.logging.mean),
            format!("the best of them {:.2}; an untrained policy {:.2}", ending.expert.mean, ending.first.mean),
        ),
        figure(
            "Threshold",
            threshold(ending.facts["threshold"].as_f64()),
            format!("began at {}", threshold(story.first_threshold())),
        ),
        figure(
            "Kept",
            format!("{:.1} %", 100.0 * share),
            format!("of the sessions; asked for {:.1} %", 100.0 * ending.facts["kappa"].as_f64().unwrap_or_default()),
        ),
    ]
}

fn reading() -> Vec<String> {
    [
        "The return of a session is the sum of its rewards. The threshold is the quantile of the returns in a sliding \
         window above which the wanted share of sessions lies; each new session is compared with it before it enters \
         the window. What lies above is learned from, what lies below is not.",
        "Returns of policies are never estimated from the log here. They are measured by roll-outs in the simulated \
         world, which knows what every choice pays: the same people in the same situations with the same luck for \
         everybody. The learner sees nothing of that world but the log.",
        "The learner saw none of the labels: which recommender served a session stands nowhere in the log. That the \
         best sessions are mostly the expert's is what the filter finds out.",
        "These are figures of one simulated world. They show that the parts work together; they promise nothing about \
         other logs.",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn charts(story: &Story, kappa: f64) -> Vec<Chart> {
    let tones = [Tone::Green, Tone::Violet, Tone::Amber, Tone::Gray];
    let levels = story.loggers.iter().zip(tones).map(|((name, measured), tone)| Level {
        name: (*name).to_owned(),
        tone,
        value: measured.mean,
    });
    let measured = story.measured.iter().map(|measured| Point {
        x: measured.sessions as f64,
        y: measured.value.mean,
        interval: Some((measured.value.low, measured.value.high)),
    });
    let line = |name: &str, tone, value: &dyn Fn(&Moment) -> Option<f64>| {
        let point = |moment: &Moment| Some(Point::new(moment.sessions as f64, value(moment)?));
        Series::new(name, tone, story.moments.iter().filter_map(point).collect())
    };
    let chart = |(title, explanation): (&str, &str), y: &str, y_from_zero, series, levels| Chart {
        title: title.to_owned(),
        explanation: explanation.to_owned(),
        x_label: "sessions read".to_owned(),
        y_label: y.to_owned(),
        y_from_zero,
        series: vec![series],
        levels,
        marks: story.killed_at.iter().map(|at| Mark { name: "kill -9".to_owned(), x: *at }).collect(),
    };
    vec![
        chart(
            (
                "What the policy earns",
                "Mean return of a visit under each sealed policy with its 95 % interval, measured in the simulated \
                 world; dashed, the recommenders that wrote the log.",
            ),
            "return of a visit",
            true,
            Series::new("learned policy", Tone::Teal, measured.collect()),
            levels.collect(),
        ),
        chart(
            (
                "The threshold",
                "Sessions that returned more than this were kept. It follows the window's best sessions.",
            ),
            "return of a session",
            false,
            line("threshold", Tone::Violet, &|moment| moment.threshold),
            Vec::new(),
        ),
        chart(
            ("What is kept", "Share of the judged sessions that were kept so far; it should stay near kappa."),
            "share",
            true,
            line("kept so far", Tone::Amber, &|moment| moment.admitted_share),
            vec![Level { name: "kappa".to_owned(), tone: Tone::Gray, value: kappa }],
        ),
        chart(
            ("The loss", "Weighted negative log-likelihood of each batch of kept steps."),
            "loss",
            false,
            line("loss", Tone::Teal, &|moment| moment.loss),
            Vec::new(),
        ),
    ]
}
