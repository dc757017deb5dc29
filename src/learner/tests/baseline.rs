//! The network behind the scores' baseline: it learns what no line can say, and a crash does not reach its bits.

use super::*;
use crate::batch::BaselineBatch;
use crate::learner::BatchError;
use crate::policy::forward;
use crate::score::NetworkFit;

fn generation(generation: u64, rows: usize, value: impl Fn(&[f32], f32) -> f64) -> BaselineBatch {
    let mut numbers = Numbers::new(100 + generation);
    let inputs = STATE + 1;
    let features = numbers.normals(rows * inputs);
    let noise = numbers.normals(rows);
    let targets = features.chunks(inputs).zip(noise).map(|(features, noise)| value(features, noise)).collect();
    BaselineBatch { generation, features, targets }
}

/// Far from 0, of a size of its own, bent, and noisy where the second number is positive.
fn bent(features: &[f32], noise: f32) -> f64 {
    let spread = if features[1] > 0.0 { 20.0 } else { 2.0 };
    1_000.0 + 50.0 * f64::from(features[0].abs()) + spread * f64::from(noise)
}

fn outputs(fit: &NetworkFit, features: &[f32]) -> [f64; 2] {
    let found = forward(&fit.trunk, features.to_vec());
    [fit.mean + fit.deviation * f64::from(found[0]), fit.deviation * f64::from(found[1])]
}

#[test]
fn it_learns_a_bent_value_and_where_it_is_noisy() {
    let mut learner = Learner::new(learned_items()).expect("valid settings");
    assert_eq!(learner.baseline_fit(), None);
    let mut fit = None;
    for number in 0..60 {
        fit = Some(learner.learn_baseline(&generation(number, 500, bent)).expect("it fits"));
    }
    let fit = fit.expect("there were generations");
    assert_eq!(learner.baseline_fit().as_ref(), Some(&fit));
    assert_eq!(fit.generation, 59);
    for (first, second) in [(0.0, 1.0), (1.5, -1.0), (-1.5, 1.0)] {
        let mut features = [0.0_f32; STATE + 1];
        (features[0], features[1]) = (first, second);
        let [value, size] = outputs(&fit, &features);
        assert!((value - bent(&features, 0.0)).abs() < 8.0, "{value} at {first}");
        // The mean size of a normal deviate is .8 of its deviation.
        let expected = if second > 0.0 { 16.0 } else { 1.6 };
        assert!((size - expected).abs() < 6.0, "{size} and not {expected} at {second}");
    }
    // sqrt((20^2 + 2^2) / 2) = 14.2, before what is not yet learned.
    assert!((13.0..20.0).contains(&fit.scale), "{}", fit.scale);
}

#[test]
fn a_restored_learner_gives_the_same_fits() {
    let mut straight = Learner::new(learned_items()).expect("valid settings");
    let mut crashed = Learner::new(learned_items()).expect("valid settings");
    for number in 0..12 {
        let batch = generation(number, 37, bent);
        let expected = straight.learn_baseline(&batch).expect("it fits");
        crashed = Learner::restore(learned_items(), &crashed.export()).expect("its own export");
        assert_eq!(crashed.learn_baseline(&batch).expect("it fits"), expected, "generation {number}");
        assert_eq!(crashed.export(), straight.export());
    }
}

#[test]
fn a_generation_that_is_not_the_next_or_does_not_fit_changes_nothing() {
    let mut learner = Learner::new(learned_items()).expect("valid settings");
    learner.learn_baseline(&generation(0, 20, bent)).expect("it fits");
    let before = learner.export();
    for wrong in [generation(0, 20, bent), generation(2, 20, bent), generation(1, 0, bent)] {
        assert!(matches!(learner.learn_baseline(&wrong), Err(BatchError::Length { .. })), "{wrong:?}");
    }
    let mut torn = generation(1, 20, bent);
    torn.features.pop();
    assert!(matches!(learner.learn_baseline(&torn), Err(BatchError::Length { .. })));
    assert_eq!(learner.export(), before);
}

#[test]
fn constant_and_endless_values_divide_by_nothing() {
    let mut learner = Learner::new(learned_items()).expect("valid settings");
    for number in 0..3 {
        let fit = learner.learn_baseline(&generation(number, 50, |_, _| 7.0)).expect("it fits");
        assert!(fit.scale > 0.0 && fit.mean == 7.0 && fit.deviation == 1.0, "{fit:?}");
    }
    for number in 3..6 {
        let fit = learner.learn_baseline(&generation(number, 50, |_, _| f64::MAX)).expect("it fits");
        let numbers = fit.trunk.iter().flat_map(|tensor| &tensor.values);
        assert!(numbers.copied().all(f32::is_finite) && fit.mean.is_finite() && fit.scale.is_finite(), "{fit:?}");
    }
    assert!(Learner::restore(learned_items(), &learner.export()).is_ok());
}
