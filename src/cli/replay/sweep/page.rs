//! A sweep for people: a table on the terminal, a page with pictures.

use super::{Report, Row};
use crate::evaluate::ESS_MIN;
use crate::report::{self, Chart, Point, Series, Table, Tone};
use crate::validation::Figures;

/// A column of the comparison.
struct Measure {
    title: &'static str,
    of: fn(&Row) -> Option<f64>,
    /// 95 %, where it has one.
    interval: fn(&Row) -> Option<[f64; 2]>,
}

impl Measure {
    const fn new(title: &'static str, of: fn(&Row) -> Option<f64>) -> Measure {
        Measure { title, of, interval: |_| None }
    }
}

/// What differs between variants; what they share (records, events, sessions) stands in each one's own report.
const MEASURES: [Measure; 13] = [
    Measure::new("admitted share", |row| row.report.admitted_share),
    Measure::new("threshold", |row| row.report.threshold.map(f64::from)),
    Measure::new("admitted", |row| row.count("admitted")),
    Measure::new("steps admitted", |row| row.count("steps_admitted")),
    Measure::new("held", |row| row.count("held")),
    Measure::new("updates", |row| row.count("updates")),
    Measure::new("refused", |row| row.count("refused_updates")),
    Measure::new("hit rate", |row| row.figures()?.hit_rate),
    Measure::new("log-likelihood", |row| row.figures()?.log_likelihood),
    Measure::new("unknown", |row| Some(row.figures()?.unknown as f64)),
    Measure { interval: |row| row.figures()?.snips_interval, ..Measure::new("would earn", |row| row.figures()?.snips) },
    Measure::new("effective steps", |row| Some(row.figures()?.ess?.round())),
    Measure::new("mean return of the log", |row| row.report.mean_return),
];

/// How many of a digest's digits tell variants apart.
const DIGEST_SHOWN: usize = 12;

impl Row {
    fn count(&self, name: &str) -> Option<f64> {
        self.report.counters.get(name).map(|count| *count as f64)
    }

    fn figures(&self) -> Option<&Figures> {
        self.report.validation.as_ref().map(|summary| &summary.all)
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.variant.clone()];
        cells.extend(MEASURES.iter().map(|measure| {
            let interval = (measure.interval)(self).map(|[low, high]| format!(" [{}, {}]", shown(low), shown(high)));
            (measure.of)(self).map_or_else(|| "-".to_owned(), shown) + &interval.unwrap_or_default()
        }));
        cells.push(self.report.digest.chars().take(DIGEST_SHOWN).collect());
        cells
    }
}

fn shown(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { format!("{value:.4}") }
}

fn header() -> Vec<String> {
    let titles = MEASURES.iter().map(|measure| measure.title);
    ["variant"].into_iter().chain(titles).chain(["digest"]).map(str::to_owned).collect()
}

impl Report {
    pub(super) fn in_words(&self) -> String {
        let mut lines = vec![header()];
        lines.extend(self.variants.iter().map(Row::cells));
        let columns = lines.first().map_or(0, Vec::len);
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for line in &lines {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        let readings =
            if self.readings == 1 { "one reading".to_owned() } else { format!("{} readings", self.readings) };
        text.push_str(&format!(
            "{} variants by {readings} of the log in {:.1} s\n",
            self.variants.len(),
            self.elapsed_seconds
        ));
        if let Some(page) = &self.page {
            text.push_str(&format!("page {}\n", page.display()));
        }
        text
    }

    pub(super) fn page(&self) -> report::Report {
        let swept: Vec<String> = self.sweep.keys().cloned().collect();
        report::Report {
            title: format!("sluicebox: {}", swept.join(" and ")),
            lead: format!(
                "The same log, from {} to {}, learned from under {} settings. What the settings do not concern was \
                 done once: the log was read {}.",
                self.from,
                self.until,
                self.variants.len(),
                if self.readings == 1 { "once".to_owned() } else { format!("{} times", self.readings) },
            ),
            tables: vec![Table {
                title: "Side by side".to_owned(),
                header: header(),
                rows: self.variants.iter().map(Row::cells).collect(),
            }],
            charts: self.charts(),
            reading: vec![
                "Each line is a whole replay: its state stands in a directory of its own, and its digest is that of a \
                 replay with this setting alone."
                    .to_owned(),
                "The threshold is where the last unit was judged. Admitted share is the mass that was kept of all that \
                 was judged; it follows filter.kappa."
                    .to_owned(),
                "Hit rate, log-likelihood and what the policy would earn by step (self-normalized inverse propensity \
                 scores, where the log has propensities) are progressive: over the last steps that were scored, each \
                 before the policy could train on it. A filtered policy leaves the average behavior of the log behind, \
                 so a lower likelihood of all steps is no loss by itself, and it is over the steps whose item a policy knew: \
                 see how many were unknown."
                    .to_owned(),
                format!(
                    "What a policy would earn rests on the effective steps: below {ESS_MIN} it is a guess, whatever its \
                     interval, and no reason to choose."
                ),
            ],
            made_by: "Made by sluicebox replay --sweep.".to_owned(),
            ..report::Report::default()
        }
    }

    /// A line for each measure, where one number alone was varied.
    fn charts(&self) -> Vec<Chart> {
        let mut swept = self.sweep.keys();
        let (Some(name), None) = (swept.next(), swept.next()) else { return Vec::new() };
        let x = |row: &Row| row.settings.get(name).and_then(|value| value.parse::<f64>().ok());
        if self.variants.len() < 2 || self.variants.iter().any(|row| x(row).is_none()) {
            return Vec::new();
        }
        let chart = |measure: &Measure| {
            let points = self.variants.iter();
            let interval = |row: &Row| (measure.interval)(row).map(|[low, high]| (low, high));
            let points =
                points.filter_map(|row| Some(Point { x: x(row)?, y: (measure.of)(row)?, interval: interval(row) }));
            let mut points: Vec<Point> = points.collect();
            points.sort_by(|left, right| left.x.total_cmp(&right.x));
            Chart {
                title: measure.title.to_owned(),
                explanation: format!("By {name}."),
                x_label: name.clone(),
                y_label: measure.title.to_owned(),
                y_from_zero: false,
                series: vec![Series { name: measure.title.to_owned(), tone: Tone::Teal, points }],
                levels: Vec::new(),
                marks: Vec::new(),
            }
        };
        MEASURES
            .iter()
            .filter(|measure| {
                ["admitted share", "threshold", "updates", "hit rate", "log-likelihood", "would earn"]
                    .contains(&measure.title)
            })
            .map(chart)
            .collect()
    }
}
