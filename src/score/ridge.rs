//! Least squares with a ridge penalty from running moments, in a fixed order of operations.

use serde::{Deserialize, Serialize};

/// Sums of `x x^T` (upper triangle, row by row), `x y`, `y` and `y^2` over samples `(x, y)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    dimension: usize,
    count: u64,
    products: Vec<f64>,
    targets: Vec<f64>,
    target_sum: f64,
    target_squares: f64,
}

/// A solved regression with the spread of what it leaves unexplained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    weights: Vec<f64>,
    scale: f64,
}

/// Below this share of the targets' own spread a residual spread is rounding error (constant rewards).
const SCALE_FLOOR: f64 = 1e-6;

impl Moments {
    pub fn new(dimension: usize) -> Moments {
        Moments {
            dimension,
            count: 0,
            products: vec![0.0; dimension * (dimension + 1) / 2],
            targets: vec![0.0; dimension],
            target_sum: 0.0,
            target_squares: 0.0,
        }
    }

    pub fn dimension(&self) -> usize {
        self.dimension
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn add(&mut self, features: &[f64], target: f64) {
        self.count += 1;
        self.target_sum += target;
        self.target_squares += target * target;
        let mut products = self.products.as_mut_slice();
        for (row, feature) in features.iter().enumerate() {
            let (triangle_row, rest) = products.split_at_mut(self.dimension - row);
            triangle_row.iter_mut().zip(&features[row..]).for_each(|(sum, other)| *sum += feature * other);
            self.targets[row] += feature * target;
            products = rest;
        }
    }

    pub fn merge(&mut self, other: &Moments) {
        self.count += other.count;
        self.target_sum += other.target_sum;
        self.target_squares += other.target_squares;
        self.products.iter_mut().zip(&other.products).for_each(|(sum, value)| *sum += value);
        self.targets.iter_mut().zip(&other.targets).for_each(|(sum, value)| *sum += value);
    }

    /// Weights of `min |y - Xw|^2 + n * ridge * |w|^2` (the first feature, the constant, is not penalized) by Cholesky
    /// factorization, and the standard deviation of the residuals. A scale that cannot be told from 0 becomes 1.
    pub fn solve(&self, ridge: f64) -> Fit {
        let n = self.count as f64;
        let size = self.dimension;
        let mut factor = vec![0.0; size * size];
        for row in 0..size {
            for column in 0..=row {
                let mut sum = self.product(column, row);
                if row == column {
                    // The floor keeps a feature that never varies from making the matrix singular.
                    sum += if row == 0 { n * 1e-12 } else { n * ridge.max(1e-9) };
                }
                for k in 0..column {
                    sum -= factor[row * size + k] * factor[column * size + k];
                }
                factor[row * size + column] = if row == column {
                    sum.max(f64::MIN_POSITIVE).sqrt()
                } else {
                    sum / factor[column * size + column]
                };
            }
        }
        let weights = substitute(&factor, &self.targets);
        let scale = self.residual_deviation(&weights);
        Fit { weights, scale }
    }

    /// Entry (row, column) of `sum x x^T`, row <= column.
    fn product(&self, row: usize, column: usize) -> f64 {
        self.products[row * self.dimension - row * (row + 1) / 2 + column]
    }

    fn residual_deviation(&self, weights: &[f64]) -> f64 {
        let n = (self.count as f64).max(1.0);
        let mut squares = self.target_squares;
        for row in 0..self.dimension {
            squares -= 2.0 * weights[row] * self.targets[row] - weights[row] * weights[row] * self.product(row, row);
            for column in row + 1..self.dimension {
                squares += 2.0 * weights[row] * weights[column] * self.product(row, column);
            }
        }
        let deviation = (squares / n).max(0.0).sqrt();
        let spread = (self.target_squares / n).sqrt();
        if deviation.is_finite() && deviation > SCALE_FLOOR * spread { deviation } else { 1.0 }
    }
}

impl Fit {
    /// `(y - w.x) / scale`.
    pub fn standardize(&self, features: &[f64], target: f64) -> f64 {
        let expected: f64 = self.weights.iter().zip(features).map(|(weight, feature)| weight * feature).sum();
        (target - expected) / self.scale
    }
}

/// Solves `L L^T w = b` for a lower triangular factor.
fn substitute(factor: &[f64], right: &[f64]) -> Vec<f64> {
    let size = right.len();
    let mut solution = right.to_vec();
    for row in 0..size {
        for k in 0..row {
            solution[row] -= factor[row * size + k] * solution[k];
        }
        solution[row] /= factor[row * size + row];
    }
    for row in (0..size).rev() {
        for k in row + 1..size {
            solution[row] -= factor[k * size + row] * solution[k];
        }
        solution[row] /= factor[row * size + row];
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fit_recovers_a_noiseless_linear_rule() {
        let mut moments = Moments::new(3);
        for sample in 0..200 {
            let (a, b) = (f64::from(sample % 7), f64::from(sample % 11) - 5.0);
            moments.add(&[1.0, a, b], 2.0 + 0.5 * a - 3.0 * b + f64::from(sample % 2) * 0.2);
        }
        let fit = moments.solve(1e-9);
        assert!((fit.weights[1] - 0.5).abs() < 1e-2 && (fit.weights[2] + 3.0).abs() < 1e-2, "{fit:?}");
        assert!((fit.scale - 0.1).abs() < 2e-3, "{fit:?}");
    }

    #[test]
    fn constant_targets_and_constant_features_divide_by_nothing() {
        let mut moments = Moments::new(3);
        (0..50).for_each(|_| moments.add(&[1.0, 4.0, 0.0], 7.0));
        let fit = moments.solve(1e-3);
        let score = fit.standardize(&[1.0, 4.0, 0.0], 7.0);
        assert!(score.abs() < 1e-3 && fit.scale == 1.0, "{score} {fit:?}");
    }

    #[test]
    fn merged_moments_are_the_moments_of_the_union() {
        let (mut left, mut right, mut all) = (Moments::new(2), Moments::new(2), Moments::new(2));
        for sample in 0..10 {
            let half = if sample < 4 { &mut left } else { &mut right };
            half.add(&[1.0, f64::from(sample)], f64::from(sample * sample));
            all.add(&[1.0, f64::from(sample)], f64::from(sample * sample));
        }
        left.merge(&right);
        assert_eq!(left, all);
    }
}
