//! Least squares with a ridge penalty from running moments, in a fixed order of operations.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
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

/// Samples that wait to be added together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// `[samples, dimension + PADDING]`, row-major; zeros at the end of each row.
    features: Vec<f64>,
    targets: Vec<f64>,
}

/// A solved regression with the spread of what it leaves unexplained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    weights: Vec<f64>,
    scale: f64,
}

/// Below this share of the targets' own spread a residual spread is rounding error (constant rewards).
const SCALE_FLOOR: f64 = 1e-6;

impl Samples {
    /// So many that adding them is more work than passing over all moments, and so few that they stay in the cache.
    const MANY: usize = 64;

    /// Whether it is time to add them.
    pub fn are_many(&self) -> bool {
        self.targets.len() >= Samples::MANY
    }

    /// Adds a sample of the features `first` and `rest`, and answers all of them.
    pub fn push<T: Copy + Into<f64>>(&mut self, first: &[f64], rest: &[T], target: f64) -> &[f64] {
        let from = self.features.len();
        self.features.extend_from_slice(first);
        self.features.extend(rest.iter().map(|value| (*value).into()));
        let end = self.features.len();
        self.features.resize(end + PADDING, 0.0);
        self.targets.push(target);
        &self.features[from..end]
    }
}

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

    /// Adds samples in their order, and leaves none.
    pub fn add(&mut self, samples: &mut Samples) {
        Arch::new().dispatch(Add { moments: self, samples });
        samples.features.clear();
        samples.targets.clear();
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
        Arch::new().dispatch(Solve { moments: self, ridge })
    }

    /// Entry (row, column) of `sum x x^T`, row <= column.
    #[inline(always)]
    fn product(&self, row: usize, column: usize) -> f64 {
        self.products[place(self.dimension, row, column)]
    }

    #[inline(always)]
    fn residual_deviation(&self, weights: &[f64]) -> f64 {
        let n = (self.count as f64).max(1.0);
        let mut squares = self.target_squares;
        for row in 0..self.dimension {
            let from = place(self.dimension, row, row);
            let products = &self.products[from..from + self.dimension - row];
            let beyond = inner_product(&weights[row + 1..], &products[1..]);
            squares += weights[row] * (2.0 * (beyond - self.targets[row]) + weights[row] * products[0]);
        }
        let deviation = (squares / n).max(0.0).sqrt();
        let spread = (self.target_squares / n).sqrt();
        if deviation.is_finite() && deviation > SCALE_FLOOR * spread { deviation } else { 1.0 }
    }
}

/// See [`Moments::solve`], on the widest registers: nothing is fused, and every sum keeps its order.
struct Solve<'a> {
    moments: &'a Moments,
    ridge: f64,
}

impl WithSimd for Solve<'_> {
    type Output = Fit;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Fit {
        let Solve { moments, ridge } = self;
        let n = moments.count as f64;
        let size = moments.dimension;
        let mut factor = vec![0.0; size * size];
        // Column by column: the entries of one column do not wait for each other.
        for column in 0..size {
            for row in column..size {
                let mut sum = moments.product(column, row);
                if row == column {
                    // The floor keeps a feature that never varies from making the matrix singular.
                    sum += if row == 0 { n * 1e-12 } else { n * ridge.max(1e-9) };
                }
                sum -= inner_product(&factor[row * size..][..column], &factor[column * size..][..column]);
                factor[row * size + column] = if row == column {
                    sum.max(f64::MIN_POSITIVE).sqrt()
                } else {
                    sum / factor[column * size + column]
                };
            }
        }
        let weights = substitute(&factor, &moments.targets);
        let scale = moments.residual_deviation(&weights);
        Fit { weights, scale }
    }
}

/// Adds every sample to all sums, on the widest registers of the processor: since every sum keeps its own order, and a
/// product of `x x^T` is always fused with its sum, the bits are the same on all of them.
struct Add<'a> {
    moments: &'a mut Moments,
    samples: &'a Samples,
}

/// Sums that are kept in registers while all samples pass by: so many rows of so many vectors. A feature is loaded once
/// for several sums, and no sum waits for its own last addition.
const ROWS: usize = 4;
const VECTORS: usize = 2;
/// Columns of the widest tile: vectors of eight.
const PADDING: usize = 8 * VECTORS;

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Add { moments, samples: Samples { features, targets } } = self;
        let dimension = moments.dimension;
        for (features, target) in features.chunks_exact(dimension + PADDING).zip(targets) {
            moments.count += 1;
            moments.target_sum += target;
            moments.target_squares += target * target;
            moments.targets.iter_mut().zip(features).for_each(|(sum, feature)| *sum += feature * target);
        }
        let triangle = &mut moments.products;
        let columns = VECTORS * S::F64_LANES;
        for row in (0..dimension).step_by(ROWS) {
            for column in (row..dimension).step_by(columns) {
                // What lies below the diagonal or behind the last column is computed as well, and dropped.
                let mut tile = [[0.0; PADDING]; ROWS];
                for (row, sums) in (row..dimension).zip(&mut tile) {
                    let (from, kept) = in_tile(dimension, row, column..column + columns);
                    sums[kept.clone()].copy_from_slice(&triangle[from..from + kept.len()]);
                }
                let mut wide = [[simd.splat_f64s(0.0); VECTORS]; ROWS];
                for (wide, sums) in wide.iter_mut().zip(&tile) {
                    wide.iter_mut().zip(S::as_simd_f64s(sums).0).for_each(|(wide, sums)| *wide = *sums);
                }
                for sample in features.chunks_exact(dimension + PADDING) {
                    let (others, _) = S::as_simd_f64s(&sample[column..column + columns]);
                    for (feature, sums) in sample[row..row + ROWS].iter().zip(&mut wide) {
                        let feature = simd.splat_f64s(*feature);
                        for (sum, other) in sums.iter_mut().zip(others) {
                            *sum = simd.mul_add_f64s(feature, *other, *sum);
                        }
                    }
                }
                for (wide, sums) in wide.iter().zip(&mut tile) {
                    S::as_mut_simd_f64s(sums).0.iter_mut().zip(wide).for_each(|(sums, wide)| *sums = *wide);
                }
                for (row, sums) in (row..dimension).zip(&tile) {
                    let (from, kept) = in_tile(dimension, row, column..column + columns);
                    triangle[from..from + kept.len()].copy_from_slice(&sums[kept]);
                }
            }
        }
    }
}

/// Which columns of a tile the triangle has in this row, those right of the diagonal, and where the first of them stands.
fn in_tile(dimension: usize, row: usize, columns: Range<usize>) -> (usize, Range<usize>) {
    let first = columns.start.max(row);
    let end = columns.end.min(dimension).max(first);
    (place(dimension, row, first), first - columns.start..end - columns.start)
}

/// `sum left[i] * right[i]`, as eight interleaved sums, none of which waits for another.
#[inline(always)]
fn inner_product(left: &[f64], right: &[f64]) -> f64 {
    let (lefts, left_rest) = left.as_chunks::<8>();
    let (rights, right_rest) = right.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (lefts, rights) in lefts.iter().zip(rights) {
        for ((sum, left), right) in sums.iter_mut().zip(lefts).zip(rights) {
            *sum += left * right;
        }
    }
    let rest: f64 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    sums.iter().sum::<f64>() + rest
}

/// Where entry (row, column) of a triangle stands.
#[inline(always)]
fn place(dimension: usize, row: usize, column: usize) -> usize {
    row * dimension - row * (row + 1) / 2 + column
}

impl Fit {
    /// `w.x`.
    pub fn expected(&self, features: &[f64]) -> f64 {
        Arch::new().dispatch(|| inner_product(&self.weights, features))
    }

    /// Standard deviation of what is left; never 0.
    pub fn scale(&self) -> f64 {
        self.scale
    }
}

/// Solves `L L^T w = b` for a lower triangular factor.
#[inline(always)]
fn substitute(factor: &[f64], right: &[f64]) -> Vec<f64> {
    let size = right.len();
    let mut solution = right.to_vec();
    for row in 0..size {
        solution[row] -= inner_product(&factor[row * size..][..row], &solution[..row]);
        solution[row] /= factor[row * size + row];
    }
    for row in (0..size).rev() {
        let mut sum = solution[row];
        for (below, known) in factor[row * size + row..].iter().step_by(size).zip(&solution[row..]).skip(1) {
            sum -= below * known;
        }
        solution[row] = sum / factor[row * size + row];
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(moments: &mut Moments, features: &[f64], target: f64) {
        let mut one = Samples::default();
        one.push(&[], features, target);
        moments.add(&mut one);
    }

    #[test]
    fn many_samples_at_once_give_the_bits_of_one_after_the_other() {
        for dimension in [1, 3, 16, 17, 40, 99] {
            let feature = |sample: usize, index: usize| ((sample * 31 + index * 17) % 101) as f64 / 7.0 - 3.3;
            let (mut expected, mut targets) =
                (vec![0.0_f64; dimension * (dimension + 1) / 2], vec![0.0_f64; dimension]);
            let (mut moments, mut samples) = (Moments::new(dimension), Samples::default());
            for sample in 0..37 {
                let features: Vec<f64> = (0..dimension).map(|index| feature(sample, index)).collect();
                let target = sample as f64 / 3.0;
                let mut sums = expected.iter_mut();
                for row in 0..dimension {
                    targets[row] += features[row] * target;
                    for column in row..dimension {
                        let sum = sums.next().unwrap();
                        *sum = features[row].mul_add(features[column], *sum);
                    }
                }
                samples.push(&features[..1], &features[1..], target);
                if sample % 5 == 4 {
                    moments.add(&mut samples);
                }
            }
            moments.add(&mut samples);
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&moments.products), bits(&expected), "dimension {dimension}");
            assert_eq!(bits(&moments.targets), bits(&targets), "dimension {dimension}");
        }
    }

    #[test]
    fn the_fit_recovers_a_noiseless_linear_rule() {
        let mut moments = Moments::new(3);
        for sample in 0..200 {
            let (a, b) = (f64::from(sample % 7), f64::from(sample % 11) - 5.0);
            add(&mut moments, &[1.0, a, b], 2.0 + 0.5 * a - 3.0 * b + f64::from(sample % 2) * 0.2);
        }
        let fit = moments.solve(1e-9);
        assert!((fit.weights[1] - 0.5).abs() < 1e-2 && (fit.weights[2] + 3.0).abs() < 1e-2, "{fit:?}");
        assert!((fit.scale - 0.1).abs() < 2e-3, "{fit:?}");
    }

    #[test]
    fn constant_targets_and_constant_features_divide_by_nothing() {
        let mut moments = Moments::new(3);
        (0..50).for_each(|_| add(&mut moments, &[1.0, 4.0, 0.0], 7.0));
        let fit = moments.solve(1e-3);
        let left = 7.0 - fit.expected(&[1.0, 4.0, 0.0]);
        assert!(left.abs() < 1e-3 && fit.scale == 1.0, "{left} {fit:?}");
    }

    #[test]
    fn merged_moments_are_the_moments_of_the_union() {
        let (mut left, mut right, mut all) = (Moments::new(2), Moments::new(2), Moments::new(2));
        for sample in 0..10 {
            let half = if sample < 4 { &mut left } else { &mut right };
            add(half, &[1.0, f64::from(sample)], f64::from(sample * sample));
            add(&mut all, &[1.0, f64::from(sample)], f64::from(sample * sample));
        }
        left.merge(&right);
        assert_eq!(left, all);
    }
}
