//! The critic of the tilt: it learns returns, its steps are whole or not at all, and a crash does not reach its bits.

use super::*;
use crate::batch::CriticBatch;
use crate::learner::{LearnerError, Refusal, Tilt};

fn tilted(mut settings: LearnerSettings, tilt: Tilt) -> LearnerSettings {
    settings.tilt = tilt;
    settings
}

/// Steps whose session came to `value(state, item)`.
fn critic_batch(number: u64, numbers: &mut Numbers, value: impl Fn(&[f32], u32) -> f32) -> CriticBatch {
    let rows = 64;
    let states = numbers.normals(rows * STATE);
    let items: Vec<u32> = (0..rows).map(|_| numbers.below(ITEMS) as u32).collect();
    let targets = states.chunks(STATE).zip(&items).map(|(state, &item)| value(state, item)).collect();
    CriticBatch { number, rows, states, items, targets, decisions: (number + 1) * 1_000 }
}

/// An item is good in states that point its way.
fn affinity(state: &[f32], item: u32) -> f32 {
    (state[item as usize % STATE] + 0.2 * (item as f32 - 6.0)).tanh()
}

fn learn(learner: &mut Learner, batches: &[CriticBatch]) -> Vec<Option<Outcome>> {
    let mut outcome = |batch| learner.learn_critic(batch).expect("it fits").map(|report| report.outcome);
    batches.iter().map(&mut outcome).collect()
}

#[test]
fn the_critic_comes_to_prefer_what_ended_well() {
    for mut settings in [learned_items(), given_items()] {
        settings.learning_rate = 2e-3;
        let mut learner = Learner::new(tilted(settings, Tilt::Fixed(2.0))).expect("valid settings");
        let mut numbers = Numbers::new(5);
        let mut losses = Vec::new();
        for number in 0..1_500 {
            let batch = critic_batch(number, &mut numbers, affinity);
            losses.extend(learner.learn_critic(&batch).expect("it fits").map(|report| report.loss));
        }
        let tail = losses[1_400..].iter().sum::<f64>() / 100.0;
        assert!(tail < 0.3 * losses[0], "{} to {tail}", losses[0]);
        let tilt = learner.policy().tilt().expect("there is one");
        let state = [2.0, -2.0, 0.0, 0.0, 0.0];
        let given = learner.settings().given_vectors();
        let found = tilt.values(&state, 0..ITEMS as u32, given.as_deref());
        for item in 0..ITEMS {
            let gap = found[item] - affinity(&state, item as u32);
            assert!(gap.abs() < 0.75, "item {item}: {found:?}");
        }
        assert!(found[5] > found[6] + 0.5, "in this state the fifth is better than the sixth: {found:?}");
    }
}

#[test]
fn its_gradient_is_that_of_the_squared_error() {
    for settings in [learned_items(), given_items()] {
        // A step of Adam from nothing is the gradient's sign times the critic's learning rate, which is three times the
        // policy's: compare the loss along it.
        let mut learner = Learner::new(LearnerSettings {
            weight_decay: 0.0,
            learning_rate: 1e-4,
            ..tilted(settings, Tilt::Fixed(1.0))
        })
        .expect("valid settings");
        let batch = critic_batch(0, &mut Numbers::new(8), affinity);
        let loss = |learner: &mut Learner| learner.learn_critic(&batch).expect("it fits").expect("a report");
        let first = loss(&mut learner);
        let before: Vec<Vec<f32>> = moments(&learner);
        let second = loss(&mut learner);
        // first = (1 - beta_1) g, so the predicted fall is 3 lr * sum |g|.
        let slope: f64 = before.iter().flatten().map(|&m| f64::from(m.abs()) * 10.0).sum::<f64>() * 3e-4;
        let fall = first.loss - second.loss;
        assert!(fall > 0.9 * slope && fall < 1.1 * slope, "fell by {fall}, the gradient says {slope}");
    }
}

fn moments(learner: &Learner) -> Vec<Vec<f32>> {
    let first = learner.tensors().filter(|(name, _, _)| name.starts_with("adam.first.critic"));
    first.map(|(_, _, values)| values.to_vec()).collect()
}

#[test]
fn a_critic_that_was_stored_and_restored_goes_on_to_the_same_bits() {
    for settings in [learned_items(), given_items()] {
        let settings = tilted(settings, Tilt::Auto);
        let mut numbers = Numbers::new(21);
        let mut batches: Vec<CriticBatch> =
            (0..120).map(|number| critic_batch(number, &mut numbers, affinity)).collect();
        batches[30].targets[3] = f32::NAN;
        let updates = some_batches(&settings, 12, 4);
        let run = |learner: &mut Learner, range: std::ops::Range<usize>| {
            for index in range {
                learn(learner, &batches[index..=index]);
                if index % 10 == 0 {
                    update(learner, &updates[index / 10]);
                }
            }
        };
        let mut straight = Learner::new(settings.clone()).expect("valid settings");
        run(&mut straight, 0..120);
        assert_eq!((straight.counters().critic_updates, straight.counters().critic_refused), (119, 1));
        // Auto: 49, 50 and 100 batches are 49,000, 50,000 and 100,000 decisions.
        for (cut, beta) in [(0, 0.0), (31, 0.0), (49, 0.0), (50, 1.0), (99, 1.0), (100, 2.0), (120, 2.0)] {
            let mut first = Learner::new(settings.clone()).expect("valid settings");
            run(&mut first, 0..cut);
            assert_eq!(first.policy().tilt().map(|tilt| tilt.beta()), Some(beta), "cut at {cut}");
            let parts = first.export();
            let mut second = Learner::restore(settings.clone(), &parts).expect("its own bytes");
            assert_eq!(second.export(), parts, "cut at {cut}: restoring changed the bytes");
            run(&mut second, cut..120);
            assert!(second.export() == straight.export(), "cut at {cut}");
            assert!(second.tensors().eq(straight.tensors()), "cut at {cut}");
        }
    }
}

#[test]
fn a_refused_critic_update_leaves_everything_as_it_was() {
    let mut learner = Learner::new(tilted(learned_items(), Tilt::Fixed(1.0))).expect("valid settings");
    let mut numbers = Numbers::new(9);
    learn(&mut learner, &[critic_batch(0, &mut numbers, |state, item| affinity(state, item.min(3)))]);
    for broken in [f32::NAN, f32::INFINITY] {
        let before: Vec<_> =
            learner.tensors().map(|(name, shape, values)| (name, shape.to_vec(), values.to_vec())).collect();
        // An item that only the refused batch would have brought.
        let mut batch = critic_batch(1, &mut numbers, |_, _| broken);
        batch.items[0] = 90;
        assert_eq!(learn(&mut learner, &[batch]), [Some(Outcome::Refused(Refusal::NotFinite))], "{broken}");
        assert!(
            learner.tensors().map(|(name, shape, values)| (name, shape.to_vec(), values.to_vec())).eq(before),
            "{broken}"
        );
    }
    assert_eq!(learner.counters().critic_refused, 2);
}

#[test]
fn the_critic_and_the_policy_do_not_touch_each_other_and_a_tilt_that_is_off_is_not_there() {
    let settings = learned_items();
    let updates = some_batches(&settings, 10, 3);
    let mut plain = Learner::new(settings.clone()).expect("valid settings");
    let mut with_tilt = Learner::new(tilted(settings.clone(), Tilt::Fixed(2.0))).expect("valid settings");
    for (batch, number) in updates.iter().zip(0..) {
        let seen = critic_batch(number, &mut Numbers::new(number), affinity);
        assert_eq!(learn(&mut plain, std::slice::from_ref(&seen)), [None]);
        learn(&mut with_tilt, &[seen]);
        update(&mut plain, batch);
        update(&mut with_tilt, batch);
    }
    assert_eq!(plain.policy().tensors(), with_tilt.policy().tensors());
    assert!(plain.policy().tilt().is_none() && plain.counters().critic_updates == 0);

    // Turning it off drops the critic, turning it on begins one; both are settings that may change at a restart.
    let off = Learner::restore(settings.clone(), &with_tilt.export()).expect("its own bytes");
    assert_eq!(off.policy(), plain.policy());
    let on = Learner::restore(tilted(settings, Tilt::Fixed(0.5)), &plain.export()).expect("its own bytes");
    assert_eq!(on.policy().tilt().map(|tilt| (tilt.beta(), tilt.items())), Some((0.5, 0)));
}

#[test]
fn a_critic_batch_that_does_not_fit_and_a_tilted_gaussian_are_refused() {
    let mut learner = Learner::new(tilted(learned_items(), Tilt::Fixed(1.0))).expect("valid settings");
    let good = critic_batch(0, &mut Numbers::new(1), affinity);
    let is_refused = |learner: &mut Learner, change: &dyn Fn(&mut CriticBatch)| {
        let mut batch = good.clone();
        change(&mut batch);
        learner.learn_critic(&batch).is_err()
    };
    assert!(!is_refused(&mut learner, &|_| {}));
    assert!(is_refused(&mut learner, &|batch| batch.rows = 0));
    assert!(is_refused(&mut learner, &|batch| batch.states.truncate(3)));
    assert!(is_refused(&mut learner, &|batch| batch.targets.truncate(3)));
    assert!(is_refused(&mut learner, &|batch| batch.items[5] = 100));
    let refused = Learner::new(tilted(gaussian(), Tilt::Fixed(1.0)));
    assert!(matches!(refused, Err(LearnerError::Settings(error)) if error.setting == "tilt"));
}
