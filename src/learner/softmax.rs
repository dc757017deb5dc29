//! The softmax head: pi(a | s) = exp(q(s) . e_a) / sum over what could be shown of exp(q(s) . e_b).
//!
//! d log pi / d q = e_a - E_pi[e], and d log pi / d e_b = (1{b = a} - pi(b | s)) q. A row with a candidate set visits its
//! candidates only; rows without one are normalized over all known items, by matrix products over blocks of rows.

use std::sync::Arc;

use super::HeadGradients;
use super::network::{Matrix, Network};
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
        log_likelihood: 0.0,
        rows: weights.len(),
    };
    let mut unrestricted = Vec::new();
    for (row, candidates) in shown.candidates.iter().enumerate() {
        match candidates {
            Some(candidates) => {
                let items = with_chosen(candidates, shown.chosen[row]);
                restricted_row(&mut sums, row, &items, queries, vectors, shown.chosen[row], weights[row]);
            }
            None => unrestricted.push(row),
        }
    }
    if !unrestricted.is_empty() {
        unrestricted_rows(&mut sums, &unrestricted, network, queries, vectors, shown.chosen, weights);
    }
    HeadGradients {
        output: sums.to_query,
        own: vectors.is_learned.then_some(sums.to_vectors),
        loss: sums.loss,
        log_likelihood: sums.log_likelihood / weights.len() as f64,
        mean_distance: 0.0,
        distance_ratio: 0.0,
    }
}

struct Sums {
    to_query: Vec<f32>,
    to_vectors: Vec<f32>,
    loss: f64,
    log_likelihood: f64,
    rows: usize,
}

impl Sums {
    fn add(&mut self, weight: f32, log_probability: f64) {
        self.loss -= f64::from(weight) / self.rows as f64 * log_probability;
        self.log_likelihood += log_probability;
    }
}

/// What could be shown, each item once and in one order, with what was shown: it evidently could be.
fn with_chosen(candidates: &[u32], chosen: u32) -> Vec<u32> {
    let mut items: Vec<u32> = candidates.iter().copied().chain([chosen]).collect();
    items.sort_unstable();
    items.dedup();
    items
}

fn restricted_row(
    sums: &mut Sums,
    row: usize,
    items: &[u32],
    queries: &[f32],
    vectors: &Vectors<'_>,
    chosen: u32,
    weight: f32,
) {
    let d = vectors.dimension;
    let query = &queries[row * d..(row + 1) * d];
    let vector_of = |item: u32| &vectors.values[item as usize * d..(item as usize + 1) * d];
    let mut logits: Vec<f32> = items.iter().map(|&item| inner_product(query, vector_of(item))).collect();
    let place = items.partition_point(|&item| item < chosen);
    let log_probability = to_gradient(&mut logits, place, weight / sums.rows as f32);
    sums.add(weight, log_probability);
    for (&item, &to_logit) in items.iter().zip(&logits) {
        add_scaled(&mut sums.to_query[row * d..(row + 1) * d], to_logit, vector_of(item));
        if vectors.is_learned {
            add_scaled(&mut sums.to_vectors[item as usize * d..(item as usize + 1) * d], to_logit, query);
        }
    }
}

fn unrestricted_rows(
    sums: &mut Sums,
    rows: &[usize],
    network: &Network,
    queries: &[f32],
    vectors: &Vectors<'_>,
    chosen: &[u32],
    weights: &[f32],
) {
    let d = vectors.dimension;
    let items = vectors.values.len() / d;
    let all: Matrix = network.matrix(vectors.values.to_vec(), items, d);
    for block in rows.chunks((BLOCK_LOGITS / items).max(1)) {
        let gathered = block.iter().flat_map(|&row| &queries[row * d..(row + 1) * d]).copied().collect();
        let block_queries = network.matrix(gathered, block.len(), d);
        let mut logits = block_queries.times(&all.transposed()).into_values();
        for (&row, logits) in block.iter().zip(logits.chunks_exact_mut(items)) {
            let log_probability = to_gradient(logits, chosen[row] as usize, weights[row] / sums.rows as f32);
            sums.add(weights[row], log_probability);
        }
        let to_logits = network.matrix(logits, block.len(), items);
        let to_queries = to_logits.times(&all).into_values();
        for (&row, to_query) in block.iter().zip(to_queries.chunks_exact(d)) {
            sums.to_query[row * d..(row + 1) * d].copy_from_slice(to_query);
        }
        if vectors.is_learned {
            let to_vectors = to_logits.transposed().times(&block_queries).into_values();
            add_scaled(&mut sums.to_vectors, 1.0, &to_vectors);
        }
    }
}

/// Turns a row's logits into the gradient of -scale * log pi(chosen) with respect to them, and returns log pi(chosen).
fn to_gradient(logits: &mut [f32], chosen: usize, scale: f32) -> f64 {
    // `f32::max` passes over NaN; the sum below does not, so a broken row still shows.
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let chosen_logit = logits[chosen];
    let mut total = 0.0_f64;
    for logit in logits.iter_mut() {
        *logit = (*logit - largest).exp();
        total += f64::from(*logit);
    }
    let factor = (f64::from(scale) / total) as f32;
    for logit in logits.iter_mut() {
        *logit *= factor;
    }
    logits[chosen] -= scale;
    f64::from(chosen_logit) - f64::from(largest) - total.ln()
}

fn add_scaled(sum: &mut [f32], factor: f32, values: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * value;
    }
}
