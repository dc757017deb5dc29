//! Networks beside the policy: they learn what they are for, and travel with the state.

use super::*;
use crate::learner::Learner;
use crate::learner::estimators::Estimators;
use crate::learner::network::Network;

#[test]
fn every_objective_goes_on_after_a_restore_as_if_there_had_been_none() {
    for name in Objective::NAMES {
        for mut settings in [gaussian(), learned_items(), given_items()] {
            settings.objective = match name.parse().unwrap() {
                // Both sides of the switch from imitation to the clip.
                Objective::Bppo { clip, .. } => Objective::Bppo { clip, behavior_updates: 7 },
                objective => objective,
            };
            let batches = some_batches(&settings, 12, 21);
            let mut straight = Learner::new(settings.clone()).expect("valid settings");
            let mut resumed = Learner::new(settings.clone()).expect("valid settings");
            for (index, batch) in batches.iter().enumerate() {
                let expected = update(&mut straight, batch);
                if index % 5 == 4 {
                    resumed = Learner::restore(settings.clone(), &resumed.export()).expect("its own state");
                }
                let found = update(&mut resumed, batch);
                assert_eq!(found, expected, "{name}, {:?}, batch {index}", settings.policy);
                assert_eq!(resumed.export(), straight.export(), "{name}, {:?}, batch {index}", settings.policy);
            }
            assert!(straight.counters().updates > 0, "{name}: nothing was applied: {:?}", straight.counters());
        }
    }
}

#[test]
fn a_refused_update_leaves_the_estimators_as_they_were() {
    for name in ["iql", "bppo", "remoteness"] {
        let mut settings = learned_items();
        settings.objective = match name.parse().unwrap() {
            Objective::Bppo { clip, .. } => Objective::Bppo { clip, behavior_updates: 0 },
            objective => objective,
        };
        let mut learner = Learner::new(settings.clone()).expect("valid settings");
        let batches = some_batches(&settings, 2, 9);
        update(&mut learner, &batches[0]);
        let before = learner.export();
        let mut broken = batches[1].clone();
        broken.scores[3] = f32::NAN;
        assert!(matches!(update(&mut learner, &broken).outcome, Outcome::Refused(_)), "{name}");
        let restored = |parts: &crate::learner::Parts| Learner::restore(settings.clone(), parts).expect("a state");
        let (after, before) = (restored(&learner.export()), restored(&before));
        assert_eq!(after.estimators.value, before.estimators.value, "{name}");
        assert_eq!(after.estimators.balance, before.estimators.balance, "{name}");
        let behavior = |learner: &Learner| learner.estimators.behavior.as_ref().map(|b| (b.policy.clone(), b.updates));
        assert_eq!(behavior(&after), behavior(&before), "{name}");
    }
}

#[test]
fn another_objective_brings_its_own_estimators_and_drops_those_of_the_last() {
    let mut settings = gaussian();
    let parts = Learner::new(settings.clone()).expect("valid settings").export();
    settings.objective = "iql".parse().unwrap();
    let mut learner = Learner::restore(settings.clone(), &parts).expect("an objective may change");
    assert!(learner.estimators.value.is_some());
    update(&mut learner, &some_batches(&settings, 1, 3)[0]);
    let parts = learner.export();
    settings.objective = "bppo".parse().unwrap();
    let learner = Learner::restore(settings, &parts).expect("an objective may change");
    assert!(learner.estimators.value.is_none() && learner.estimators.behavior.is_some());
}

/// Scores are 0 or 1 with equal probability, whatever the state: the mean is 1/2 and the expectile .7 is .7.
#[test]
fn the_value_network_finds_the_expectile_of_the_score() {
    for (name, expected) in [("crr", 0.5), ("iql", 0.7)] {
        let mut settings = gaussian();
        settings.objective = name.parse().unwrap();
        settings.weight_decay = 0.0;
        settings.learning_rate = 3e-3;
        let network = Network::new(1).expect("threads");
        let policy = Learner::new(settings.clone()).expect("valid settings").policy().clone();
        let mut estimators = Estimators::default();
        estimators.fit(&settings, &policy);
        let mut numbers = Numbers::new(17);
        let mut late = Vec::new();
        for number in 0..600 {
            let mut batch = embeddings(number, 256, &mut numbers);
            batch.scores.iter_mut().for_each(|score| *score = f32::from(u8::from(numbers.unit() < 0.5)));
            let estimates = estimators.look(&network, &settings, &batch.states.clone(), &batch);
            estimators.accept(None);
            if number >= 500 {
                late.extend(estimates.values);
            }
        }
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        assert!((mean - expected).abs() < 0.03, "seed 17: {name} finds {mean} and not {expected}");
    }
}

#[test]
fn the_policy_of_bppo_is_the_behavior_until_it_may_leave_it() {
    let mut settings = gaussian();
    settings.objective = Objective::Bppo { clip: 0.2, behavior_updates: 5 };
    let mut learner = Learner::new(settings.clone()).expect("valid settings");
    for batch in some_batches(&settings, 8, 31) {
        update(&mut learner, &batch);
        let behavior = learner.estimators.behavior.as_ref().expect("bppo estimates it");
        let is_same = behavior.policy == *learner.policy();
        assert_eq!(is_same, behavior.updates <= 5, "after {} updates", behavior.updates);
    }
}

#[test]
fn negatives_that_outweigh_the_positives_are_dropped_and_counted() {
    let mut settings = gaussian();
    // Nothing fades: q = p, and there is no stable point.
    settings.objective = Objective::Remoteness { taper: crate::learner::Taper { rate: 0.0, start: 1.0, width: 1.0 } };
    let mut learner = Learner::new(settings.clone()).expect("valid settings");
    for batch in some_batches(&settings, 6, 13) {
        update(&mut learner, &batch);
    }
    assert_eq!(learner.counters().negatives_dropped, 6);
    settings.objective = Objective::Remoteness { taper: crate::learner::Taper { rate: 50.0, start: 0.0, width: 1.0 } };
    let mut learner = Learner::new(settings.clone()).expect("valid settings");
    for batch in some_batches(&settings, 6, 13) {
        update(&mut learner, &batch);
    }
    assert_eq!(learner.counters().negatives_dropped, 0);
}
