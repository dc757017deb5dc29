//! What a row of a batch weighs: the loss is -(1/rows) * sum_i w_i log pi(a_i | s_i), and only w differs.
//!
//! R is the score the filter compared, nu the threshold at the draw, c in (0, 1] the share with which the exact solution
//! of `max_Q E_Q[R]`, dQ/dP <= 1/kappa holds the row: 1 above nu, the atom's share varrho on it. A = (R - nu)_+.
//!
//! | objective | w | scale |
//! |---|---|---|
//! | `drpo` | c A / (std + eps) | as it is: the step follows how far the kept rows stand above the bar |
//! | `drpo-exp` | c exp((A - max A) / (tau u)), u = std or 1 | mean 1 |
//! | `adaptive-bc` | c | mean 1 |
//! | `bc` | 1 | 1 |
//! | `apg` | R - mean R, signed | as it is; diverges on purpose |
//!
//! std is over the batch's rows, weighted with c. Where all kept rows tie, `drpo` weighs them as `adaptive-bc` does, so
//! that it never silently takes a step of zero.

use std::str::FromStr;

use thiserror::Error;

/// Added to a standard deviation before dividing by it.
const STD_FLOOR: f64 = 1e-8;
/// Rows tie when their standard deviation is this small a part of their largest advantage: rounding of f32.
const TIE: f64 = 1e-6;

/// A selectable objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    Drpo,
    DrpoExp { temperature: Temperature },
    AdaptiveBc,
    Bc,
    Apg,
}

/// tau of an exponential objective, and what it is measured in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Temperature {
    /// In standard deviations over the kept rows.
    Std(f64),
    /// In units of the score; only sensible for rewards in [0, 1].
    Raw(f64),
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
pub enum UnknownObjective {
    #[error("objective \"{0}\" is not there yet; there are {EXISTING}")]
    NotYet(String),
    #[error("unknown objective \"{0}\"; there are {EXISTING}")]
    Unknown(String),
}

const EXISTING: &str = "drpo, drpo-exp, adaptive-bc, bc and apg";

impl FromStr for Objective {
    type Err = UnknownObjective;

    /// By name, with the default temperature (one standard deviation over the kept rows).
    fn from_str(name: &str) -> Result<Objective, UnknownObjective> {
        match name {
            "drpo" => Ok(Objective::Drpo),
            "drpo-exp" => Ok(Objective::DrpoExp { temperature: Temperature::Std(1.0) }),
            "adaptive-bc" => Ok(Objective::AdaptiveBc),
            "bc" => Ok(Objective::Bc),
            "apg" => Ok(Objective::Apg),
            "remoteness" | "asymre" | "awr" | "crr" | "iql" | "bppo" => Err(UnknownObjective::NotYet(name.to_string())),
            _ => Err(UnknownObjective::Unknown(name.to_string())),
        }
    }
}

impl Objective {
    pub fn name(self) -> &'static str {
        match self {
            Objective::Drpo => "drpo",
            Objective::DrpoExp { .. } => "drpo-exp",
            Objective::AdaptiveBc => "adaptive-bc",
            Objective::Bc => "bc",
            Objective::Apg => "apg",
        }
    }

    pub(super) fn validate(self) -> Result<(), String> {
        match self {
            Objective::DrpoExp { temperature: Temperature::Std(tau) | Temperature::Raw(tau) } => {
                let is_valid = tau.is_finite() && tau > 0.0;
                if is_valid { Ok(()) } else { Err("the temperature must be above 0".to_string()) }
            }
            Objective::Drpo | Objective::AdaptiveBc | Objective::Bc | Objective::Apg => Ok(()),
        }
    }
}

/// The weights of one batch. The three slices have the same length.
pub fn row_weights(objective: Objective, scores: &[f32], thresholds: &[f32], atom_weights: &[f32]) -> RowWeights {
    let scores: Vec<f64> = scores.iter().map(|&score| f64::from(score)).collect();
    let c: Vec<f64> = atom_weights.iter().map(|&weight| f64::from(weight)).collect();
    // `max` would turn a NaN into 0 and hide a broken row, which the learner must refuse instead.
    let above = |(score, &nu): (&f64, &f32)| score - f64::from(nu);
    let a: Vec<f64> = scores.iter().zip(thresholds).map(above).map(|a| if a < 0.0 { 0.0 } else { a }).collect();
    let a_max = a.iter().copied().fold(0.0, f64::max);
    let a_std = weighted_std(&a, &c);

    let is_tied = a_std <= TIE * a_max;
    let (weights, is_uniform_fallback) = match objective {
        Objective::Drpo if is_tied => (with_mean_one(c.clone()), true),
        Objective::Drpo => (c.iter().zip(&a).map(|(c, a)| c * a / (a_std + STD_FLOOR)).collect(), false),
        Objective::DrpoExp { temperature } => {
            let unit = match temperature {
                Temperature::Std(tau) => tau * a_std + STD_FLOOR,
                Temperature::Raw(tau) => tau,
            };
            (with_mean_one(c.iter().zip(&a).map(|(c, a)| c * ((a - a_max) / unit).exp()).collect()), false)
        }
        Objective::AdaptiveBc => (with_mean_one(c.clone()), false),
        Objective::Bc => (vec![1.0; scores.len()], false),
        Objective::Apg => {
            let mean = scores.iter().sum::<f64>() / scores.len() as f64;
            (scores.iter().map(|score| score - mean).collect(), false)
        }
    };
    RowWeights {
        kept_std: weighted_std(&scores, &c),
        effective_sample_size: effective_sample_size(&weights),
        is_uniform_fallback,
        weights: weights.into_iter().map(|weight| weight as f32).collect(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// nu = 1, the first row on the atom with share 1/2. A = 0, 1, 2, weighted mean 1.2, variance .56.
    fn check(objective: Objective, expected: [f32; 3]) {
        let found = row_weights(objective, &[1.0, 2.0, 3.0], &[1.0; 3], &[0.5, 1.0, 1.0]);
        for (found, expected) in found.weights.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{}: {found} and not {expected}", objective.name());
        }
        assert!(!found.is_uniform_fallback);
        assert!((found.kept_std - 0.56_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn weights_are_those_of_the_formulas() {
        check(Objective::Drpo, [0.0, 1.336_306, 2.672_612]);
        check(Objective::DrpoExp { temperature: Temperature::Std(1.0) }, [0.079_861, 0.607_731, 2.312_408]);
        check(Objective::DrpoExp { temperature: Temperature::Raw(0.05) }, [0.0, 6.183e-9, 3.0]);
        check(Objective::DrpoExp { temperature: Temperature::Raw(2.0) }, [0.308_198, 1.016_267, 1.675_536]);
        check(Objective::AdaptiveBc, [0.6, 1.2, 1.2]);
        check(Objective::Bc, [1.0, 1.0, 1.0]);
        check(Objective::Apg, [-1.0, 0.0, 1.0]);
    }

    #[test]
    fn every_row_is_measured_from_the_threshold_at_its_own_draw() {
        let found = row_weights(Objective::Drpo, &[1.0, 2.0, 3.0], &[1.0, 1.5, 3.0], &[1.0; 3]);
        // A = 0, 1/2, 0: mean 1/6, variance 1/18.
        assert!((found.weights[1] - 0.5 * 18_f32.sqrt()).abs() < 1e-5);
        assert_eq!((found.weights[0], found.weights[2]), (0.0, 0.0));
    }

    #[test]
    fn ties_weigh_as_their_atoms_do_and_are_reported() {
        for scores in [[1.0_f32; 4], [5.0; 4]] {
            let found = row_weights(Objective::Drpo, &scores, &[1.0; 4], &[0.5, 0.5, 0.5, 1.0]);
            assert!(found.is_uniform_fallback);
            assert_eq!(found.weights, [0.8, 0.8, 0.8, 1.6]);
        }
        let rounding = row_weights(Objective::Drpo, &[0.3, 0.1 + 0.2, 0.3], &[0.0; 3], &[1.0; 3]);
        assert!(rounding.is_uniform_fallback, "rounding is not information: {rounding:?}");
    }

    #[test]
    fn equal_weights_count_in_full_and_one_alone_counts_as_one() {
        assert!((effective_sample_size(&[2.0; 7]) - 7.0).abs() < 1e-12);
        assert!((effective_sample_size(&[0.0, -3.0, 0.0]) - 1.0).abs() < 1e-12);
        assert!((effective_sample_size(&[1.0, 2.0]) - 1.8).abs() < 1e-12);
        assert_eq!(effective_sample_size(&[0.0; 3]), 0.0);
    }

    #[test]
    fn a_broken_score_is_not_hidden() {
        for objective in [Objective::Drpo, Objective::DrpoExp { temperature: Temperature::Std(1.0) }, Objective::Apg] {
            let found = row_weights(objective, &[1.0, f32::NAN, 3.0], &[1.0; 3], &[1.0; 3]);
            assert!(found.weights.iter().any(|weight| weight.is_nan()), "{}", objective.name());
        }
    }

    #[test]
    fn propensities_weigh_with_mean_one_and_are_off_by_default() {
        let propensities = [Some(0.1), None, Some(0.3)];
        let mut weights = [2.0, 3.0, 2.0];
        apply_propensities(&mut weights, &propensities, 0.0);
        assert_eq!(weights, [2.0, 3.0, 2.0]);
        apply_propensities(&mut weights, &propensities, 1.0);
        for (found, expected) in weights.iter().zip([1.0, 3.0, 3.0]) {
            assert!((found - expected).abs() < 1e-6, "{weights:?}");
        }
        let mut weights = [2.0, 3.0];
        apply_propensities(&mut weights, &[None, None], 0.5);
        assert_eq!(weights, [2.0, 3.0]);
    }

    #[test]
    fn names_are_read_back_and_missing_ones_explained() {
        for name in ["drpo", "drpo-exp", "adaptive-bc", "bc", "apg"] {
            assert_eq!(name.parse::<Objective>().map(Objective::name), Ok(name));
        }
        for name in ["remoteness", "asymre", "awr", "crr", "iql", "bppo"] {
            assert_eq!(name.parse::<Objective>(), Err(UnknownObjective::NotYet(name.to_string())));
        }
        let message = "dpro".parse::<Objective>().map_err(|error| error.to_string());
        assert_eq!(
            message,
            Err("unknown objective \"dpro\"; there are drpo, drpo-exp, adaptive-bc, bc and apg".into())
        );
    }
}
