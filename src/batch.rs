//! A complete batch of admitted steps: all that the learner ever sees of the log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Row-major, `rows` rows. The learner is a function of the sequence of these alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Count of batches emitted before this one.
    pub number: u64,
    pub rows: usize,
    /// `[rows, state dimension]`.
    pub states: Vec<f32>,
    pub actions: Actions,
    /// `[rows]`: the score that the filter compared.
    pub scores: Vec<f32>,
    /// `[rows]`: the threshold nu at the draw.
    pub thresholds: Vec<f32>,
    /// `[rows]`, in (0, 1]: 1 above the threshold, the atom's share on it.
    pub weights: Vec<f32>,
    /// `[rows]`: behavior propensity where it was logged.
    pub propensities: Vec<Option<f32>>,
}

/// Matured steps of the softmax policy's log, admitted or not, with what their sessions came to: all that the critic sees.
#[derive(Debug, Clone, PartialEq)]
pub struct CriticBatch {
    /// Count of critic batches emitted before this one.
    pub number: u64,
    pub rows: usize,
    /// `[rows, state dimension]`.
    pub states: Vec<f32>,
    /// `[rows]`: the number of the item that was shown.
    pub items: Vec<u32>,
    /// `[rows]`: the session's return, standardized by the mean and deviation of the sessions up to the draw.
    pub targets: Vec<f32>,
    /// Matured steps up to the batch.
    pub decisions: u64,
}

/// The samples of one generation of the baseline, in their order: what its network learns from.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselineBatch {
    /// Count of generations before this one.
    pub generation: u64,
    /// `[rows, features]`.
    pub features: Vec<f32>,
    /// `[rows]`: the values that a baseline should foretell.
    pub targets: Vec<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Actions {
    /// `[rows, dimension]` item embeddings, for the Gaussian policy.
    Embeddings { dimension: usize, values: Vec<f32> },
    /// `[rows]` item numbers, for the softmax policy, with what could be shown where that is known.
    Items { chosen: Vec<u32>, candidates: Vec<Option<Arc<[u32]>>> },
}

/// The action of one step as the policy needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Action {
    Embedding(Box<[f32]>),
    Item { chosen: u32, candidates: Option<Arc<[u32]>> },
}
