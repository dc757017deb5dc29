//! What a study found: checks with their expected values, tables, charts, and sentences.

use serde::Serialize;

use super::stats::Estimate;
use crate::report::{Chart, Table};

/// One claim, held against a number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    pub name: String,
    pub expected: String,
    pub measured: f64,
    /// 95 %, over seeds; `None` where there is one value only.
    pub interval: Option<[f64; 2]>,
    pub pass: bool,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Findings {
    pub title: String,
    pub about: String,
    pub checks: Vec<Check>,
    pub tables: Vec<Table>,
    pub charts: Vec<Chart>,
    pub sentences: Vec<String>,
}

impl Findings {
    pub fn check(&mut self, name: impl Into<String>, expected: impl Into<String>, measured: &Estimate, pass: bool) {
        let interval = (measured.seeds > 1).then_some([measured.low, measured.high]);
        let (name, expected) = (name.into(), expected.into());
        self.checks.push(Check { name, expected, measured: measured.mean, interval, pass });
    }

    /// Within `tolerance` of `value`.
    pub fn near(&mut self, name: impl Into<String>, value: f64, tolerance: f64, measured: &Estimate) {
        let pass = (measured.mean - value).abs() <= tolerance;
        self.check(name, format!("{} +- {}", short(value), short(tolerance)), measured, pass);
    }

    pub fn at_least(&mut self, name: impl Into<String>, bound: f64, measured: &Estimate) {
        self.check(name, format!(">= {}", short(bound)), measured, measured.mean >= bound);
    }

    pub fn at_most(&mut self, name: impl Into<String>, bound: f64, measured: &Estimate) {
        self.check(name, format!("<= {}", short(bound)), measured, measured.mean <= bound);
    }
}

/// Three significant digits, as the tables show them.
pub fn short(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ if size >= 0.01 || size == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

/// `0.914 +- 0.006`.
pub fn with_interval(estimate: &Estimate) -> String {
    match estimate.seeds {
        0 | 1 => short(estimate.mean),
        _ => format!("{} +- {}", short(estimate.mean), short(estimate.half())),
    }
}
