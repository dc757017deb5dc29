//! The same batches give the same bits, whoever was interrupted where, and rotten bytes give errors.

use super::*;
use crate::learner::LearnerError;
use crate::learner::state::Parts;

/// Batches with all that can happen to a learner: refusals at 20 and a rollback at 30 to 37.
fn eventful_batches(settings: &LearnerSettings, seed: u64) -> Vec<Batch> {
    let mut batches = some_batches(settings, 60, seed);
    for index in [20].into_iter().chain(30..38) {
        batches[index].scores[3] = f32::NAN;
    }
    batches
}

fn run(learner: &mut Learner, batches: &[Batch]) -> Vec<UpdateReport> {
    batches.iter().map(|batch| update(learner, batch)).collect()
}

fn eventful_settings() -> [LearnerSettings; 3] {
    [gaussian(), learned_items(), given_items()].map(|mut settings| {
        settings.guard.snapshot_updates = 7;
        settings
    })
}

#[test]
fn a_learner_that_was_stored_and_restored_goes_on_to_the_same_bits() {
    for settings in eventful_settings() {
        let batches = eventful_batches(&settings, 31);
        let mut straight = Learner::new(settings.clone()).expect("valid settings");
        let straight_reports = run(&mut straight, &batches);
        assert_eq!(straight.counters().rollbacks, 1);
        assert_eq!(straight.counters().refused_not_finite, 9);
        // Before anything, after a refusal, in the row of refusals, after the rollback, at the end.
        for cut in [0, 13, 21, 34, 38, 60] {
            let mut first = Learner::new(settings.clone()).expect("valid settings");
            run(&mut first, &batches[..cut]);
            let parts = first.export();
            let mut second = Learner::restore(settings.clone(), &parts).expect("its own bytes");
            assert_eq!(second.export(), parts, "cut at {cut}: restoring changed the bytes");
            let reports = run(&mut second, &batches[cut..]);
            assert_eq!(format!("{reports:?}"), format!("{:?}", &straight_reports[cut..]), "cut at {cut}");
            assert_eq!(second.export(), straight.export(), "cut at {cut}, {:?}", settings.policy);
            assert!(second.tensors().eq(straight.tensors()), "cut at {cut}");
            assert_eq!(second.counters(), straight.counters());
        }
    }
}

#[test]
fn threads_do_not_reach_the_bits() {
    let sigma = Sigma::Learned { initial: 1.0 };
    let mut settings = LearnerSettings::new(STATE, PolicyKind::Gaussian { dimension: DIMENSION, sigma });
    // Wide enough that burn does divide the products among threads.
    settings.hidden = vec![256, 256];
    let batches: Vec<Batch> = (0..4).map(|number| embeddings(number, 256, &mut Numbers::new(number))).collect();
    let result = |threads: usize| {
        let mut learner = Learner::new(LearnerSettings { threads, ..settings.clone() }).expect("valid settings");
        run(&mut learner, &batches);
        learner.export()
    };
    let one = result(1);
    for threads in [2, 3] {
        assert!(result(threads) == one, "{threads} threads gave other bits");
    }
}

#[test]
fn another_seed_is_another_learner() {
    let export = |seed: u64| Learner::new(LearnerSettings { seed, ..gaussian() }).expect("valid settings").export();
    assert_eq!(export(1), export(1));
    assert_ne!(export(1).policy, export(2).policy);
}

#[test]
fn the_order_in_which_items_appear_does_not_decide_their_first_vectors() {
    let mut early = Learner::new(learned_items()).expect("valid settings");
    let mut late = Learner::new(learned_items()).expect("valid settings");
    early.fit_items(9);
    for items in [2, 3, 9] {
        late.fit_items(items);
    }
    assert_eq!(early.export(), late.export());
    let vectors = early.policy().item_vectors();
    let distinct = vectors
        .chunks(DIMENSION)
        .enumerate()
        .all(|(i, vector)| vectors.chunks(DIMENSION).skip(i + 1).all(|other| other != vector));
    assert!(distinct, "two items began with the same vector");
}

#[test]
fn a_warm_start_takes_the_policy_and_forgets_the_optimizer() {
    let settings = gaussian();
    let mut learner = Learner::new(settings.clone()).expect("valid settings");
    run(&mut learner, &some_batches(&settings, 10, 4));
    let warm = Learner::warm_start(settings, &learner.export().policy).expect("its own bytes");
    assert_eq!(warm.policy(), learner.policy());
    assert_eq!(warm.adam.step, 0);
    assert_eq!(warm.counters().updates, 0);
}

#[test]
fn rotten_bytes_are_an_error_and_never_a_panic() {
    for settings in eventful_settings() {
        let mut learner = Learner::new(settings.clone()).expect("valid settings");
        run(&mut learner, &some_batches(&settings, 10, 12));
        let parts = learner.export();
        let mut numbers = Numbers::new(13);
        for (length, is_policy) in [(parts.policy.len(), true), (parts.optimizer.len(), false)] {
            for _ in 0..300 {
                let mut rotten = parts.clone();
                let bytes = if is_policy { &mut rotten.policy } else { &mut rotten.optimizer };
                bytes[numbers.below(length)] ^= 1 << numbers.below(8);
                // Many flips are just another number; then the learner must run.
                if let Ok(mut learner) = Learner::restore(settings.clone(), &rotten) {
                    update(&mut learner, &some_batches(&settings, 1, 14)[0]);
                }
                let bytes = if is_policy { &mut rotten.policy } else { &mut rotten.optimizer };
                bytes.truncate(numbers.below(length));
                assert!(Learner::restore(settings.clone(), &rotten).is_err(), "a cut part was taken");
            }
        }
        let longer = Parts { optimizer: [&parts.optimizer[..], &[0]].concat(), ..parts.clone() };
        assert!(Learner::restore(settings.clone(), &longer).is_err());
        let longer = Parts { policy: [&parts.policy[..], &[0]].concat(), ..parts };
        assert!(Learner::restore(settings, &longer).is_err());
    }
}

#[test]
fn a_state_of_other_settings_is_refused_by_name() {
    let parts = Learner::new(gaussian()).expect("valid settings").export();
    let mut others = vec![LearnerSettings { state_dimension: STATE + 1, ..gaussian() }];
    others.push(LearnerSettings { hidden: vec![7], ..gaussian() });
    others.push(LearnerSettings { hidden: vec![7, 5], ..gaussian() });
    others.push(learned_items());
    let sigma = Sigma::Fixed(0.3);
    others.push(LearnerSettings { policy: PolicyKind::Gaussian { dimension: DIMENSION, sigma }, ..gaussian() });
    for other in others {
        let result = Learner::restore(other.clone(), &parts);
        assert!(matches!(result, Err(LearnerError::OtherSettings(_))), "{other:?}");
    }
    // What does not change the structure may change between two runs.
    let tuned = LearnerSettings { learning_rate: 1e-4, objective: Objective::Bc, ..gaussian() };
    assert!(Learner::restore(tuned, &parts).is_ok());
}
