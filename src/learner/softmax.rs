//! The softmax head: pi(a | s) = exp(q(s) . e_a) / sum over what could be shown of exp(q(s) . e_b).
//!
//! d log pi / d q = e_a - E_pi(e), and d log pi / d e_b = (1{b = a} - pi(b | s)) q. A row with a candidate set visits its
//! candidates only; rows without one are normalized over all known items, by matrix products over blocks of rows.

use std::sync::Arc;

use super::heads::HeadGradients;
use super::network::Network;
use crate::policy::inner_product;

/// Logits held at a time (16 MiB), however many items there are.
const BLOCK_LOGITS: usize = 1 << 22;

/// Actions of a batch whose numbers are all below the count of item vectors.
pub struct Shown<'a> {
    pub chosen: &'a [u32],
    pub candidates: &'a [Option<Arc<[u32]>>],
}

/// Item vectors `[items, dimension]`.
pub struct Vectors<'a> {
    pub values: &'a [f32],
    pub dimension: usize,
    pub is_learned: bool,
}

/// Gradients of -(1/rows) sum_i w_i log pi(a_i | s_i). `queries` is `[rows, dimension]`.
pub fn gradients(
    network: &Network,
    queries: &[f32],
    vectors: &Vectors<'_>,
    shown: &Shown<'_>,
    weights: &[f32],
) -> HeadGradients {
    let mut sums = Sums {
        to_query: vec![0.0; queries.len()],
        to_vectors: if vectors.is_learned { vec![0.0; vectors.values.len()] } else { Vec::new() },
        loss: 0.0,
        log_probabilities: vec![0.0; weights.len()],
    };
    let scales: Vec<f32> = weights.iter().map(|weight| weight / weights.len() as f32).collect();
    let rows = Rows { queries, vectors, chosen: shown.chosen, scales: &scales };
    let mut unrestricted = Vec::new();
    for (row, candidates) in shown.candidates.iter().enumerate() {
        match candidates {
            Some(candidates) => rows.add_restricted(row, candidates, &mut sums),
            None => unrestricted.push(row),
        }
    }
    if !unrestricted.is_empty() {
        rows.add_unrestricted(&unrestricted, network, &mut sums);
    }
    HeadGradients {
        output: sums.to_query,
        own: vectors.is_learned.then_some(sums.to_vectors),
        loss: sums.loss,
        remoteness: sums.log_probabilities.iter().map(|log_probability| -log_probability).collect(),
        log_probabilities: sums.log_probabilities,
        mean_distance: 0.0,
        distance_ratio: 0.0,
    }
}

/// The batch as the head sees it; a row's scale is its weight over the count of rows.
struct Rows<'a> {
    queries: &'a [f32],
    vectors: &'a Vectors<'a>,
    chosen: &'a [u32],
    scales: &'a [f32],
}

/// What the rows add up to.
struct Sums {
    to_query: Vec<f32>,
    to_vectors: Vec<f32>,
    loss: f64,
    log_probabilities: Vec<f64>,
}

impl Sums {
    fn add(&mut self, row: usize, scale: f32, log_probability: f64) {
        self.loss -= f64::from(scale) * log_probability;
        self.log_probabilities[row] = log_probability;
    }
}

impl Rows<'_> {
    /// A row visits what could be shown, each item once, in one order, and with what was shown: it evidently could be.
    fn add_restricted(&self, row: usize, candidates: &[u32], sums: &mut Sums) {
        let d = self.vectors.dimension;
        let chosen = self.chosen[row];
        let mut items: Vec<u32> = candidates.iter().copied().chain([chosen]).collect();
        items.sort_unstable();
        items.dedup();

        let query = &self.queries[row * d..(row + 1) * d];
        let vector_of = |item: u32| &self.vectors.values[item as usize * d..(item as usize + 1) * d];
        let mut logits: Vec<f32> = items.iter().map(|&item| inner_product(query, vector_of(item))).collect();
        let place = items.partition_point(|&item| item < chosen);
        let log_probability = to_gradient(&mut logits, place, self.scales[row]);
        sums.add(row, self.scales[row], log_probability);
        for (&item, &to_logit) in items.iter().zip(&logits) {
            add_scaled(&mut sums.to_query[row * d..(row + 1) * d], to_logit, vector_of(item));
            if self.vectors.is_learned {
                add_scaled(&mut sums.to_vectors[item as usize * d..(item as usize + 1) * d], to_logit, query);
            }
        }
    }

    /// Rows that are normalized over all items, as many at a time as there is room for.
    fn add_unrestricted(&self, rows: &[usize], network: &Network, sums: &mut Sums) {
        let d = self.vectors.dimension;
        let items = self.vectors.values.len() / d;
        let all = network.matrix(self.vectors.values.to_vec(), items, d);
        for block in rows.chunks((BLOCK_LOGITS / items).max(1)) {
            let gathered = block.iter().flat_map(|&row| &self.queries[row * d..(row + 1) * d]).copied().collect();
            let queries = network.matrix(gathered, block.len(), d);
            let mut logits = queries.times(&all.transposed()).into_values();
            for (&row, logits) in block.iter().zip(logits.chunks_exact_mut(items)) {
                let log_probability = to_gradient(logits, self.chosen[row] as usize, self.scales[row]);
                sums.add(row, self.scales[row], log_probability);
            }
            let to_logits = network.matrix(logits, block.len(), items);
            let to_queries = to_logits.times(&all).into_values();
            for (&row, to_query) in block.iter().zip(to_queries.chunks_exact(d)) {
                sums.to_query[row * d..(row + 1) * d].copy_from_slice(to_query);
            }
            if self.vectors.is_learned {
                add_scaled(&mut sums.to_vectors, 1.0, &to_logits.transposed().times(&queries).into_values());
            }
        }
    }
}

/// Turns a row's logits into the gradient of -scale * log pi(chosen) with respect to them, and returns log pi(chosen).
fn to_gradient(logits: &mut [f32], chosen: usize, scale: f32) -> f64 {
    // `f32::max` passes over NaN; the sum below does not, so a broken row still shows.
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let chosen_logit = logits[chosen];
    logits.iter_mut().for_each(|logit| *logit = exp(*logit - largest));
    let total = sum(logits);
    let factor = (f64::from(scale) / total) as f32;
    logits.iter_mut().for_each(|logit| *logit *= factor);
    logits[chosen] -= scale;
    f64::from(chosen_logit) - f64::from(largest) - total.ln()
}

/// e^x for x <= 0 to about one part in ten million; NaN stays NaN. Unlike the library's it has no branches, so that
/// the compiler makes it a few vector instructions, and it is the same on every system.
fn exp(x: f32) -> f32 {
    /// Adding 1.5 * 2^23 leaves no room for a fraction: the sum ends in the nearest integer.
    const ROUNDING: f32 = 12_582_912.0;
    // Below, the result is too small for a normal f32 and counts for nothing beside the largest logit's 1.
    let x = x.clamp(-87.0, 0.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUNDING;
    let n = rounded - ROUNDING;
    // ln 2 in two parts, the first with so few digits that n times it is exact.
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let series = 1.0 / 5040.0;
    let series = series * r + 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = (series * r + 0.5) * r * r + r + 1.0;
    // 2^n: n moves from the end of the rounded number into the exponent.
    let power = rounded.to_bits().wrapping_sub(ROUNDING.to_bits()).wrapping_add(127) << 23;
    series * f32::from_bits(power)
}

/// In eight interleaved sums: a fixed order that the compiler can keep in registers.
fn sum(values: &[f32]) -> f64 {
    let (blocks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0_f64; 8];
    for block in blocks {
        for (sum, &value) in sums.iter_mut().zip(block) {
            *sum += f64::from(value);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&value| f64::from(value)).sum::<f64>()
}

fn add_scaled(sum: &mut [f32], factor: f32, values: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_the_exponential_below_zero() {
        for step in 0..=870_000 {
            let x = -step as f32 / 10_000.0;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 3e-7, "exp({x}) = {found} and not {expected}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(-1e30) < 1e-37);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn a_row_far_from_all_others_neither_overflows_nor_hides_a_nan() {
        let mut logits = [1000.0, -1000.0, 999.0];
        let log_probability = to_gradient(&mut logits, 1, 1.0);
        assert!((log_probability + 2_000.313_261_7).abs() < 1e-4, "{log_probability}");
        assert!((logits[0] - 0.731_058_6).abs() < 1e-6 && (logits[1] + 1.0).abs() < 1e-6);
        assert!(to_gradient(&mut [0.0, f32::NAN], 0, 1.0).is_nan());
    }
}
