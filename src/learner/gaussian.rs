//! The Gaussian head: N(mu(s), diag sigma^2), sigma the same in all states.
//!
//! With z = (a - mu) / sigma, per dimension: d log pi / d mu = z / sigma, d log pi / d log sigma = z^2 - 1. A far
//! action (|z| > 1) of negative weight therefore shrinks sigma, a near one widens it.

use super::heads::HeadGradients;

const LN_TWO_PI: f64 = 1.837_877_066_409_345_5;

/// Gradients of -(1/rows) sum_i w_i log pi(a_i | s_i). `means` and `actions` are `[rows, dimension]`.
pub fn gradients(means: &[f32], log_sigma: &[f32], actions: &[f32], weights: &[f32]) -> HeadGradients {
    let dimension = log_sigma.len();
    let rows = weights.len();
    let inverse_sigma: Vec<f32> = log_sigma.iter().map(|log| (-log).exp()).collect();
    let log_volume = log_sigma.iter().map(|&log| f64::from(log)).sum::<f64>() + dimension as f64 * 0.5 * LN_TWO_PI;

    let mut to_mean = vec![0.0_f32; means.len()];
    let mut to_log_sigma = vec![0.0_f32; dimension];
    let (mut loss, mut distance, mut action_squares) = (0.0_f64, 0.0_f64, 0.0_f64);
    let (mut log_probabilities, mut remoteness) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    let each_row = means.chunks_exact(dimension).zip(actions.chunks_exact(dimension)).zip(weights);
    for (((mean, action), &weight), to_mean) in each_row.zip(to_mean.chunks_exact_mut(dimension)) {
        let scale = weight / rows as f32;
        let (mut squares, mut gap_squares, mut size_squares) = (0.0_f32, 0.0_f32, 0.0_f32);
        for j in 0..dimension {
            let gap = action[j] - mean[j];
            let z = gap * inverse_sigma[j];
            to_mean[j] = -scale * z * inverse_sigma[j];
            to_log_sigma[j] -= scale * (z * z - 1.0);
            squares += z * z;
            gap_squares += gap * gap;
            size_squares += action[j] * action[j];
        }
        let log_probability = -0.5 * f64::from(squares) - log_volume;
        loss -= f64::from(scale) * log_probability;
        log_probabilities.push(log_probability);
        remoteness.push(f64::from(squares) / dimension as f64);
        distance += f64::from(gap_squares).sqrt();
        action_squares += f64::from(size_squares);
    }

    let rows = rows as f64;
    let sigma_squares: f64 = log_sigma.iter().map(|&log| (2.0 * f64::from(log)).exp()).sum();
    HeadGradients {
        output: to_mean,
        own: Some(to_log_sigma),
        loss,
        log_probabilities,
        remoteness,
        mean_distance: distance / rows,
        distance_ratio: distance / rows / ((action_squares / rows).sqrt() + sigma_squares.sqrt()),
    }
}
