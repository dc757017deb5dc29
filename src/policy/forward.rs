//! The arithmetic of dense layers, in one order for every width of register.

use pulp::{Arch, Simd, WithSimd};

use super::Tensor;

/// What dense layers (weights and biases in turn, ReLU between them) make of a row of inputs that fits the first of them.
pub(crate) fn forward(trunk: &[Tensor], mut current: Vec<f32>) -> Vec<f32> {
    let (layers, _) = trunk.as_chunks::<2>();
    let arch = Arch::new();
    for (index, [weight, bias]) in layers.iter().enumerate() {
        let mut next = bias.values.clone();
        arch.dispatch(AddRows { sums: &mut next, factors: &current, rows: &weight.values });
        if index + 1 < layers.len() {
            next.iter_mut().for_each(|value| *value = value.max(0.0));
        }
        current = next;
    }
    current
}

/// Adds every row times its factor to the sums.
struct AddRows<'a> {
    sums: &'a mut [f32],
    factors: &'a [f32],
    rows: &'a [f32],
}

impl WithSimd for AddRows<'_> {
    type Output = ();

    /// Every sum takes its products in the order of the rows, fused, whatever the width.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let AddRows { sums, factors, rows } = self;
        let rows = rows.chunks_exact(sums.len().max(1));
        let (sums, last_sums) = S::as_mut_simd_f32s(sums);
        // About half of what leaves a ReLU is 0, and adds nothing: the weights are finite.
        for (factor, row) in factors.iter().zip(rows).filter(|(factor, _)| **factor != 0.0) {
            let (values, last_values) = S::as_simd_f32s(row);
            let factors = simd.splat_f32s(*factor);
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = simd.mul_add_f32s(factors, *value, *sum);
            }
            for (sum, value) in last_sums.iter_mut().zip(last_values) {
                *sum = factor.mul_add(*value, *sum);
            }
        }
    }
}

/// In sixteen interleaved sums, which stay in registers: the same sum on every call.
pub(crate) fn inner_product(left: &[f32], right: &[f32]) -> f32 {
    let ((left, last_left), (right, last_right)) = (left.as_chunks::<16>(), right.as_chunks::<16>());
    let mut sums = [0.0_f32; 16];
    for (left, right) in left.iter().zip(right) {
        for ((sum, a), b) in sums.iter_mut().zip(left).zip(right) {
            *sum += a * b;
        }
    }
    let last: f32 = last_left.iter().zip(last_right).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + last
}
