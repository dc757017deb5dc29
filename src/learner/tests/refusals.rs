//! A refused update leaves every bit, and too many of them lead back.

use super::*;
use crate::learner::Refusal;

/// What a refusal must not touch.
fn policy_and_moments(learner: &Learner) -> (Vec<u8>, crate::learner::adam::Adam) {
    (learner.export().policy, learner.adam.clone())
}

fn poisoned(batch: &Batch) -> Vec<Batch> {
    let mut poisoned = Vec::new();
    for value in [f32::NAN, f32::INFINITY] {
        let mut scores = batch.clone();
        scores.scores[2] = value;
        poisoned.push(scores);
        let mut states = batch.clone();
        states.states[4] = value;
        poisoned.push(states);
        if let Actions::Embeddings { values, .. } = &batch.actions {
            let mut values = values.clone();
            values[1] = value;
            let actions = Actions::Embeddings { dimension: DIMENSION, values };
            poisoned.push(Batch { actions, ..batch.clone() });
        }
    }
    poisoned
}

#[test]
fn a_refused_update_leaves_policy_and_optimizer_to_the_bit() {
    for settings in [gaussian(), learned_items(), given_items()] {
        let mut learner = Learner::new(settings.clone()).expect("valid settings");
        let batches = some_batches(&settings, 12, 51);
        batches[..5].iter().for_each(|batch| {
            update(&mut learner, batch);
        });
        let before = policy_and_moments(&learner);
        // Batch 11 brings items that were never seen: a refusal must forget them too.
        for (index, bad) in poisoned(&batches[11]).iter().enumerate().take(7) {
            let report = update(&mut learner, bad);
            assert_eq!(report.outcome, Outcome::Refused(Refusal::NotFinite), "poison {index}: {report:?}");
            assert!(policy_and_moments(&learner) == before, "poison {index} changed {:?}", settings.policy);
        }
        assert_eq!(learner.counters().updates, 5);
    }
}

#[test]
fn too_many_refusals_in_a_row_lead_back_to_the_copy() {
    let mut settings = gaussian();
    settings.guard.snapshot_updates = 5;
    settings.guard.refused_in_a_row = 3;
    let mut learner = Learner::new(settings.clone()).expect("valid settings");
    let batches = some_batches(&settings, 13, 61);
    let mut states = Vec::new();
    for batch in &batches[..13] {
        states.push(policy_and_moments(&learner));
        update(&mut learner, batch);
    }
    let last = policy_and_moments(&learner);
    let bad = poisoned(&batches[0]).remove(0);
    // Two refusals, a good batch, and two refusals again are not three in a row.
    for batch in [&bad, &bad] {
        assert!(!update(&mut learner, batch).is_rollback);
    }
    assert!(policy_and_moments(&learner) == last);
    update(&mut learner, &batches[12]);
    for batch in [&bad, &bad] {
        assert!(!update(&mut learner, batch).is_rollback);
    }
    assert!(update(&mut learner, &bad).is_rollback);
    // Copies were taken of the states after 5 and 10 updates, when the next batch had confirmed them.
    assert!(policy_and_moments(&learner) == states[10], "not the copy of the state after ten updates");
    assert_eq!(learner.counters().rollbacks, 1);
    assert_eq!(learner.counters().updates, 14, "rolling back does not turn the count of updates back");
    assert_eq!(update(&mut learner, &batches[12]).outcome, Outcome::Applied);
}

#[test]
fn a_sudden_gradient_is_refused_and_a_lasting_one_accepted_in_the_end() {
    let mut settings = gaussian();
    settings.guard.gradient_ratio_max = 20.0;
    settings.guard.distance_ratio_max = 1e9;
    let mut learner = Learner::new(settings.clone()).expect("valid settings");
    for batch in some_batches(&settings, 150, 71) {
        assert_eq!(update(&mut learner, &batch).outcome, Outcome::Applied);
    }
    let mut far = some_batches(&settings, 1, 72).remove(0);
    if let Actions::Embeddings { values, .. } = &mut far.actions {
        values.iter_mut().for_each(|value| *value *= 20.0);
    }
    let before = policy_and_moments(&learner);
    assert_eq!(update(&mut learner, &far).outcome, Outcome::Refused(Refusal::Gradient));
    assert!(policy_and_moments(&learner) == before);
    let tries = (0..500).position(|_| update(&mut learner, &far).outcome == Outcome::Applied);
    assert!(tries.is_some_and(|tries| tries > 20), "accepted after {tries:?} tries");
}

#[test]
fn parameters_out_of_bounds_are_refused() {
    let mut settings = gaussian();
    settings.learning_rate = 1.0;
    settings.guard.parameter_size_max = 0.6;
    let mut learner = Learner::new(settings.clone()).expect("valid settings");
    let before = policy_and_moments(&learner);
    let report = update(&mut learner, &some_batches(&settings, 1, 81)[0]);
    assert_eq!(report.outcome, Outcome::Refused(Refusal::Size));
    assert!(policy_and_moments(&learner) == before);
    assert_eq!(learner.counters().refused_size, 1);
}

#[test]
fn a_batch_in_which_all_rows_tie_still_teaches() {
    let settings = gaussian();
    let mut learner = Learner::new(settings.clone()).expect("valid settings");
    let mut tied = some_batches(&settings, 1, 91).remove(0);
    tied.scores.fill(0.0);
    let before = learner.policy().clone();
    let report = update(&mut learner, &tied);
    assert!(report.is_uniform_fallback);
    assert!(report.gradient_norm > 0.0);
    assert_ne!(*learner.policy(), before);
    assert_eq!(learner.counters().uniform_fallbacks, 1);
}

#[test]
fn signed_advantages_diverge_and_the_guard_stops_them() {
    let mut settings = gaussian();
    settings.objective = Objective::Apg;
    settings.learning_rate = 1e-2;
    settings.weight_decay = 0.0;
    settings.guard.snapshot_updates = 20;
    let mut learner = Learner::new(settings).expect("valid settings");
    let mut numbers = Numbers::new(101);
    let mut farthest = 0.0_f64;
    for number in 0..1500 {
        let mut batch = embeddings(number, 32, &mut numbers);
        // One row in five is good and lies on one side, the others are bad and lie on the other.
        batch.scores = (0..32).map(|row| if row % 5 == 0 { 1.0 } else { 0.0 }).collect();
        let side = |row: usize| if row.is_multiple_of(5) { 0.5 } else { -0.5 };
        let values = (0..32 * DIMENSION).map(|place| side(place / DIMENSION) + 0.2 * numbers.normal() as f32).collect();
        batch.actions = Actions::Embeddings { dimension: DIMENSION, values };
        let report = update(&mut learner, &batch);
        if report.outcome == Outcome::Applied {
            farthest = farthest.max(report.mean_distance);
        }
    }
    let counters = learner.counters();
    assert!(counters.refused_distance > 0 && counters.rollbacks > 0, "seed 101: {counters:?}, {farthest}");
    assert!(farthest < 50.0, "seed 101: an update was applied at a mean distance of {farthest}");
    assert!(learner.policy().tensors().iter().flat_map(|tensor| &tensor.values).all(|value| value.is_finite()));
}
