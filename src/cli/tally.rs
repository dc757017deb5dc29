//! Progress of work whose length nobody knows: a count on a terminal, a plain line now and then otherwise.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::Stopwatch;

const LINE_EVERY: Duration = Duration::from_secs(5);

/// Counts on standard error.
pub struct Tally {
    noun: &'static str,
    bar: Option<ProgressBar>,
    since: Stopwatch,
}

impl Tally {
    /// `noun` is what is counted, in the plural.
    pub fn new(noun: &'static str) -> Tally {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {pos} {msg}  {per_sec}");
            let bar = ProgressBar::new_spinner().with_message(noun);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        Tally { noun, bar, since: Stopwatch::start() }
    }

    pub fn show(&mut self, count: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(count),
            None if self.since.elapsed() >= LINE_EVERY => {
                self.since = Stopwatch::start();
                eprintln!("{count} {}", self.noun);
            }
            None => {}
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
