//! Hard filtering: keep the best kappa of the behavior and discard the rest (arXiv 2602.10430).
//!
//! The exact answer of `max_Q E_Q[R]` subject to `dQ/dP <= 1/kappa` puts all weight above the (1 - kappa)-quantile and a
//! fair share on the atom that sits on it. Here the quantile is that of a sliding window, and the *level* at which
//! it is taken is adjusted after every unit so that the admitted mass stays at kappa while the log drifts
//! (adaptive conformal inference, Gibbs and Candes 2021, arXiv 2106.00170).

mod alarm;
mod buffer;
pub mod curriculum;
mod drift;
mod shares;

use serde::{Deserialize, Serialize};

use crate::time::{EventTime, Span};
use crate::window::{Cut, Level, Score, Window, WindowState};
use alarm::Alarm;
pub use buffer::{AdmittedStep, Buffer, BufferRules, BufferState, ReplayRatio};
use curriculum::Course;
pub use curriculum::Curriculum;
use drift::Drift;
use shares::Shares;

/// What happened to a unit, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Trained on, with the judgement's weight.
    Admit,
    /// Discarded for good.
    Filter,
    /// Seen by the window, never trained on.
    Hold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    AboveThreshold,
    BelowThreshold,
    /// On the threshold: weighted by the atom's share.
    Atom,
    /// On the threshold while nothing of the atom is needed.
    AtomFull,
    /// Among the best, and yet not far enough above its baseline.
    Noise,
    /// The user already has more than their share of what is admitted.
    UserShare,
    /// The window is too short for a threshold.
    WarmUp,
    /// No baseline has been fitted yet; such a unit does not enter the window.
    NoBaseline,
}

/// The verdict on one unit with everything that is needed to check it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub reason: Reason,
    /// 1 above the threshold, the atom's share on it, 0 otherwise.
    pub weight: f64,
    /// The window's cut *before* the unit was inserted; `None` during warm-up.
    pub cut: Option<Cut>,
    pub level: f64,
    pub window_len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarmUp {
    Hold,
    Admit,
}

#[derive(Debug, Clone, PartialEq)]
pub struct FilterRules {
    /// In (0, 1]. Where a curriculum moves it, `ess` starts here.
    pub kappa: f64,
    pub curriculum: Curriculum,
    /// Of what a curriculum draws.
    pub seed: u64,
    /// Units, at least the warm-up.
    pub window: usize,
    pub max_age: Option<Span>,
    /// Gain of the level feedback per judged unit.
    pub level_rate: f64,
    pub warmup: WarmUp,
    /// Largest share of the last 256/kappa judged units that may be admitted from one user; 1 turns it off.
    pub max_share_per_user: f64,
    /// Watch for a threshold that admits nothing, or far too much, and shorten the window.
    pub max_silence: bool,
    /// Shorten the window when the mean of the scores has moved, by a sum of so many standard deviations.
    pub drift_threshold: Option<f64>,
    /// Least score that is admitted, however few reach it: with standardized scores, so many standard deviations of what the
    /// baseline leaves unexplained.
    pub noise_gate: Option<f64>,
}

/// The window, the level and the guards around them.
#[derive(Debug, Clone)]
pub struct Filter {
    rules: FilterRules,
    window: Window,
    course: Course,
    level: f64,
    alarm: Alarm,
    drift: Drift,
    shares: Shares,
    totals: FilterTotals,
}

/// Conserved counts, in units except where they say otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct FilterTotals {
    pub admitted: u64,
    pub filtered: u64,
    pub held: u64,
    pub steps_admitted: u64,
    pub steps_filtered: u64,
    pub steps_held: u64,
    /// Units that met a threshold.
    pub judged: u64,
    /// Sum of their weights: over `judged`, the share that kappa asks for.
    pub admitted_mass: f64,
    pub filtered_user_share: u64,
    /// Units among the best kappa that the noise gate kept out.
    pub filtered_noise: u64,
    /// Times the alarm shortened the window.
    pub alarms: u64,
    /// Times the window was shortened because the scores' mean had moved.
    pub drifts: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilterState {
    pub window: WindowState,
    pub course: Course,
    /// The present threshold; follows from the window and the level.
    pub threshold: Option<f32>,
    pub level: f64,
    pub alarm: Alarm,
    pub drift: Drift,
    pub shares: Shares,
    pub totals: FilterTotals,
}

/// The unit's place relative to the cut: the whole rule of the paper's hard filter, with its atoms.
pub fn judge(score: Score, cut: &Cut) -> (Verdict, Reason, f64) {
    let weight = cut.weight(score);
    if score > cut.threshold {
        (Verdict::Admit, Reason::AboveThreshold, weight)
    } else if score < cut.threshold {
        (Verdict::Filter, Reason::BelowThreshold, weight)
    } else if weight > 0.0 {
        (Verdict::Admit, Reason::Atom, weight)
    } else {
        (Verdict::Filter, Reason::AtomFull, weight)
    }
}

impl FilterState {
    pub fn kappa(&self) -> f64 {
        self.course.kappa()
    }
}

impl FilterTotals {
    /// The admitted mass per judged unit: what kappa asks for. `None` before the first.
    pub fn admitted_share(&self) -> Option<f64> {
        (self.judged > 0).then(|| self.admitted_mass / self.judged as f64)
    }
}

impl Filter {
    pub fn new(rules: FilterRules) -> Filter {
        let window = Window::new(rules.window, rules.max_age);
        let course = Course::new(rules.curriculum, rules.kappa, rules.seed);
        let kappa = course.kappa();
        let shares = Shares::new(kappa, rules.max_share_per_user);
        let (alarm, drift, totals) = (Alarm::new(kappa), Drift::default(), FilterTotals::default());
        Filter { level: kappa, window, course, alarm, drift, shares, totals, rules }
    }

    /// Units the window needs before it decides anything.
    pub fn warmup_len(kappa: f64) -> usize {
        30usize.max((3.0 / kappa).ceil() as usize)
    }

    /// Judges a unit of `steps` steps that closed at `now`, then lets the window see it.
    pub fn consider(&mut self, score: Option<Score>, steps: u64, user: &str, now: EventTime) -> Judgement {
        self.window.expire(now);
        let ungated = self.judge_next(score, user);
        let judgement = self.gated(ungated, score);
        self.count(&judgement, steps);
        // Judge first, insert second: a unit must not raise the bar it is judged by.
        if let Some(score) = score {
            self.window.push(score, now);
        }
        if judgement.cut.is_some() {
            // The level holds the share of what is best, gated or not: it must not make up for what the gate keeps out.
            self.adjust(ungated.weight, user);
        }
        if let (Some(score), Some(threshold)) = (score, self.rules.drift_threshold)
            && self.drift.record(f64::from(score.value()), threshold)
        {
            self.window.keep_last(self.alarm.horizon());
            self.totals.drifts += 1;
        }
        judgement
    }

    /// A batch went to the learner: the moment at which a curriculum moves kappa.
    pub fn note_batch(&mut self) {
        let before = self.course.kappa();
        self.course.advance(self.rules.curriculum, &self.window);
        let kappa = self.course.kappa();
        if kappa == before {
            return;
        }
        // The level keeps what its feedback has learned about this log.
        self.level = (self.level * kappa / before).min(1.0);
        self.alarm.follow(kappa);
        let shares = std::mem::replace(&mut self.shares, Shares::new(kappa, 1.0));
        self.shares = shares.tuned(kappa, self.rules.max_share_per_user);
    }

    fn judge_next(&mut self, score: Option<Score>, user: &str) -> Judgement {
        let level = Level::new(self.level);
        let warm = self.window.len() >= Filter::warmup_len(self.kappa()).min(self.rules.window);
        let cut = if warm && score.is_some() { self.window.quantile(level) } else { None };
        let (verdict, reason, weight) = match (score, &cut) {
            (None, _) => (Verdict::Hold, Reason::NoBaseline, 0.0),
            // What keeps everything keeps also what lies below all that the window has seen.
            (Some(_), Some(_)) if level == Level::ONE => (Verdict::Admit, Reason::AboveThreshold, 1.0),
            (Some(score), Some(cut)) => judge(score, cut),
            (Some(_), None) => match self.rules.warmup {
                WarmUp::Hold => (Verdict::Hold, Reason::WarmUp, 0.0),
                WarmUp::Admit => (Verdict::Admit, Reason::WarmUp, 1.0),
            },
        };
        let over_share = verdict == Verdict::Admit && cut.is_some() && self.shares.is_full(user);
        let (verdict, reason, weight) =
            if over_share { (Verdict::Filter, Reason::UserShare, 0.0) } else { (verdict, reason, weight) };
        Judgement { verdict, reason, weight, cut, level: level.to_f64(), window_len: self.window.len() }
    }

    /// Where even the best are hardly better than what was to be expected, being among them is luck.
    fn gated(&self, judgement: Judgement, score: Option<Score>) -> Judgement {
        let below = |(score, gate): (Score, f64)| f64::from(score.value()) < gate;
        let is_met = judgement.verdict == Verdict::Admit && judgement.cut.is_some();
        if is_met && score.zip(self.rules.noise_gate).is_some_and(below) {
            Judgement { verdict: Verdict::Filter, reason: Reason::Noise, weight: 0.0, ..judgement }
        } else {
            judgement
        }
    }

    fn count(&mut self, judgement: &Judgement, steps: u64) {
        let totals = &mut self.totals;
        let (units, unit_steps) = match judgement.verdict {
            Verdict::Admit => (&mut totals.admitted, &mut totals.steps_admitted),
            Verdict::Filter => (&mut totals.filtered, &mut totals.steps_filtered),
            Verdict::Hold => (&mut totals.held, &mut totals.steps_held),
        };
        *units += 1;
        *unit_steps += steps;
        match judgement.reason {
            Reason::UserShare => totals.filtered_user_share += 1,
            Reason::Noise => totals.filtered_noise += 1,
            Reason::AboveThreshold
            | Reason::BelowThreshold
            | Reason::Atom
            | Reason::AtomFull
            | Reason::WarmUp
            | Reason::NoBaseline => {}
        }
        if judgement.cut.is_some() {
            totals.judged += 1;
            totals.admitted_mass += judgement.weight;
        }
    }

    /// level += gamma (kappa - weight): after every judged unit, never per batch of polled records.
    fn adjust(&mut self, weight: f64, user: &str) {
        let kappa = self.kappa();
        let highest = kappa.max((20.0 * kappa).min(0.98));
        self.level = (self.level + self.rules.level_rate * (kappa - weight)).clamp(kappa / 50.0, highest);
        self.shares.record(user, weight > 0.0);
        if self.rules.max_silence && self.alarm.record(weight) {
            // An old regime must not starve learning: forget it, keep the level.
            self.window.keep_last(self.alarm.horizon());
            self.totals.alarms += 1;
        }
    }

    pub fn totals(&self) -> &FilterTotals {
        &self.totals
    }

    /// The share of the mass to keep, where the curriculum has moved it.
    pub fn kappa(&self) -> f64 {
        self.course.kappa()
    }

    pub fn level(&self) -> f64 {
        self.level
    }

    pub fn window_len(&self) -> usize {
        self.window.len()
    }

    /// The cut that the next unit would meet.
    pub fn cut(&mut self) -> Option<Cut> {
        self.window.quantile(Level::new(self.level))
    }

    pub fn snapshot(&mut self) -> FilterState {
        FilterState {
            window: self.window.save(),
            course: self.course.clone(),
            threshold: self.cut().map(|cut| cut.threshold.value()),
            level: self.level,
            alarm: self.alarm.clone(),
            drift: self.drift.clone(),
            shares: self.shares.clone(),
            totals: self.totals,
        }
    }

    /// Takes over a saved state. The limits, and kappa where no curriculum has moved it, are those of the present rules: they
    /// may be tuned at a restart.
    pub fn restore(rules: FilterRules, state: FilterState) -> Result<Filter, String> {
        let window = Window::restore(rules.window, rules.max_age, state.window).map_err(|error| error.to_string())?;
        if !state.level.is_finite() {
            return Err("the level is not a number".to_owned());
        }
        let mut filter = Filter::new(rules);
        filter.window = window;
        filter.level = state.level;
        let rules = &filter.rules;
        filter.course = state.course.tuned(rules.curriculum, rules.kappa, rules.seed);
        let kappa = filter.course.kappa();
        filter.alarm = state.alarm.tuned(kappa);
        filter.drift = state.drift;
        filter.shares = state.shares.tuned(kappa, rules.max_share_per_user);
        filter.totals = state.totals;
        Ok(filter)
    }
}

#[cfg(test)]
mod tests;
