//! Least squares with a ridge penalty from running moments, in a fixed order of operations.

use pulp::{Arch, Simd, WithSimd};
use serde::{Deserialize, Serialize};

/// Sums of `x x^T`, `x y`, `y` and `y^2` over samples `(x, y)`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Packed", try_from = "Packed")]
pub struct Moments {
    dimension: usize,
    count: u64,
    /// `[dimension rounded up to ROWS, dimension + PADDING]`, row-major, so that every tile lies within. Only what stands on
    /// the diagonal and right of it counts.
    products: Vec<f64>,
    targets: Vec<f64>,
    target_sum: f64,
    target_squares: f64,
}

/// [`Moments`] as they are sealed: of `x x^T` the upper triangle, row by row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Packed {
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

    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// How many more there should be before they are added.
    pub fn room(&self) -> usize {
        Samples::MANY.saturating_sub(self.len())
    }

    /// Adds a sample of the features `first` and `rest`.
    pub fn push<T: Copy + Into<f64>>(&mut self, first: &[f64], rest: &[T], target: f64) {
        self.features.extend_from_slice(first);
        self.features.extend(rest.iter().map(|value| (*value).into()));
        self.features.resize(self.features.len() + PADDING, 0.0);
        self.targets.push(target);
    }

    /// The samples from the `begin`-th on: features and target.
    pub fn since(&self, begin: usize) -> impl Iterator<Item = (&[f64], f64)> {
        let stride = (self.features.len() / self.len().max(1)).max(PADDING);
        let features = self.features[begin * stride..].chunks_exact(stride).map(move |row| &row[..stride - PADDING]);
        features.zip(self.targets[begin..].iter().copied())
    }
}

impl From<Moments> for Packed {
    fn from(moments: Moments) -> Packed {
        let products = (0..moments.dimension).flat_map(|row| moments.right_of_diagonal(row)).copied().collect();
        let Moments { dimension, count, targets, target_sum, target_squares, .. } = moments;
        Packed { dimension, count, products, targets, target_sum, target_squares }
    }
}

impl TryFrom<Packed> for Moments {
    type Error = &'static str;

    fn try_from(packed: Packed) -> Result<Moments, &'static str> {
        let Packed { dimension, count, products, targets, target_sum, target_squares } = packed;
        if targets.len() != dimension || products.len() != dimension * (dimension + 1) / 2 {
            return Err("the moments of the baseline are not of the length that they name");
        }
        let mut moments = Moments { count, targets, target_sum, target_squares, ..Moments::new(dimension) };
        let mut rest = products.as_slice();
        for row in 0..dimension {
            let (first, others) = rest.split_at(dimension - row);
            moments.products[row * (dimension + PADDING) + row..][..first.len()].copy_from_slice(first);
            rest = others;
        }
        Ok(moments)
    }
}

impl PartialEq for Moments {
    fn eq(&self, other: &Moments) -> bool {
        Packed::from(self.clone()) == Packed::from(other.clone())
    }
}

impl Moments {
    pub fn new(dimension: usize) -> Moments {
        Moments {
            dimension,
            count: 0,
            products: vec![0.0; dimension.next_multiple_of(ROWS) * (dimension + PADDING)],
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

    /// Row `row` of `sum x x^T`, from its diagonal on.
    #[inline(always)]
    fn right_of_diagonal(&self, row: usize) -> &[f64] {
        &self.products[row * (self.dimension + PADDING) + row..][..self.dimension - row]
    }

    #[inline(always)]
    fn residual_deviation(&self, weights: &[f64]) -> f64 {
        let n = (self.count as f64).max(1.0);
        let mut squares = self.target_squares;
        for row in 0..self.dimension {
            let products = self.right_of_diagonal(row);
            let beyond = inner_product(&weights[row + 1..], &products[1..]);
            squares += weights[row] * (2.0 * (beyond - self.targets[row]) + weights[row] * products[0]);
        }
        let deviation = (squares / n).max(0.0).sqrt();
        let spread = (self.target_squares / n).sqrt();
        if deviation.is_finite() && deviation > SCALE_FLOOR * spread { deviation } else { 1.0 }
    }
}

/// See [`Moments::solve`], on the widest registers: nothing is fused, and every sum keeps its order. The sum of an entry is
/// that of `inner_product`, for as many rows at once as a register has lanes.
struct Solve<'a> {
    moments: &'a Moments,
    ridge: f64,
}

impl WithSimd for Solve<'_> {
    type Output = Fit;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Fit {
        let Solve { moments, ridge } = self;
        let n = moments.count as f64;
        let size = moments.dimension;
        // Column by column. The targets are one more row, and what comes out there solves the lower triangle for them;
        // the zeros behind it are the end of the last register.
        let stride = size + 1 + LANES_MAX;
        let mut factor = vec![0.0; size * stride];
        for column in 0..size {
            let (known, new) = factor.split_at_mut(column * stride);
            let (eights, others) = known.split_at(column / 8 * 8 * stride);
            new[column..size].copy_from_slice(moments.right_of_diagonal(column));
            new[size] = moments.targets[column];
            // The floor keeps a feature that never varies from making the matrix singular.
            new[column] += if column == 0 { n * 1e-12 } else { n * ridge.max(1e-9) };
            let mut diagonal = 1.0;
            for row in (column..=size).step_by(S::F64_LANES) {
                let rows = row..row + S::F64_LANES;
                let add = |sum: &mut S::f64s, known: &[f64]| {
                    let products = simd.mul_f64s(*wide::<S>(&known[rows.clone()]), simd.splat_f64s(known[column]));
                    *sum = simd.add_f64s(*sum, products);
                };
                let mut sums = [simd.splat_f64s(0.0); 8];
                for eight in eights.chunks_exact(8 * stride) {
                    // Counted, so that the sums stay in registers.
                    (0..8).for_each(|index| add(&mut sums[index], &eight[index * stride..][..stride]));
                }
                let mut rest = simd.splat_f64s(0.0);
                others.chunks_exact(stride).for_each(|known| add(&mut rest, known));
                let sum = sums.into_iter().reduce(|sum, next| simd.add_f64s(sum, next)).unwrap_or(rest);
                let sum = simd.add_f64s(sum, rest);
                let entries = wide_mut::<S>(&mut new[rows.clone()]);
                *entries = simd.sub_f64s(*entries, sum);
                if row == column {
                    diagonal = new[column].max(f64::MIN_POSITIVE).sqrt();
                }
                let entries = wide_mut::<S>(&mut new[rows]);
                *entries = simd.div_f64s(*entries, simd.splat_f64s(diagonal));
            }
            new[column] = diagonal;
        }
        let mut weights: Vec<f64> = factor.chunks_exact(stride).map(|column| column[size]).collect();
        for row in (0..size).rev() {
            let column = &factor[row * stride..][..size];
            let below = column[row + 1..].iter().zip(&weights[row + 1..]);
            weights[row] = below.fold(weights[row], |sum, (below, known)| sum - below * known) / column[row];
        }
        let scale = moments.residual_deviation(&weights);
        Fit { weights, scale }
    }
}

#[inline(always)]
fn wide<S: Simd>(values: &[f64]) -> &S::f64s {
    &S::as_simd_f64s(values).0[0]
}

#[inline(always)]
fn wide_mut<S: Simd>(values: &mut [f64]) -> &mut S::f64s {
    &mut S::as_mut_simd_f64s(values).0[0]
}

/// Adds every sample to all sums, on the widest registers of the processor: since every sum keeps its own order, and a
/// product of `x x^T` is always fused with its sum, the bits are the same on all of them.
struct Add<'a> {
    moments: &'a mut Moments,
    samples: &'a Samples,
}

/// Sums that are kept in registers while all samples pass by: so many rows of so many vectors. A feature is loaded once
/// for several sums, and no sum waits for its own last addition.
const ROWS: usize = 6;
const VECTORS: usize = 2;
const LANES_MAX: usize = 8;
/// Columns of the widest tile.
const PADDING: usize = LANES_MAX * VECTORS;

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Add { moments, samples: Samples { features, targets } } = self;
        let dimension = moments.dimension;
        let stride = dimension + PADDING;
        for (features, target) in features.chunks_exact(stride).zip(targets) {
            moments.count += 1;
            moments.target_sum += target;
            moments.target_squares += target * target;
            moments.targets.iter_mut().zip(features).for_each(|(sum, feature)| *sum += feature * target);
        }
        let columns = VECTORS * S::F64_LANES;
        for (rows, products) in moments.products.chunks_exact_mut(ROWS * stride).enumerate() {
            let row = rows * ROWS;
            // What lies below the diagonal or behind the last column is computed as well, and never read.
            for column in (row..dimension).step_by(columns) {
                let mut tile = [[simd.splat_f64s(0.0); VECTORS]; ROWS];
                for (sums, products) in tile.iter_mut().zip(products.chunks_exact(stride)) {
                    sums.copy_from_slice(S::as_simd_f64s(&products[column..column + columns]).0);
                }
                for sample in features.chunks_exact(stride) {
                    let (others, _) = S::as_simd_f64s(&sample[column..column + columns]);
                    for (feature, sums) in sample[row..row + ROWS].iter().zip(&mut tile) {
                        let feature = simd.splat_f64s(*feature);
                        for (sum, other) in sums.iter_mut().zip(others) {
                            *sum = simd.mul_add_f64s(feature, *other, *sum);
                        }
                    }
                }
                for (sums, products) in tile.iter().zip(products.chunks_exact_mut(stride)) {
                    S::as_mut_simd_f64s(&mut products[column..column + columns]).0.copy_from_slice(sums);
                }
            }
        }
    }
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

#[cfg(test)]
mod tests;
