//! The train step as one would write it by hand: a multi-layer perceptron with a Gaussian head, forward and backward as
//! plain matrix multiplications, one clipped AdamW step. No graph, no guard, no refusal.

use gemm::Parallelism;

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;
const LEARNING_RATE: f32 = 1e-3;
const WEIGHT_DECAY: f32 = 0.3;
const NORM_MAX: f32 = 10.0;

/// Widths and parameters.
pub struct PlainStep {
    layers: Vec<Layer>,
    log_sigma: Parameter,
    steps: i32,
}

struct Layer {
    inputs: usize,
    outputs: usize,
    weight: Parameter,
    bias: Parameter,
}

struct Parameter {
    values: Vec<f32>,
    gradient: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

/// A row-major matrix, or one read across.
#[derive(Clone, Copy)]
struct View<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl PlainStep {
    /// `widths` from the state to the action; `draw` gives the initial weights.
    pub fn new(widths: &[usize], mut draw: impl FnMut() -> f32) -> PlainStep {
        let layers = widths.windows(2).map(|pair| {
            let (inputs, outputs) = (pair[0], pair[1]);
            let scale = (1.0 / inputs as f32).sqrt();
            let weight = (0..inputs * outputs).map(|_| draw() * scale).collect();
            Layer { inputs, outputs, weight: Parameter::new(weight), bias: Parameter::new(vec![0.0; outputs]) }
        });
        let dimension = widths.last().copied().unwrap_or_default();
        PlainStep { layers: layers.collect(), log_sigma: Parameter::new(vec![0.0; dimension]), steps: 0 }
    }

    /// One step on `[rows, state]` and `[rows, action]`, each row with its weight. Returns the loss.
    pub fn update(&mut self, states: &[f32], actions: &[f32], weights: &[f32]) -> f32 {
        let rows = weights.len();
        let mut outputs: Vec<Vec<f32>> = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            let input = outputs.last().map_or(states, Vec::as_slice);
            let is_last = index + 1 == self.layers.len();
            outputs.push(layer.forward(input, rows, !is_last));
        }
        let means = outputs.last().map_or(states, Vec::as_slice);
        let (loss, mut gradient) = self.head(means, actions, weights);
        for index in (0..self.layers.len()).rev() {
            let input = if index == 0 { states } else { &outputs[index - 1] };
            gradient = self.layers[index].backward(input, &gradient, rows, index > 0);
        }
        self.step();
        loss
    }

    /// Loss, and its gradient with respect to the means.
    fn head(&mut self, means: &[f32], actions: &[f32], weights: &[f32]) -> (f32, Vec<f32>) {
        let dimension = self.log_sigma.values.len();
        let inverse: Vec<f32> = self.log_sigma.values.iter().map(|log| (-log).exp()).collect();
        let log_volume: f32 = self.log_sigma.values.iter().sum();
        let mut gradient = vec![0.0; means.len()];
        let to_sigma = &mut self.log_sigma.gradient;
        to_sigma.fill(0.0);
        let mut loss = 0.0;
        for (row, weight) in weights.iter().enumerate() {
            let scale = weight / weights.len() as f32;
            let span = row * dimension..(row + 1) * dimension;
            let (mean, action, out) = (&means[span.clone()], &actions[span.clone()], &mut gradient[span]);
            let mut squares = 0.0;
            for j in 0..dimension {
                let z = (action[j] - mean[j]) * inverse[j];
                out[j] = -scale * z * inverse[j];
                to_sigma[j] -= scale * (z * z - 1.0);
                squares += z * z;
            }
            loss += scale * (0.5 * squares + log_volume);
        }
        (loss, gradient)
    }

    fn step(&mut self) {
        self.steps = self.steps.saturating_add(1);
        let parameters = self.layers.iter_mut().flat_map(|layer| [(&mut layer.weight, true), (&mut layer.bias, false)]);
        let mut parameters: Vec<_> = parameters.chain([(&mut self.log_sigma, false)]).collect();
        let squares: f32 = parameters
            .iter()
            .map(|(parameter, _)| parameter.gradient.iter().map(|value| value * value).sum::<f32>())
            .sum();
        let scale = NORM_MAX / squares.sqrt().max(NORM_MAX);
        let rate = LEARNING_RATE / (1.0 - BETA_1.powi(self.steps));
        let root = 1.0 / (1.0 - BETA_2.powi(self.steps)).sqrt();
        for (parameter, decays) in &mut parameters {
            parameter.step(scale, rate, root, if *decays { 1.0 - LEARNING_RATE * WEIGHT_DECAY } else { 1.0 });
        }
    }
}

impl Layer {
    fn forward(&self, input: &[f32], rows: usize, relu: bool) -> Vec<f32> {
        let mut output = vec![0.0; rows * self.outputs];
        multiply(
            View::new(input, rows, self.inputs),
            View::new(&self.weight.values, self.inputs, self.outputs),
            &mut output,
        );
        for row in output.chunks_exact_mut(self.outputs) {
            for (value, bias) in row.iter_mut().zip(&self.bias.values) {
                *value += bias;
                if relu {
                    *value = value.max(0.0);
                }
            }
        }
        output
    }

    /// Leaves the gradients of the layer, and answers the one of its input where somebody needs it. The input is what a
    /// rectifier gave, so where it is 0 nothing flows.
    fn backward(&mut self, input: &[f32], gradient: &[f32], rows: usize, to_input: bool) -> Vec<f32> {
        let output = View::new(gradient, rows, self.outputs);
        multiply(View::new(input, rows, self.inputs).across(), output, &mut self.weight.gradient);
        self.bias.gradient.fill(0.0);
        for row in gradient.chunks_exact(self.outputs) {
            self.bias.gradient.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        if !to_input {
            return Vec::new();
        }
        let mut back = vec![0.0; rows * self.inputs];
        multiply(output, View::new(&self.weight.values, self.inputs, self.outputs).across(), &mut back);
        back.iter_mut().zip(input).for_each(|(value, input)| *value = if *input > 0.0 { *value } else { 0.0 });
        back
    }
}

impl Parameter {
    fn new(values: Vec<f32>) -> Parameter {
        let zeros = vec![0.0; values.len()];
        Parameter { values, gradient: zeros.clone(), first: zeros.clone(), second: zeros }
    }

    fn step(&mut self, scale: f32, rate: f32, root: f32, keep: f32) {
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((value, gradient), (first, second)) in self.values.iter_mut().zip(&self.gradient).zip(moments) {
            let g = gradient * scale;
            *first = BETA_1 * *first + (1.0 - BETA_1) * g;
            *second = BETA_2 * *second + (1.0 - BETA_2) * g * g;
            *value = keep * *value - rate * *first / (second.sqrt() * root + EPSILON);
        }
    }
}

impl<'a> View<'a> {
    fn new(values: &'a [f32], rows: usize, columns: usize) -> View<'a> {
        View { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    fn across(self) -> View<'a> {
        View {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `into = left right`, on one thread.
fn multiply(left: View<'_>, right: View<'_>, into: &mut [f32]) {
    assert!(left.columns == right.rows && into.len() == left.rows * right.columns, "the shapes fit each other");
    assert!(left.values.len() == left.rows * left.columns && right.values.len() == right.rows * right.columns);
    // SAFETY: the shapes were compared with the lengths just now, and the strides stay inside of them.
    #[expect(unsafe_code, reason = "the crate has no safe interface")]
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            into.as_mut_ptr(),
            1,
            right.columns as isize,
            false,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            0.0_f32,
            1.0_f32,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let mut count = 0_u32;
        let mut draw = move || {
            count += 1;
            ((count * 37 % 101) as f32 / 50.0) - 1.0
        };
        let states: Vec<f32> = (0..12).map(|_| draw()).collect();
        let actions: Vec<f32> = (0..8).map(|_| draw()).collect();
        let weights = [1.0, 0.5, 2.0, 1.0];
        let mut plain = PlainStep::new(&[3, 5, 2], draw);
        let loss_at = |plain: &PlainStep, change: f32| {
            let mut copy = PlainStep::new(&[3, 5, 2], || 0.0);
            for (copy, original) in copy.layers.iter_mut().zip(&plain.layers) {
                copy.weight.values.clone_from(&original.weight.values);
            }
            copy.layers[0].weight.values[4] += change;
            copy.update(&states, &actions, &weights)
        };
        let numeric = (loss_at(&plain, 1e-2) - loss_at(&plain, -1e-2)) / 2e-2;
        let before = loss_at(&plain, 0.0);
        plain.update(&states, &actions, &weights);
        let found = plain.layers[0].weight.gradient[4];
        assert!((found - numeric).abs() < 1e-2 * (1.0 + numeric.abs()), "{found} {numeric}");
        for _ in 0..200 {
            plain.update(&states, &actions, &weights);
        }
        assert!(plain.update(&states, &actions, &weights) < before, "it does not learn");
    }
}
