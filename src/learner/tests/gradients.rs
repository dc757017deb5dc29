//! Loss and gradients against the definition in f64, differentiated numerically; and what negative weights do.

use super::*;
use crate::learner::{Estimates, gaussian as head};
use crate::policy::{Policy, Tensor};

/// -(1/rows) sum_i w_i log pi(a_i | s_i), written down directly.
fn loss_by_definition(tensors: &[Tensor], settings: &LearnerSettings, batch: &Batch, weights: &[f32]) -> f64 {
    let layers = settings.hidden.len() + 1;
    let number = |tensor: usize, index: usize| f64::from(tensors[tensor].values[index]);
    let mut loss = 0.0;
    for (row, &weight) in weights.iter().enumerate() {
        let state = &batch.states[row * STATE..(row + 1) * STATE];
        let mut current: Vec<f64> = state.iter().map(|&value| f64::from(value)).collect();
        for layer in 0..layers {
            let width = tensors[2 * layer + 1].values.len();
            current = (0..width)
                .map(|j| {
                    let sum: f64 = (0..current.len()).map(|i| current[i] * number(2 * layer, i * width + j)).sum();
                    let sum = sum + number(2 * layer + 1, j);
                    if layer + 1 < layers { sum.max(0.0) } else { sum }
                })
                .collect();
        }
        loss -= f64::from(weight) * log_probability(&current, tensors, settings, batch, row) / batch.rows as f64;
    }
    loss
}

fn log_probability(output: &[f64], tensors: &[Tensor], settings: &LearnerSettings, batch: &Batch, row: usize) -> f64 {
    match &batch.actions {
        Actions::Embeddings { dimension, values } => (0..*dimension)
            .map(|j| {
                let log_sigma = f64::from(tensors[tensors.len() - 1].values[j]);
                let z = (f64::from(values[row * dimension + j]) - output[j]) / log_sigma.exp();
                -0.5 * z * z - log_sigma - 0.5 * std::f64::consts::TAU.ln()
            })
            .sum(),
        Actions::Items { chosen, candidates } => {
            let given = settings.given_vectors();
            let vectors = given.as_ref().map_or(&tensors[tensors.len() - 1].values[..], |given| given.values());
            let logit = |item: usize| -> f64 {
                (0..DIMENSION).map(|j| output[j] * f64::from(vectors[item * DIMENSION + j])).sum()
            };
            let chosen = chosen[row] as usize;
            let could_be_shown = |item: usize| match &candidates[row] {
                Some(set) => item == chosen || set.contains(&(item as u32)),
                None => true,
            };
            let items = (0..vectors.len() / DIMENSION).filter(|&item| could_be_shown(item));
            logit(chosen) - items.map(|item| logit(item).exp()).sum::<f64>().ln()
        }
    }
}

#[test]
fn gradients_are_the_derivatives_of_the_loss_by_definition() {
    for (kind, settings) in [gaussian(), learned_items(), given_items()].into_iter().enumerate() {
        let seed = 40 + kind as u64;
        let mut learner = Learner::new(settings.clone()).expect("valid settings");
        let batch = match &settings.policy {
            PolicyKind::Gaussian { .. } => embeddings(0, 9, &mut Numbers::new(seed)),
            PolicyKind::Softmax { .. } => items(0, 9, ITEMS, &mut Numbers::new(seed)),
        };
        learner.fit_items(ITEMS);
        // Signed weights: a sign lost anywhere would pass with positive ones.
        let weights = Numbers::new(seed).normals(9);
        let (gradients, found) = learner.view(&batch).gradients(&batch.states, |_| weights.clone());
        let mut tensors = learner.policy().tensors().to_vec();
        let loss = loss_by_definition(&tensors, &settings, &batch, &weights);
        assert!((found.loss - loss).abs() < 1e-5, "seed {seed}: loss {} and not {loss}", found.loss);

        for (index, gradient) in gradients.iter().enumerate() {
            let gradient = gradient.as_ref().expect("every tensor learns here");
            assert_eq!(gradient.len(), tensors[index].values.len());
            for (place, &found) in gradient.iter().enumerate() {
                let value = tensors[index].values[place];
                // A power of two much above the rounding of f32, far below the distance to a kink of a ReLU.
                let h = 1.0 / 4096.0;
                tensors[index].values[place] = value + h;
                let above = loss_by_definition(&tensors, &settings, &batch, &weights);
                let moved_up = f64::from(tensors[index].values[place]);
                tensors[index].values[place] = value - h;
                let below = loss_by_definition(&tensors, &settings, &batch, &weights);
                let moved_down = f64::from(tensors[index].values[place]);
                tensors[index].values[place] = value;
                let expected = (above - below) / (moved_up - moved_down);
                let name = &tensors[index].name;
                assert!(
                    (f64::from(found) - expected).abs() < 1e-4 * (1.0 + expected.abs()),
                    "seed {seed}, {name}[{place}]: {found} and not {expected}"
                );
            }
        }
    }
}

#[test]
fn a_fixed_sigma_stays_where_it_is() {
    let mut settings = gaussian();
    settings.policy = PolicyKind::Gaussian { dimension: DIMENSION, sigma: Sigma::Fixed(0.5) };
    let mut learner = Learner::new(settings.clone()).expect("valid settings");
    let before = learner.policy().sigma().expect("a Gaussian policy");
    for batch in some_batches(&settings, 20, 6) {
        update(&mut learner, &batch);
    }
    assert_eq!(learner.policy().sigma().expect("a Gaussian policy"), before);
    assert!(before.iter().all(|sigma| (sigma - 0.5).abs() < 1e-6));
}

/// One sample of weight -1 is repeated: plain gradient steps drive the mean away by exactly 1 + eta |A| / sigma^2.
#[test]
fn a_repeated_negative_repels_the_mean_geometrically() {
    let (eta, sigma, advantage) = (0.01_f64, 0.5_f64, 1.0_f64);
    let log_sigma = [sigma.ln() as f32; 3];
    let action = [0.3_f32, -0.2, 0.7];
    let mut mean = [0.31_f32, -0.22, 0.69];
    let distance = |mean: &[f32; 3]| -> f64 {
        action.iter().zip(mean).map(|(a, m)| (f64::from(*a) - f64::from(*m)).powi(2)).sum::<f64>().sqrt()
    };
    let score = |mean: &[f32; 3], to_log_sigma: &[f32]| {
        let to_mean = distance(mean) / (sigma * sigma);
        // The loss weighs with -1, so its gradient is z^2 - 1 itself.
        (to_mean, f64::from(to_log_sigma.iter().sum::<f32>()) + 3.0)
    };
    let steps = 150;
    let start = distance(&mean);
    let mut scores = Vec::new();
    for _ in 0..=steps {
        let found = head::gradients(&mean, &log_sigma, &action, &[-advantage as f32]);
        let to_log_sigma = found.own.expect("sigma has a gradient");
        scores.push(score(&mean, &to_log_sigma));
        for (mean, gradient) in mean.iter_mut().zip(&found.output) {
            *mean -= eta as f32 * gradient;
        }
    }
    let rho = (1.0 + eta * advantage / (sigma * sigma)).ln();
    let slope = (distance(&mean) / start).ln() / (steps + 1) as f64;
    assert!((slope - rho).abs() < 1e-3, "slope {slope} and not {rho}");
    // The score of the mean grows as rho^t, that of log sigma (its 1 added back) as rho^2t.
    let (first, last) = (scores[0], scores[steps]);
    let growth = |from: f64, to: f64| (to / from).ln() / steps as f64;
    assert!((growth(first.0, last.0) - rho).abs() < 1e-3);
    assert!((growth(first.1, last.1) - 2.0 * rho).abs() < 1e-3);
}

/// With the positive row at |z| = 1, where it does not move sigma, the negative row alone decides.
#[test]
fn a_far_negative_shrinks_sigma_and_a_near_one_widens_it() {
    for (z, should_shrink) in [(0.5_f32, false), (0.95, false), (1.05, true), (3.0, true)] {
        let mut settings = gaussian();
        settings.objective = Objective::Apg;
        let mut learner = Learner::new(settings).expect("valid settings");
        let state = vec![0.1; STATE];
        let mean = learner.policy().mean(&state).expect("a Gaussian policy");
        let before = learner.policy().sigma().expect("a Gaussian policy");
        let at = |z: f32| mean.iter().zip(&before).map(move |(mean, sigma)| mean + z * sigma);
        let batch = Batch {
            number: 0,
            rows: 2,
            states: [state.clone(), state].concat(),
            actions: Actions::Embeddings { dimension: DIMENSION, values: at(z).chain(at(1.0)).collect() },
            scores: vec![0.0, 1.0],
            thresholds: vec![0.0; 2],
            weights: vec![1.0; 2],
            propensities: vec![None; 2],
        };
        update(&mut learner, &batch);
        let after = learner.policy().sigma().expect("a Gaussian policy");
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(after < before, should_shrink, "z = {z}: sigma went from {before} to {after}");
        }
    }
}

#[test]
fn clipping_scales_all_tensors_by_one_number() {
    let batch = embeddings(0, 16, &mut Numbers::new(8));
    // After one step Adam's first moment is the clipped gradient times 1 - beta_1.
    let clipped = |gradient_norm_max: f64| {
        let settings = LearnerSettings { gradient_norm_max, ..gaussian() };
        let mut learner = Learner::new(settings).expect("valid settings");
        let report = update(&mut learner, &batch);
        let gradient: Vec<f64> =
            learner.adam.first.iter().flatten().map(|&moment| f64::from(moment) / (1.0 - 0.9)).collect();
        (gradient, report.gradient_norm)
    };
    let norm = |gradient: &[f64]| gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    let (whole, reported) = clipped(1e9);
    assert!((norm(&whole) / reported - 1.0).abs() < 1e-5, "{} and not {reported}", norm(&whole));
    let limit = reported / 4.0;
    let (small, still_reported) = clipped(limit);
    assert_eq!(still_reported, reported, "the reported norm is the one before clipping");
    assert!((norm(&small) / limit - 1.0).abs() < 1e-5);
    for (small, whole) in small.iter().zip(&whole) {
        assert!((small * 4.0 - whole).abs() < 1e-5 * reported, "{small} and not a quarter of {whole}");
    }
}

#[test]
fn adam_takes_the_steps_of_its_definition() {
    let mut settings = gaussian();
    settings.weight_decay = 0.2;
    settings.gradient_norm_max = 1e9;
    let mut learner = Learner::new(settings.clone()).expect("valid settings");
    let mut expected: Vec<Vec<f64>> = values(learner.policy());
    let mut first: Vec<Vec<f64>> = expected.iter().map(|values| vec![0.0; values.len()]).collect();
    let mut second = first.clone();
    for (index, batch) in some_batches(&settings, 5, 9).iter().enumerate() {
        let weigh = |output: &[f32]| learner.weigh(output, batch, &Estimates::default()).rows.weights;
        let (gradients, _) = learner.view(batch).gradients(&batch.states, weigh);
        let t = index as i32 + 1;
        for (tensor, gradient) in gradients.iter().enumerate() {
            let decay = if learner.policy().tensors()[tensor].name.contains("weight") { 1e-3 * 0.2 } else { 0.0 };
            for (place, &g) in gradient.as_ref().expect("every tensor learns here").iter().enumerate() {
                let g = f64::from(g);
                let m = 0.9 * first[tensor][place] + 0.1 * g;
                let v = 0.999 * second[tensor][place] + 0.001 * g * g;
                (first[tensor][place], second[tensor][place]) = (m, v);
                let (m_hat, v_hat) = (m / (1.0 - 0.9_f64.powi(t)), v / (1.0 - 0.999_f64.powi(t)));
                expected[tensor][place] -= decay * expected[tensor][place] + 1e-3 * m_hat / (v_hat.sqrt() + 1e-8);
            }
        }
        assert_eq!(update(&mut learner, batch).outcome, Outcome::Applied);
    }
    for (found, expected) in values(learner.policy()).iter().flatten().zip(expected.iter().flatten()) {
        assert!((found - expected).abs() < 1e-5, "{found} and not {expected}");
    }
}

fn values(policy: &Policy) -> Vec<Vec<f64>> {
    policy.tensors().iter().map(|tensor| tensor.values.iter().map(|&value| f64::from(value)).collect()).collect()
}

#[test]
fn inference_without_burn_agrees_with_the_training_pass() {
    for settings in [gaussian(), learned_items(), given_items()] {
        let mut learner = Learner::new(settings.clone()).expect("valid settings");
        for batch in some_batches(&settings, 10, 21) {
            update(&mut learner, &batch);
        }
        let rows = 6;
        let states = Numbers::new(22).normals(rows * STATE);
        let policy = Policy::from_bytes(&learner.export().policy, settings.given_vectors()).expect("its own bytes");
        let mut outputs = Vec::new();
        learner.network.gradients(learner.policy().trunk(), states.clone(), rows, |output| {
            outputs = output.to_vec();
            vec![0.0; output.len()]
        });
        for (state, output) in states.chunks(STATE).zip(outputs.chunks(DIMENSION)) {
            for (plain, burn) in policy.output(state).expect("the state fits").iter().zip(output) {
                assert!((plain - burn).abs() < 1e-5, "{plain} against {burn}");
            }
        }
    }
}
