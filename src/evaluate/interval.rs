//! How sure an estimate is: bounds from its terms, and intervals from logs resampled by session.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// 1 - confidence of every bound and interval here.
const DELTA: f64 = 0.05;
/// More sessions than this are resampled in so many groups, so that the work has an end.
const GROUPS_MAX: usize = 16_384;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntervalKind {
    /// Empirical Bernstein (Maurer and Pontil 2009), the terms' range being the one observed.
    Bernstein,
    Student,
    /// Percentiles over resampled sessions.
    Bootstrap,
}

/// What the bounds need to know of the terms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    pub n: u64,
    pub mean: f64,
    /// Divided by n.
    pub variance: f64,
    /// Of the terms and 0.
    range: f64,
}

impl Summary {
    pub fn of(terms: &[f64]) -> Summary {
        let n = terms.len() as f64;
        let mean = terms.iter().sum::<f64>() / n;
        let variance = terms.iter().map(|term| (term - mean) * (term - mean)).sum::<f64>() / n;
        let (low, high) = terms.iter().fold((0.0_f64, 0.0_f64), |(low, high), term| (low.min(*term), high.max(*term)));
        Summary { n: terms.len() as u64, mean, variance, range: high - low }
    }

    pub fn bernstein(&self) -> Interval {
        self.around(self.bernstein_margin(DELTA / 2.0))
    }

    pub fn student(&self) -> Interval {
        self.around(self.student_margin(DELTA / 2.0))
    }

    pub fn bernstein_lower(&self) -> f64 {
        self.mean - self.bernstein_margin(DELTA)
    }

    pub fn student_lower(&self) -> f64 {
        self.mean - self.student_margin(DELTA)
    }

    pub fn hoeffding_lower(&self) -> f64 {
        self.mean - self.range * ((1.0 / DELTA).ln() / (2.0 * self.n as f64)).sqrt()
    }

    fn around(&self, margin: f64) -> Interval {
        Interval { low: self.mean - margin, high: self.mean + margin }
    }

    fn bernstein_margin(&self, delta: f64) -> f64 {
        let (log, degrees) = ((2.0 / delta).ln(), self.degrees());
        7.0 * self.range * log / (3.0 * degrees) + (2.0 * self.variance * log / degrees).sqrt()
    }

    fn student_margin(&self, delta: f64) -> f64 {
        let error = (self.variance / self.degrees()).sqrt();
        match StudentsT::new(0.0, 1.0, self.degrees()) {
            Ok(student) => student.inverse_cdf(1.0 - delta) * error,
            // A single unit has no degree of freedom.
            Err(_) => f64::NAN,
        }
    }

    fn degrees(&self) -> f64 {
        self.n as f64 - 1.0
    }
}

/// Sums of the terms of every estimator by session, or by group of sessions.
pub struct Resampling {
    /// The group of each session, and how many units it has.
    lengths: Vec<usize>,
    groups: usize,
    counts: Vec<f64>,
    columns: Vec<Vec<f64>>,
}

impl Resampling {
    /// `lengths` are the units of each session.
    pub fn new(lengths: impl Iterator<Item = usize>) -> Resampling {
        let lengths: Vec<usize> = lengths.collect();
        let groups = lengths.len().min(GROUPS_MAX);
        let mut counts = vec![0.0; groups];
        for (session, length) in lengths.iter().enumerate() {
            counts[session % groups] += *length as f64;
        }
        Resampling { lengths, groups, counts, columns: Vec::new() }
    }

    /// Takes in the terms of one estimator, session after session.
    pub fn add(&mut self, terms: &[f64]) {
        let mut sums = vec![0.0; self.groups];
        let mut rest = terms;
        for (session, length) in self.lengths.iter().enumerate() {
            let (own, others) = rest.split_at((*length).min(rest.len()));
            sums[session % self.groups] += own.iter().sum::<f64>();
            rest = others;
        }
        self.columns.push(sums);
    }

    /// The interval of each estimator, in the order in which they were added. All see the same resampled logs.
    pub fn intervals(&self, resamples: u32, seed: u64) -> Vec<Interval> {
        let width = self.columns.len();
        let rows: Vec<f64> = (0..self.groups).flat_map(|group| self.row(group)).collect();
        let values: Vec<Vec<f64>> =
            (0..resamples).into_par_iter().map(|number| resampled(&rows, width, (seed, number))).collect();
        (0..width)
            .map(|column| {
                let mut values: Vec<f64> = values.iter().map(|values| values[column]).collect();
                values.sort_by(f64::total_cmp);
                Interval { low: percentile(&values, DELTA / 2.0), high: percentile(&values, 1.0 - DELTA / 2.0) }
            })
            .collect()
    }

    fn row(&self, group: usize) -> impl Iterator<Item = f64> {
        self.columns.iter().map(move |column| column[group]).chain([self.counts[group]])
    }
}

/// The mean of every column over as many groups as there are, drawn with replacement.
fn resampled(rows: &[f64], width: usize, (seed, number): (u64, u32)) -> Vec<f64> {
    // A stream of its own for every number, so that threads change nothing.
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(u64::from(number) << 32));
    let groups = rows.len() / (width + 1);
    let mut sums = vec![0.0; width + 1];
    for _ in 0..groups {
        let group = generator.random_range(0..groups);
        let row = &rows[group * (width + 1)..(group + 1) * (width + 1)];
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    let count = sums.pop().unwrap_or(f64::NAN);
    sums.iter_mut().for_each(|sum| *sum /= count);
    sums
}

/// Between neighbors by linear interpolation; NaN when there are no values, or some are not numbers.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    if sorted.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let at = share * sorted.len().saturating_sub(1) as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    match (sorted.get(below), sorted.get(below + 1)) {
        (Some(low), Some(high)) if part > 0.0 => low + part * (high - low),
        (Some(value), _) => *value,
        (None, _) => f64::NAN,
    }
}
