//! The log as estimators see it: of each decision four numbers, grouped by session.

use super::{ESS_MIN, MEAN_WEIGHT_SLACK, Unit};

/// One logged decision beside the policy that is evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoggedStep {
    /// Probability under the target over the propensity.
    pub weight: f64,
    pub reward: f64,
    /// The reward model's guess for what was shown, q(x, a).
    pub model: f64,
    /// Its expectation under the target, sum over a of pi(a | x) q(x, a).
    pub expected: f64,
}

/// Sessions one after the other, in the order of the log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    steps: Vec<LoggedStep>,
    /// Where each session ends in `steps`.
    ends: Vec<usize>,
}

/// How far the log covers what the target would do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overlap {
    pub unit: Unit,
    pub ess: f64,
    pub max_weight: f64,
    pub mean_weight: f64,
}

impl Sample {
    pub fn push_session(&mut self, steps: impl IntoIterator<Item = LoggedStep>) {
        self.steps.extend(steps);
        self.ends.push(self.steps.len());
    }

    /// Appends the sessions of another part of the log.
    pub fn append(&mut self, other: Sample) {
        let offset = self.steps.len();
        self.steps.extend(other.steps);
        self.ends.extend(other.ends.iter().map(|end| offset + end));
    }

    pub fn steps(&self) -> &[LoggedStep] {
        &self.steps
    }

    pub fn sessions(&self) -> impl Iterator<Item = &[LoggedStep]> + Clone {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| &self.steps[*start..*end])
    }

    pub fn session_lengths(&self) -> impl Iterator<Item = usize> {
        self.sessions().map(<[LoggedStep]>::len)
    }
}

impl Overlap {
    pub fn of(unit: Unit, weights: impl Iterator<Item = f64> + Clone) -> Overlap {
        let max_weight = weights.clone().fold(0.0, f64::max);
        // Relative to the greatest, so that squares of huge weights stay numbers.
        let scale = if max_weight > 0.0 { max_weight } else { 1.0 };
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        for weight in weights {
            let relative = weight / scale;
            count += 1.0;
            sum += relative;
            squares += relative * relative;
        }
        // Kish: (sum of weights)^2 / sum of squares.
        let ess = if squares > 0.0 { sum * sum / squares } else { 0.0 };
        Overlap { unit, ess, max_weight, mean_weight: sum / count * scale }
    }

    pub fn warnings(self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.ess < ESS_MIN {
            warnings.push(format!("the effective sample size is {:.1}, below {ESS_MIN}: a few units decide", self.ess));
        }
        // Not `>`: a mean that is no number is no good news either.
        let is_near_one = (self.mean_weight - 1.0).abs() <= MEAN_WEIGHT_SLACK;
        if !is_near_one {
            warnings.push(format!(
                "the mean weight is {:.3} and should be 1: the log lacks what the target would do, or its propensities \
                 are not those of the logger",
                self.mean_weight
            ));
        }
        warnings
    }
}
