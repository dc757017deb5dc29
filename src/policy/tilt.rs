//! The tilt: what a softmax policy adds to its logits when it acts.
//!
//! Around a policy pi, `max_q E_q[f] - KL(q, pi) / beta` has the exact answer `q(a | s) ~ pi(a | s) exp(beta f(s, a))`. pi says
//! what the best of the behavior does; f, a critic with one hidden layer regressed on *all* of it, says how sessions with
//! such an action in such a state ended. Acting by `log pi + beta f` trains nothing and divides by no propensity.

use serde::{Deserialize, Serialize};

use super::{Head, ItemVectors, PolicyError, Tensor};

/// Width of the critic's only hidden layer.
pub const CRITIC_WIDTH: usize = 64;

/// Beta and the critic it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tilt {
    /// 0 while the critic has seen too little to be asked.
    beta: f32,
    /// `critic.weight` `[in, 64]`, `critic.bias` `[64]`, `critic.output` `[64, 1]`, `critic.output_bias` `[1]`, and over learned
    /// item vectors `critic.items` `[items, 64]`: the weights of a one-hot item. Over given vectors `in` is the state
    /// followed by the item's vector, else the state alone.
    tensors: Vec<Tensor>,
}

/// The critic's arrays by what they do.
pub(crate) struct Layers<'a> {
    pub weight: &'a [f32],
    pub bias: &'a [f32],
    pub output: &'a [f32],
    pub output_bias: f32,
    pub items: &'a [f32],
}

/// The names of a critic's arrays, in the order in which they are kept.
pub(crate) const NAMES: [&str; 5] =
    ["critic.weight", "critic.bias", "critic.output", "critic.output_bias", "critic.items"];

impl Tilt {
    /// Joins parts that fit a policy of this head over such states.
    pub fn new(beta: f32, tensors: Vec<Tensor>, state_dimension: usize, head: Head) -> Result<Tilt, PolicyError> {
        let tilt = Tilt { beta, tensors };
        tilt.validate(state_dimension, head)?;
        Ok(tilt)
    }

    /// The tensors of a critic with these values; `items` rows of zeros: an item nobody has seen says nothing.
    pub(crate) fn named(head: Head, weight: Vec<f32>, bias: Vec<f32>, output: Vec<f32>) -> Vec<Tensor> {
        let inputs = weight.len() / CRITIC_WIDTH;
        let mut tensors = vec![
            Tensor::new(NAMES[0], vec![inputs, CRITIC_WIDTH], weight),
            Tensor::new(NAMES[1], vec![CRITIC_WIDTH], bias),
            Tensor::new(NAMES[2], vec![CRITIC_WIDTH, 1], output),
            Tensor::new(NAMES[3], vec![1], vec![0.0]),
        ];
        match head {
            Head::Learned { .. } => tensors.push(Tensor::new(NAMES[4], vec![0, CRITIC_WIDTH], Vec::new())),
            Head::Given { .. } | Head::Gaussian { .. } => {}
        }
        tensors
    }

    pub fn beta(&self) -> f32 {
        self.beta
    }

    pub(crate) fn set_beta(&mut self, beta: f32) {
        self.beta = beta;
    }

    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    pub(crate) fn tensors_mut(&mut self) -> &mut Vec<Tensor> {
        &mut self.tensors
    }

    /// Items that have weights of their own; 0 over given vectors.
    pub fn items(&self) -> usize {
        self.layers().items.len() / CRITIC_WIDTH
    }

    pub(crate) fn layers(&self) -> Layers<'_> {
        let values = |index: usize| self.tensors.get(index).map_or(&[][..], |tensor| &tensor.values[..]);
        Layers {
            weight: values(0),
            bias: values(1),
            output: values(2),
            output_bias: values(3).first().copied().unwrap_or(0.0),
            items: values(4),
        }
    }

    /// f(s, a) of some items, in their order. `state` fits the policy; items beyond all that is known weigh nothing.
    pub fn values(&self, state: &[f32], items: impl Iterator<Item = u32>, given: Option<&ItemVectors>) -> Vec<f32> {
        let layers = self.layers();
        // What all items share is computed once.
        let mut shared = layers.bias.to_vec();
        add_inputs(&mut shared, state, layers.weight);
        let item_weight = layers.weight.get(state.len() * CRITIC_WIDTH..).unwrap_or_default();
        let mut hidden = vec![0.0; CRITIC_WIDTH];
        let value = |item: u32| {
            hidden.copy_from_slice(&shared);
            match given {
                Some(given) => add_inputs(&mut hidden, given.row(item), item_weight),
                None => add(&mut hidden, layers.row(item)),
            }
            layers.value(&hidden)
        };
        items.map(value).collect()
    }

    pub(super) fn validate(&self, state_dimension: usize, head: Head) -> Result<(), PolicyError> {
        let malformed = |problem: String| Err(PolicyError::Malformed(problem));
        let inputs = match head {
            Head::Gaussian { .. } => return malformed("a Gaussian policy has no tilt".to_string()),
            Head::Learned { .. } => state_dimension,
            Head::Given { dimension } => state_dimension + dimension,
        };
        if !(self.beta.is_finite() && self.beta >= 0.0) {
            return malformed("beta of the tilt is negative or not finite".to_string());
        }
        let mut shapes = vec![vec![inputs, CRITIC_WIDTH], vec![CRITIC_WIDTH], vec![CRITIC_WIDTH, 1], vec![1]];
        if matches!(head, Head::Learned { .. }) {
            shapes.push(vec![self.items(), CRITIC_WIDTH]);
        }
        if self.tensors.len() != shapes.len() {
            return malformed("wrong number of critic tensors".to_string());
        }
        for ((tensor, shape), name) in self.tensors.iter().zip(&shapes).zip(NAMES) {
            if tensor.name != name || tensor.shape != *shape || !tensor.is_whole() {
                return malformed(format!("{name} is missing or of another shape"));
            }
            if tensor.values.iter().any(|value| !value.is_finite()) {
                return malformed(format!("{name} holds a number that is not finite"));
            }
        }
        Ok(())
    }
}

impl Layers<'_> {
    /// An item's own weights; nothing for one that has none yet.
    pub fn row(&self, item: u32) -> &[f32] {
        let start = (item as usize).saturating_mul(CRITIC_WIDTH);
        self.items.get(start..start.saturating_add(CRITIC_WIDTH)).unwrap_or_default()
    }

    /// The output over hidden values before ReLU, in eight interleaved sums: a fixed order that stays in registers.
    pub fn value(&self, hidden: &[f32]) -> f32 {
        let (hidden, _) = hidden.as_chunks::<8>();
        let (output, _) = self.output.as_chunks::<8>();
        let mut sums = [0.0_f32; 8];
        for (hidden, output) in hidden.iter().zip(output) {
            for ((sum, hidden), output) in sums.iter_mut().zip(hidden).zip(output) {
                *sum += hidden.max(0.0) * output;
            }
        }
        self.output_bias + sums.iter().sum::<f32>()
    }
}

/// hidden += inputs * weight, `weight` being `[at least as many as inputs, 64]`.
pub(crate) fn add_inputs(hidden: &mut [f32], inputs: &[f32], weight: &[f32]) {
    for (input, row) in inputs.iter().zip(weight.chunks_exact(CRITIC_WIDTH)) {
        hidden.iter_mut().zip(row).for_each(|(sum, factor)| *sum += input * factor);
    }
}

pub(crate) fn add(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}
