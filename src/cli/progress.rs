//! How long work shows that it is alive: a bar on a terminal, plain lines otherwise, JSON lines for a parent process.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::Stopwatch;
use crate::runtime::Figures;

/// Plain lines come this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

pub enum Progress {
    Bar(ProgressBar),
    Lines {
        since: Stopwatch,
    },
    /// `sluicebox-status {..}` on standard error, for a parent process that draws its own picture.
    Machine,
}

impl Progress {
    pub fn new(machine: bool) -> Progress {
        if machine {
            return Progress::Machine;
        }
        if !std::io::stderr().is_terminal() {
            return Progress::Lines { since: Stopwatch::start() };
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style = "{bar:30} {pos}/{len} records  {per_sec}  {msg}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Progress::Bar(bar)
    }

    pub fn show(&mut self, figures: &Figures) {
        match self {
            Progress::Bar(bar) => {
                bar.set_length(figures.records_total.unwrap_or(figures.records));
                bar.set_position(done(figures));
                bar.set_message(words(figures));
            }
            Progress::Lines { since } => {
                if since.elapsed() >= LINE_EVERY {
                    *since = Stopwatch::start();
                    eprintln!("{} records  {}", done(figures), words(figures));
                }
            }
            Progress::Machine => {
                if let Ok(line) = serde_json::to_string(figures) {
                    eprintln!("{MACHINE_PREFIX}{line}");
                }
            }
        }
    }

    pub fn finish(&self) {
        if let Progress::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// What a line for a parent process begins with.
pub const MACHINE_PREFIX: &str = "sluicebox-status ";

fn done(figures: &Figures) -> u64 {
    figures.records + figures.records_before
}

fn words(figures: &Figures) -> String {
    let threshold = figures.threshold.map_or_else(|| "warming up".to_owned(), |threshold| format!("{threshold:.3}"));
    let checkpoint = figures.checkpoint.map_or_else(|| "none".to_owned(), |sequence| sequence.to_string());
    format!(
        "{} sessions, threshold {threshold}, {} admitted, {} updates, checkpoint {checkpoint}",
        figures.trajectories, figures.admitted, figures.updates
    )
}
