//! What a row of a batch weighs: the loss is -(1/rows) * sum_i w_i log pi(a_i | s_i), and only w differs.
//!
//! R is the score the filter compared, nu the threshold at the draw, c in (0, 1] the share with which the exact solution
//! of `max_Q E_Q[R]`, dQ/dP <= 1/kappa holds the row: 1 above nu, the atom's share varrho on it. A+ = (R - nu)_+, and
//! A = R - mean R over the batch's rows. std is over the batch's rows, weighted with c.
//!
//! | objective | w | scale |
//! |---|---|---|
//! | `drpo` | c A+ / (std + eps) | as it is: the step follows how far the kept rows stand above the bar |
//! | `drpo-exp` | c exp((A+ - max A+) / (tau u)), u = std or 1 | mean 1 |
//! | `adaptive-bc` | c | mean 1 |
//! | `bc` | 1 | 1 |
//!
//! Where all kept rows tie, `drpo` weighs them as `adaptive-bc` does, so that it never silently takes a step of zero.
//!
//! The rest is there to compare with, and made for a log that is not filtered: with `filter.kappa = 1` every row is
//! admitted, and c = 1.
//!
//! | objective | w | scale |
//! |---|---|---|
//! | `apg` | A, signed | as it is; diverges on purpose |
//! | `asymre` | c A where A > 0, c s A elsewhere (s = .1) | over std |
//! | `remoteness` | c A where A > 0, c omega(D) A elsewhere, omega = exp(-lambda ((D - start)/width)_+) | over std |
//! | `awr` | c exp(A / (tau u)), exponent within +-10 | mean 1 |
//! | `crr` | c 1{R > V(s)}, or c exp((R - V(s)) / (tau u)) | mean 1 |
//! | `iql` | c exp((R - V(s)) / (tau u)), V the expectile of R, exponent within +-10 | mean 1 |
//! | `bppo` | c r A / std where the clip lets it through, r = pi(a given s) / behavior(a given s) | as it is |
//!
//! V(s) and the behavior are estimated by small networks of their own ([`super::estimators`]). R is the observed return of
//! the unit, so there is nothing to bootstrap: it stands where Q(s, a) stands in the papers of CRR and IQL.

use std::str::FromStr;

use thiserror::Error;

use super::remoteness::Taper;

/// Added to a standard deviation before dividing by it.
const STD_FLOOR: f64 = 1e-8;
/// Rows tie when their standard deviation is this small a part of their largest advantage: rounding of f32.
const TIE: f64 = 1e-6;
/// Bound of an exponent that nothing else bounds, and of the logarithm of an importance ratio.
const EXPONENT_MAX: f64 = 10.0;

/// A selectable objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    Drpo,
    DrpoExp {
        temperature: Temperature,
    },
    AdaptiveBc,
    Bc,
    Apg,
    Asymre {
        negative_share: f64,
    },
    Remoteness {
        taper: Taper,
    },
    Awr {
        temperature: Temperature,
    },
    Crr {
        weight: CrrWeight,
    },
    Iql {
        expectile: f64,
        temperature: Temperature,
    },
    Bppo {
        clip: f64,
        behavior_updates: u64,
    },
    /// The score itself is the weight, signed: for advantages that are known and frozen. No setting selects it.
    Given,
}

/// tau of an exponential objective, and what it is measured in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Temperature {
    /// In standard deviations over the kept rows.
    Std(f64),
    /// In units of the score; only sensible for rewards in [0, 1].
    Raw(f64),
}

/// What `crr` makes of an advantage over its critic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CrrWeight {
    Indicator,
    Exponential { temperature: Temperature },
}

/// What the formulas read: one number for each row; the last three are empty unless the objective asks for them.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    pub scores: &'a [f32],
    pub thresholds: &'a [f32],
    pub atom_weights: &'a [f32],
    /// V(s), for `crr` and `iql`.
    pub values: &'a [f64],
    /// log pi(a | s) - log behavior(a | s), for `bppo`.
    pub log_ratios: &'a [f64],
    /// What a row of negative advantage keeps of it, for `remoteness`.
    pub tapers: &'a [f64],
}

/// Weights of one batch, with what an operator wants to know about them.
#[derive(Debug, Clone, PartialEq)]
pub struct RowWeights {
    pub weights: Vec<f32>,
    /// Standard deviation of the kept rows' scores.
    pub kept_std: f64,
    /// (sum |w|)^2 / sum w^2: how many rows really count.
    pub effective_sample_size: f64,
    /// All kept rows tied, so they weigh the same.
    pub is_uniform_fallback: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown objective \"{0}\"; there are {names}", names = Objective::NAMES.join(", "))]
pub struct UnknownObjective(String);

impl FromStr for Objective {
    type Err = UnknownObjective;

    /// By name, with the defaults of the settings (a temperature of one standard deviation over the kept rows).
    fn from_str(name: &str) -> Result<Objective, UnknownObjective> {
        let temperature = Temperature::Std(1.0);
        match name {
            "drpo" => Ok(Objective::Drpo),
            "drpo-exp" => Ok(Objective::DrpoExp { temperature }),
            "adaptive-bc" => Ok(Objective::AdaptiveBc),
            "bc" => Ok(Objective::Bc),
            "apg" => Ok(Objective::Apg),
            "asymre" => Ok(Objective::Asymre { negative_share: 0.1 }),
            "remoteness" => Ok(Objective::Remoteness { taper: Taper::default() }),
            "awr" => Ok(Objective::Awr { temperature }),
            "crr" => Ok(Objective::Crr { weight: CrrWeight::Indicator }),
            "iql" => Ok(Objective::Iql { expectile: 0.7, temperature }),
            "bppo" => Ok(Objective::Bppo { clip: 0.2, behavior_updates: 500 }),
            _ => Err(UnknownObjective(name.to_string())),
        }
    }
}

impl Objective {
    pub const NAMES: [&str; 11] =
        ["drpo", "drpo-exp", "adaptive-bc", "bc", "apg", "asymre", "remoteness", "awr", "crr", "iql", "bppo"];

    pub fn name(self) -> &'static str {
        match self {
            Objective::Drpo => "drpo",
            Objective::DrpoExp { .. } => "drpo-exp",
            Objective::AdaptiveBc => "adaptive-bc",
            Objective::Bc => "bc",
            Objective::Apg => "apg",
            Objective::Asymre { .. } => "asymre",
            Objective::Remoteness { .. } => "remoteness",
            Objective::Awr { .. } => "awr",
            Objective::Crr { .. } => "crr",
            Objective::Iql { .. } => "iql",
            Objective::Bppo { .. } => "bppo",
            Objective::Given => "given",
        }
    }

    /// The expectile of the score that V(s) estimates; 1/2 is the mean. `None` where no V is needed.
    pub(super) fn value_expectile(self) -> Option<f64> {
        match self {
            Objective::Crr { .. } => Some(0.5),
            Objective::Iql { expectile, .. } => Some(expectile),
            Objective::Drpo | Objective::DrpoExp { .. } | Objective::AdaptiveBc | Objective::Bc | Objective::Apg => {
                None
            }
            Objective::Asymre { .. } | Objective::Remoteness { .. } | Objective::Awr { .. } => None,
            Objective::Bppo { .. } | Objective::Given => None,
        }
    }

    pub(super) fn validate(self) -> Result<(), String> {
        let require = |holds: bool, problem: &str| if holds { Ok(()) } else { Err(problem.to_string()) };
        let is_positive = |number: f64| number.is_finite() && number > 0.0;
        let warm = |temperature: Temperature| {
            let (Temperature::Std(tau) | Temperature::Raw(tau)) = temperature;
            require(is_positive(tau), "the temperature must be above 0")
        };
        match self {
            Objective::DrpoExp { temperature } | Objective::Awr { temperature } => warm(temperature),
            Objective::Crr { weight: CrrWeight::Exponential { temperature } } => warm(temperature),
            Objective::Iql { expectile, temperature } => {
                require(expectile > 0.0 && expectile < 1.0, "the expectile must be between 0 and 1")?;
                warm(temperature)
            }
            Objective::Asymre { negative_share } => {
                require((0.0..=1.0).contains(&negative_share), "the share of negatives must be in [0, 1]")
            }
            Objective::Bppo { clip, .. } => require(clip > 0.0 && clip < 1.0, "the clip must be between 0 and 1"),
            Objective::Remoteness { taper } => taper.validate(),
            Objective::Drpo | Objective::AdaptiveBc | Objective::Bc | Objective::Apg | Objective::Given => Ok(()),
            Objective::Crr { weight: CrrWeight::Indicator } => Ok(()),
        }
    }
}

/// The weights of one batch.
pub fn row_weights(objective: Objective, rows: &Rows<'_>) -> RowWeights {
    let scores: Vec<f64> = rows.scores.iter().map(|&score| f64::from(score)).collect();
    let c: Vec<f64> = rows.atom_weights.iter().map(|&weight| f64::from(weight)).collect();
    // `max` would turn a NaN into 0 and hide a broken row, which the learner must refuse instead.
    let above = |(score, &nu): (&f64, &f32)| score - f64::from(nu);
    let a: Vec<f64> = scores.iter().zip(rows.thresholds).map(above).map(|a| if a < 0.0 { 0.0 } else { a }).collect();
    let a_max = a.iter().copied().fold(0.0, f64::max);
    let a_std = weighted_std(&a, &c);

    let is_uniform_fallback = objective == Objective::Drpo && a_std <= TIE * a_max;
    let weights = match objective {
        Objective::Drpo if is_uniform_fallback => with_mean_one(c.clone()),
        Objective::Drpo => c.iter().zip(&a).map(|(c, a)| c * a / (a_std + STD_FLOOR)).collect(),
        Objective::DrpoExp { temperature } => {
            let unit = temperature.unit(a_std);
            with_mean_one(c.iter().zip(&a).map(|(c, a)| c * ((a - a_max) / unit).exp()).collect())
        }
        Objective::AdaptiveBc => with_mean_one(c.clone()),
        Objective::Bc => vec![1.0; scores.len()],
        Objective::Given => scores.clone(),
        Objective::Apg
        | Objective::Asymre { .. }
        | Objective::Remoteness { .. }
        | Objective::Awr { .. }
        | Objective::Crr { .. }
        | Objective::Iql { .. }
        | Objective::Bppo { .. } => baseline_weights(objective, &scores, &c, rows),
    };
    RowWeights {
        kept_std: weighted_std(&scores, &c),
        effective_sample_size: effective_sample_size(&weights),
        is_uniform_fallback,
        weights: weights.into_iter().map(|weight| weight as f32).collect(),
    }
}

/// What the paper compares with: objectives of an advantage that may be negative.
fn baseline_weights(objective: Objective, scores: &[f64], c: &[f64], rows: &Rows<'_>) -> Vec<f64> {
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let std = weighted_std(scores, c) + STD_FLOOR;
    let a: Vec<f64> = scores.iter().map(|score| score - mean).collect();
    let over_value = || scores.iter().zip(rows.values).map(|(score, value)| score - value);
    let each = |weight: &dyn Fn(usize) -> f64| (0..a.len()).map(|row| c[row] * weight(row)).collect::<Vec<f64>>();
    match objective {
        Objective::Apg => a,
        Objective::Asymre { negative_share } => {
            each(&|row| if a[row] < 0.0 { negative_share * a[row] / std } else { a[row] / std })
        }
        Objective::Remoteness { .. } => {
            each(&|row| if a[row] < 0.0 { rows.tapers[row] * a[row] / std } else { a[row] / std })
        }
        Objective::Awr { temperature } => exponential(a.iter().copied(), c, temperature.unit(std)),
        Objective::Crr { weight: CrrWeight::Indicator } => {
            // A NaN is neither above nor below: it stays one.
            let kept = over_value().zip(c).map(|(a, c)| {
                if a > 0.0 {
                    *c
                } else if a <= 0.0 {
                    0.0
                } else {
                    a
                }
            });
            let kept: Vec<f64> = kept.collect();
            // Nothing stands above its critic: then nothing is imitated.
            if kept.iter().all(|weight| *weight == 0.0) { kept } else { with_mean_one(kept) }
        }
        Objective::Crr { weight: CrrWeight::Exponential { temperature } } | Objective::Iql { temperature, .. } => {
            let spread = weighted_std(&over_value().collect::<Vec<f64>>(), c) + STD_FLOOR;
            exponential(over_value(), c, temperature.unit(spread))
        }
        Objective::Bppo { clip, .. } => each(&|row| {
            let ratio = rows.log_ratios[row].clamp(-EXPONENT_MAX, EXPONENT_MAX).exp();
            let a = a[row] / std;
            // The gradient of min(r A, clip(r) A): none where the clip is the smaller one.
            let is_clipped = if a > 0.0 { ratio > 1.0 + clip } else { ratio < 1.0 - clip };
            if is_clipped { 0.0 } else { ratio * a }
        }),
        Objective::Drpo | Objective::DrpoExp { .. } | Objective::AdaptiveBc | Objective::Bc | Objective::Given => {
            c.to_vec()
        }
    }
}

impl Temperature {
    /// tau in units of the score.
    fn unit(self, std: f64) -> f64 {
        match self {
            Temperature::Std(tau) => tau * std + STD_FLOOR,
            Temperature::Raw(tau) => tau,
        }
    }
}

/// c exp(A / unit) with a bounded exponent, mean 1.
fn exponential(a: impl Iterator<Item = f64>, c: &[f64], unit: f64) -> Vec<f64> {
    with_mean_one(a.zip(c).map(|(a, c)| c * (a / unit).clamp(-EXPONENT_MAX, EXPONENT_MAX).exp()).collect())
}

/// Multiplies weights by propensity^power, scaled so that the known factors have mean 1; a row without a propensity
/// keeps its weight.
pub fn apply_propensities(weights: &mut [f32], propensities: &[Option<f32>], power: f64) {
    if power == 0.0 {
        return;
    }
    let factors: Vec<Option<f64>> = propensities.iter().map(|p| p.map(|p| f64::from(p).powf(power))).collect();
    let known = factors.iter().flatten().count();
    let mean = factors.iter().flatten().sum::<f64>() / known.max(1) as f64;
    for (weight, factor) in weights.iter_mut().zip(factors) {
        if let Some(factor) = factor {
            *weight = (f64::from(*weight) * factor / mean) as f32;
        }
    }
}

/// (sum |w|)^2 / sum w^2; 0 when all weights are 0.
pub fn effective_sample_size(weights: &[f64]) -> f64 {
    let sum: f64 = weights.iter().map(|weight| weight.abs()).sum();
    let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
    if squares == 0.0 { 0.0 } else { sum * sum / squares }
}

fn with_mean_one(mut weights: Vec<f64>) -> Vec<f64> {
    let scale = weights.len() as f64 / weights.iter().sum::<f64>();
    weights.iter_mut().for_each(|weight| *weight *= scale);
    weights
}

fn weighted_std(values: &[f64], weights: &[f64]) -> f64 {
    let total: f64 = weights.iter().sum();
    let mean = values.iter().zip(weights).map(|(value, weight)| value * weight).sum::<f64>() / total;
    let squares: f64 = values.iter().zip(weights).map(|(value, weight)| weight * (value - mean) * (value - mean)).sum();
    (squares / total).sqrt()
}
