//! A run told to a person: one HTML file with pictures, to be mailed around and read years later.
//!
//! The file stands alone: no script, no font, no picture from elsewhere; it follows the reader's light or dark setting
//! and fits a telephone. [`Report`] is plain data, so whoever has numbers (the demo, a replay, a sweep over settings)
//! can have a report; nothing here knows where they come from.
//!
//! * [`chart`]: lines, bands and marks as SVG.
//! * [`table`]: rows of text.
//! * [`page`]: the HTML around them.

pub mod chart;
pub mod page;
mod table;

pub use chart::{Chart, Level, Mark, Point, Series, Tone};
pub use table::Table;

/// Everything that the page shows, from top to bottom.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    pub title: String,
    /// What was done and what came of it, in two or three sentences.
    pub lead: String,
    /// The few numbers to remember.
    pub headline: Vec<Figure>,
    pub tables: Vec<Table>,
    pub charts: Vec<Chart>,
    pub sections: Vec<Section>,
    pub crash: Option<CrashProof>,
    /// How to read the page, in plain words: one paragraph each.
    pub reading: Vec<String>,
    /// What was counted: name and value.
    pub summary: Vec<(String, String)>,
    /// The settings that explain the run: name and value.
    pub settings: Vec<(String, String)>,
    /// The last line: which program, which command.
    pub made_by: String,
}

/// A part of a report that stands for itself: what was asked, tables, pictures, and what is to be said about them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Section {
    pub title: String,
    pub lead: String,
    pub tables: Vec<Table>,
    pub charts: Vec<Chart>,
    pub sentences: Vec<String>,
}

/// One large number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    pub label: String,
    pub value: String,
    /// What to compare it with.
    pub note: String,
}

/// That the run was killed and went on as if it had not been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashProof {
    pub kills: Vec<Kill>,
    /// Digest of the same events without a kill.
    pub straight_digest: String,
    /// Digest of the run that was killed.
    pub resumed_digest: String,
}

/// One `kill -9`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// Records read when it happened.
    pub records_read: u64,
    /// Records that the newest checkpoint contained.
    pub records_sealed: u64,
    /// Name of that checkpoint.
    pub checkpoint: String,
}

impl CrashProof {
    pub fn is_identical(&self) -> bool {
        self.straight_digest == self.resumed_digest
    }
}

#[derive(Debug, thiserror::Error)]
#[error("could not draw the chart {chart:?}: {reason}")]
pub struct ReportError {
    pub chart: String,
    pub reason: String,
}

impl Report {
    /// The whole file.
    ///
    /// # Errors
    /// When a chart cannot be drawn.
    pub fn to_html(&self) -> Result<String, ReportError> {
        page::html(self)
    }
}

#[cfg(test)]
mod tests;
