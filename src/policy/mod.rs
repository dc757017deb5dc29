//! The policy as plain numbers: what the learner trains, a checkpoint stores, and roll-outs or a server evaluate.
//!
//! A trunk of dense layers (ReLU between them) turns a state into one vector; a head gives it meaning:
//! * Gaussian: the vector is the mean of N(mu(s), diag sigma^2) over item embeddings, sigma being shared by all states;
//! * softmax: the vector is a query q(s), and an item's logit is the inner product with the item's own vector.
//!
//! Everything here is scalar loops in a fixed order, so the same bytes and the same state give the same bits.
//!
//! Architecture invariant: knows nothing of burn, of training, or of where its bytes are kept.

mod forward;
#[cfg(test)]
mod tests;
mod tilt;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) use self::forward::{forward, inner_product};
pub use self::tilt::{CRITIC_WIDTH, Tilt};
pub(crate) use self::tilt::{NAMES as CRITIC_TENSORS, add, add_inputs};

/// Bounds of the logarithm of sigma: below the floor gradients explode, above the cap the policy says nothing.
pub const LOG_SIGMA_FLOOR: f32 = -5.0;
pub const LOG_SIGMA_CAP: f32 = 2.0;

/// Version of the byte form below.
const FORMAT: u32 = 2;
/// The form before there was a tilt; still read.
const FORMAT_WITHOUT_TILT: u32 = 1;
/// Limits on what bytes may claim, so that rotten ones cannot ask for the whole memory.
const LAYERS_MAX: usize = 64;
const WIDTH_MAX: usize = 1 << 20;

/// One named array, row-major.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Item vectors that are given, not learned: `[items, dimension]`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemVectors {
    dimension: usize,
    values: Vec<f32>,
}

/// What the trunk's output means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Head {
    /// The mean over embeddings of this dimension; the tensor `log_sigma` belongs to it.
    Gaussian { dimension: usize },
    /// A query against learned vectors, the tensor `item_vectors` of as many rows as items were seen.
    Learned { dimension: usize },
    /// A query against given vectors, which are not part of the bytes.
    Given { dimension: usize },
}

/// A policy that can be evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    state_dimension: usize,
    head: Head,
    /// `layer.<i>.weight` `[in, out]` and `layer.<i>.bias` `[out]` in turn, then the head's own tensor, if it has one.
    tensors: Vec<Tensor>,
    given: Option<Arc<ItemVectors>>,
    /// What is added to the logits when the policy acts; a softmax policy's only.
    tilt: Option<Tilt>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    #[error("the policy's bytes do not decode")]
    Undecodable,
    #[error("the policy has format {found}, this program reads formats up to {FORMAT}")]
    Format { found: u32 },
    #[error("the policy is not well formed: {0}")]
    Malformed(String),
    #[error("the policy scores given item vectors of dimension {expected}, and none of that dimension were given")]
    NoItemVectors { expected: usize },
    #[error("a state has {found} numbers, the policy takes {expected}")]
    StateDimension { expected: usize, found: usize },
    #[error("item {item} is unknown to the policy, which knows {known} items")]
    UnknownItem { item: u32, known: usize },
    #[error("a {0} policy has no {1}")]
    WrongKind(&'static str, &'static str),
}

/// The byte form: postcard of the format, of this, and of an `Option<Tilt>`; every field has one encoding.
#[derive(Deserialize)]
struct Record {
    state_dimension: usize,
    head: Head,
    tensors: Vec<Tensor>,
}

impl Tensor {
    pub fn new(name: impl Into<String>, shape: Vec<usize>, values: Vec<f32>) -> Tensor {
        Tensor { name: name.into(), shape, values }
    }

    /// Whether the values are as many as the shape says.
    pub fn is_whole(&self) -> bool {
        let count = self.shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
        count == Some(self.values.len())
    }
}

impl ItemVectors {
    /// `None` unless the values are whole rows of finite numbers.
    pub fn new(dimension: usize, values: Vec<f32>) -> Option<ItemVectors> {
        let is_whole = dimension > 0 && values.len().is_multiple_of(dimension);
        (is_whole && values.iter().all(|value| value.is_finite())).then_some(ItemVectors { dimension, values })
    }

    pub fn dimension(&self) -> usize {
        self.dimension
    }

    pub fn items(&self) -> usize {
        self.values.len() / self.dimension
    }

    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// One item's vector; empty for an item beyond the last.
    pub(crate) fn row(&self, item: u32) -> &[f32] {
        let start = (item as usize).saturating_mul(self.dimension);
        self.values.get(start..start.saturating_add(self.dimension)).unwrap_or_default()
    }
}

impl Head {
    pub fn dimension(self) -> usize {
        match self {
            Head::Gaussian { dimension } | Head::Learned { dimension } | Head::Given { dimension } => dimension,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Head::Gaussian { .. } => "Gaussian",
            Head::Learned { .. } | Head::Given { .. } => "softmax",
        }
    }

    /// Tensors that belong to the head and not to the trunk.
    pub(crate) fn own_tensors(self) -> usize {
        match self {
            Head::Gaussian { .. } | Head::Learned { .. } => 1,
            Head::Given { .. } => 0,
        }
    }
}

impl Policy {
    /// Joins parts that fit; everything that comes from outside passes through here.
    pub fn new(
        state_dimension: usize,
        head: Head,
        tensors: Vec<Tensor>,
        given: Option<Arc<ItemVectors>>,
    ) -> Result<Policy, PolicyError> {
        let policy = Policy { state_dimension, head, tensors, given, tilt: None };
        policy.validate()?;
        Ok(policy)
    }

    /// The same policy with this tilt, which must fit it, or with none.
    pub fn with_tilt(mut self, tilt: Option<Tilt>) -> Result<Policy, PolicyError> {
        if let Some(tilt) = &tilt {
            tilt.validate(self.state_dimension, self.head)?;
        }
        self.tilt = tilt;
        Ok(self)
    }

    /// Reads what [`Policy::to_bytes`] wrote. `given` are the item vectors of a policy over a catalog.
    pub fn from_bytes(bytes: &[u8], given: Option<Arc<ItemVectors>>) -> Result<Policy, PolicyError> {
        let undecodable = |_| PolicyError::Undecodable;
        let (format, rest): (u32, &[u8]) = postcard::take_from_bytes(bytes).map_err(undecodable)?;
        if !(FORMAT_WITHOUT_TILT..=FORMAT).contains(&format) {
            return Err(PolicyError::Format { found: format });
        }
        let (record, rest): (Record, &[u8]) = postcard::take_from_bytes(rest).map_err(undecodable)?;
        let (tilt, rest): (Option<Tilt>, &[u8]) = match format {
            FORMAT_WITHOUT_TILT => (None, rest),
            _ => postcard::take_from_bytes(rest).map_err(undecodable)?,
        };
        if !rest.is_empty() {
            return Err(PolicyError::Undecodable);
        }
        let given = match record.head {
            Head::Given { .. } => given,
            Head::Gaussian { .. } | Head::Learned { .. } => None,
        };
        Policy::new(record.state_dimension, record.head, record.tensors, given)?.with_tilt(tilt)
    }

    /// Canonical: equal policies give equal bytes. Item vectors that were given are not repeated.
    pub fn to_bytes(&self) -> Vec<u8> {
        let record = RecordView {
            format: FORMAT,
            state_dimension: self.state_dimension,
            head: self.head,
            tensors: &self.tensors,
            tilt: self.tilt.as_ref(),
        };
        // Writing plain numbers into a growing vector has no way to fail; an empty answer would be refused on reading.
        postcard::to_stdvec(&record).unwrap_or_default()
    }

    pub fn state_dimension(&self) -> usize {
        self.state_dimension
    }

    pub fn head(&self) -> Head {
        self.head
    }

    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    pub fn tilt(&self) -> Option<&Tilt> {
        self.tilt.as_ref()
    }

    pub(crate) fn tilt_mut(&mut self) -> Option<&mut Tilt> {
        self.tilt.as_mut()
    }

    pub(crate) fn tensors_mut(&mut self) -> &mut Vec<Tensor> {
        &mut self.tensors
    }

    /// Moves every log sigma into its bounds. NaN stays what it is.
    pub(crate) fn bound_log_sigma(log_sigma: &mut [f32]) {
        log_sigma.iter_mut().for_each(|log| *log = log.clamp(LOG_SIGMA_FLOOR, LOG_SIGMA_CAP));
    }

    /// The trunk's weights and biases in turn.
    pub fn trunk(&self) -> &[Tensor] {
        &self.tensors[..self.tensors.len() - self.head.own_tensors()]
    }

    /// The mean embedding in a state.
    pub fn mean(&self, state: &[f32]) -> Result<Vec<f32>, PolicyError> {
        match self.head {
            Head::Gaussian { .. } => self.output(state),
            Head::Learned { .. } | Head::Given { .. } => Err(PolicyError::WrongKind(self.head.name(), "mean")),
        }
    }

    /// The standard deviation of every embedding dimension, the same in all states.
    pub fn sigma(&self) -> Result<Vec<f32>, PolicyError> {
        match (self.head, self.tensors.last()) {
            (Head::Gaussian { .. }, Some(log_sigma)) => Ok(log_sigma.values.iter().map(|log| log.exp()).collect()),
            (Head::Gaussian { .. } | Head::Learned { .. } | Head::Given { .. }, _) => {
                Err(PolicyError::WrongKind(self.head.name(), "sigma"))
            }
        }
    }

    /// How many items have a vector; 0 for a Gaussian policy.
    pub fn items(&self) -> usize {
        match self.head {
            Head::Gaussian { .. } => 0,
            Head::Learned { dimension } | Head::Given { dimension } => self.item_vectors().len() / dimension,
        }
    }

    /// `[items, dimension]`; empty for a Gaussian policy.
    pub fn item_vectors(&self) -> &[f32] {
        match (self.head, self.tensors.last(), &self.given) {
            (Head::Learned { .. }, Some(vectors), _) => &vectors.values,
            (Head::Given { .. }, _, Some(given)) => given.values(),
            (Head::Gaussian { .. } | Head::Learned { .. } | Head::Given { .. }, _, _) => &[],
        }
    }

    /// The logit of every known item in a state: log-probabilities up to a constant.
    pub fn logits(&self, state: &[f32]) -> Result<Vec<f32>, PolicyError> {
        let query = self.query(state)?;
        Ok(self.item_vectors().chunks_exact(query.len()).map(|vector| inner_product(&query, vector)).collect())
    }

    /// The logits of some items, in their order.
    pub fn logits_of(&self, state: &[f32], items: &[u32]) -> Result<Vec<f32>, PolicyError> {
        let query = self.query(state)?;
        let vectors = self.item_vectors();
        let logit = |&item: &u32| {
            let start = (item as usize).saturating_mul(query.len());
            let vector = vectors
                .get(start..start.saturating_add(query.len()))
                .ok_or(PolicyError::UnknownItem { item, known: self.items() })?;
            Ok(inner_product(&query, vector))
        };
        items.iter().map(logit).collect()
    }

    /// The logits to act by, `log pi + beta f` up to a constant of the state, of `candidates` in their order or of every
    /// known item in the order of their numbers: a softmax over them, at some temperature, is how the policy acts. What
    /// recommends calls this and nothing else.
    pub fn preferences(&self, state: &[f32], candidates: Option<&[u32]>) -> Result<Vec<f32>, PolicyError> {
        let mut preferences = match candidates {
            Some(items) => self.logits_of(state, items)?,
            None => self.logits(state)?,
        };
        // A tilt of 0 leaves every bit as it is.
        if let Some(tilt) = self.tilt.as_ref().filter(|tilt| tilt.beta() > 0.0) {
            let known = u32::try_from(preferences.len()).unwrap_or(u32::MAX);
            let values = match candidates {
                Some(items) => tilt.values(state, items.iter().copied(), self.given.as_deref()),
                None => tilt.values(state, 0..known, self.given.as_deref()),
            };
            preferences.iter_mut().zip(values).for_each(|(logit, value)| *logit += tilt.beta() * value);
        }
        Ok(preferences)
    }

    fn query(&self, state: &[f32]) -> Result<Vec<f32>, PolicyError> {
        match self.head {
            Head::Gaussian { .. } => Err(PolicyError::WrongKind(self.head.name(), "logits")),
            Head::Learned { .. } | Head::Given { .. } => self.output(state),
        }
    }

    /// The trunk's output: mean or query. A policy without a state sees the constant 1.
    pub fn output(&self, state: &[f32]) -> Result<Vec<f32>, PolicyError> {
        if state.len() != self.state_dimension {
            return Err(PolicyError::StateDimension { expected: self.state_dimension, found: state.len() });
        }
        Ok(forward(self.trunk(), if state.is_empty() { vec![1.0] } else { state.to_vec() }))
    }

    fn validate(&self) -> Result<(), PolicyError> {
        let malformed = |problem: &str| Err(PolicyError::Malformed(problem.to_string()));
        let own = self.head.own_tensors();
        let dimension = self.head.dimension();
        if self.tensors.len() < own + 2 || self.tensors.len() > LAYERS_MAX * 2 + own || dimension == 0 {
            return malformed("wrong number of tensors");
        }
        if let Some(tensor) = self.tensors.iter().find(|tensor| !tensor.is_whole()) {
            return malformed(&format!("{} does not hold as many values as its shape says", tensor.name));
        }
        if let Some(tensor) = self.tensors.iter().find(|tensor| tensor.values.iter().any(|value| !value.is_finite())) {
            return malformed(&format!("{} holds a number that is not finite", tensor.name));
        }
        let (layers, rest) = self.trunk().as_chunks::<2>();
        let mut width = self.state_dimension.max(1);
        for (index, [weight, bias]) in layers.iter().enumerate() {
            let next = bias.values.len();
            let names_fit = weight.name == weight_name(index) && bias.name == bias_name(index);
            if !names_fit || weight.shape != [width, next] || bias.shape != [next] || next == 0 || next > WIDTH_MAX {
                return malformed(&format!("layer {index} does not fit the one before it"));
            }
            width = next;
        }
        if !rest.is_empty() || width != dimension {
            return malformed("the trunk does not end in the head's dimension");
        }
        self.validate_head()
    }

    fn validate_head(&self) -> Result<(), PolicyError> {
        let malformed = |problem: &str| Err(PolicyError::Malformed(problem.to_string()));
        match (self.head, self.tensors.last(), &self.given) {
            (Head::Gaussian { dimension }, Some(own), _) => {
                let in_bounds = own.values.iter().all(|log| (LOG_SIGMA_FLOOR..=LOG_SIGMA_CAP).contains(log));
                if own.name != LOG_SIGMA || own.shape != [dimension] || !in_bounds {
                    return malformed("log_sigma is missing or out of its bounds");
                }
            }
            (Head::Learned { dimension }, Some(own), _) => {
                if own.name != ITEM_VECTORS || own.shape.len() != 2 || own.shape.last() != Some(&dimension) {
                    return malformed("item_vectors are missing or of another dimension");
                }
            }
            (Head::Given { dimension }, _, Some(given)) if given.dimension() == dimension => {}
            (Head::Given { dimension }, _, _) => return Err(PolicyError::NoItemVectors { expected: dimension }),
            (Head::Gaussian { .. } | Head::Learned { .. }, None, _) => return malformed("no tensors"),
        }
        Ok(())
    }
}

pub(crate) const LOG_SIGMA: &str = "log_sigma";
pub(crate) const ITEM_VECTORS: &str = "item_vectors";

pub(crate) fn weight_name(layer: usize) -> String {
    format!("layer.{layer}.weight")
}

pub(crate) fn bias_name(layer: usize) -> String {
    format!("layer.{layer}.bias")
}

/// The whole byte form, without owning the tensors.
#[derive(Serialize)]
struct RecordView<'a> {
    format: u32,
    state_dimension: usize,
    head: Head,
    tensors: &'a [Tensor],
    tilt: Option<&'a Tilt>,
}
