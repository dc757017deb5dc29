//! The formulas of the objectives, against numbers worked out elsewhere.

use crate::learner::objective::*;
use crate::learner::remoteness::Taper;

fn rows<'a>(scores: &'a [f32], thresholds: &'a [f32], atom_weights: &'a [f32]) -> Rows<'a> {
    Rows { scores, thresholds, atom_weights, values: &[], log_ratios: &[], tapers: &[] }
}

/// nu = 1, the first row on the atom with share 1/2. A = 0, 1, 2, weighted mean 1.2, variance .56.
fn check(objective: Objective, expected: [f32; 3]) {
    let estimated = Rows {
        values: &[0.5, 2.5, 2.0],
        log_ratios: &[0.5, 0.1, 0.5],
        tapers: &[0.25, 0.5, 0.5],
        ..rows(&[1.0, 2.0, 3.0], &[1.0; 3], &[0.5, 1.0, 1.0])
    };
    let found = row_weights(objective, &estimated);
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
    check(Objective::Asymre { negative_share: 0.1 }, [-0.066815, 0.0, 1.336306]);
    check(Objective::Remoteness { taper: Taper::default() }, [-0.167038, 0.0, 1.336306]);
    check(Objective::Awr { temperature: Temperature::Std(1.0) }, [0.079861, 0.607734, 2.312405]);
    check(Objective::Awr { temperature: Temperature::Raw(0.5) }, [0.024005, 0.354747, 2.621248]);
    check(Objective::Crr { weight: CrrWeight::Indicator }, [1.0, 0.0, 2.0]);
    check(
        Objective::Crr { weight: CrrWeight::Exponential { temperature: Temperature::Raw(1.0) } },
        [0.596042, 0.438543, 1.965415],
    );
    check(Objective::Iql { expectile: 0.7, temperature: Temperature::Std(1.0) }, [0.532102, 0.243609, 2.224289]);
    check(Objective::Bppo { clip: 0.2, behavior_updates: 0 }, [-1.101598, 0.0, 0.0]);
}

#[test]
fn every_row_is_measured_from_the_threshold_at_its_own_draw() {
    let found = row_weights(Objective::Drpo, &rows(&[1.0, 2.0, 3.0], &[1.0, 1.5, 3.0], &[1.0; 3]));
    // A = 0, 1/2, 0: mean 1/6, variance 1/18.
    assert!((found.weights[1] - 0.5 * 18_f32.sqrt()).abs() < 1e-5);
    assert_eq!((found.weights[0], found.weights[2]), (0.0, 0.0));
}

#[test]
fn ties_weigh_as_their_atoms_do_and_are_reported() {
    for scores in [[1.0_f32; 4], [5.0; 4]] {
        let found = row_weights(Objective::Drpo, &rows(&scores, &[1.0; 4], &[0.5, 0.5, 0.5, 1.0]));
        assert!(found.is_uniform_fallback);
        assert_eq!(found.weights, [0.8, 0.8, 0.8, 1.6]);
    }
    let rounding = row_weights(Objective::Drpo, &rows(&[0.3, 0.1 + 0.2, 0.3], &[0.0; 3], &[1.0; 3]));
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
    for name in Objective::NAMES.into_iter().filter(|name| !["bc", "adaptive-bc"].contains(name)) {
        let objective: Objective = name.parse().unwrap();
        let broken = Rows {
            values: &[0.0; 3],
            log_ratios: &[0.0; 3],
            tapers: &[1.0; 3],
            ..rows(&[1.0, f32::NAN, 3.0], &[1.0; 3], &[1.0; 3])
        };
        let found = row_weights(objective, &broken);
        assert!(found.weights.iter().any(|weight| weight.is_nan()), "{name}: {:?}", found.weights);
    }
}

#[test]
fn a_clipped_ratio_has_no_gradient_and_only_on_the_side_that_it_helps() {
    let objective = Objective::Bppo { clip: 0.2, behavior_updates: 0 };
    let ratios = [1.3_f64.ln(), 0.7_f64.ln(), 1.3_f64.ln(), 0.7_f64.ln()];
    let found =
        row_weights(objective, &Rows { log_ratios: &ratios, ..rows(&[-1.0, -1.0, 1.0, 1.0], &[0.0; 4], &[1.0; 4]) });
    for (found, expected) in found.weights.iter().zip([-1.3, 0.0, 0.0, 0.7]) {
        assert!((found - expected).abs() < 1e-6, "{:?}", found);
    }
}

#[test]
fn exponents_are_bounded_and_nothing_above_its_critic_is_no_step() {
    let awr = Objective::Awr { temperature: Temperature::Raw(1e-3) };
    let found = row_weights(awr, &rows(&[0.0, 1.0], &[0.0; 2], &[1.0; 2]));
    assert!((f64::from(found.weights[0] / found.weights[1]).ln() + 20.0).abs() < 1e-3, "{found:?}");
    let crr = Objective::Crr { weight: CrrWeight::Indicator };
    let found = row_weights(crr, &Rows { values: &[2.0; 2], ..rows(&[0.0, 1.0], &[0.0; 2], &[1.0; 2]) });
    assert_eq!(found.weights, [0.0, 0.0]);
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
fn names_are_read_back_and_wrong_ones_explained() {
    for name in Objective::NAMES {
        assert_eq!(name.parse::<Objective>().map(Objective::name), Ok(name));
    }
    let message = "dpro".parse::<Objective>().map_err(|error| error.to_string());
    assert!(message.is_err_and(|message| message.starts_with("unknown objective \"dpro\"; there are drpo, drpo-exp")));
}
