//! Everything that shapes the learner, checked once.

use std::sync::Arc;

use thiserror::Error;

use super::objective::Objective;
use crate::policy::{Head, ItemVectors, LOG_SIGMA_CAP, LOG_SIGMA_FLOOR};

/// Largest accepted width of a layer or dimension of a head.
const WIDTH_MAX: usize = 1 << 16;
const LAYERS_MAX: usize = 16;
const THREADS_MAX: usize = 256;

/// Settings as they are used; [`LearnerSettings::new`] fills the defaults, [`LearnerSettings::validate`] checks.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnerSettings {
    /// 0: no state; the policy then sees a constant.
    pub state_dimension: usize,
    pub policy: PolicyKind,
    /// Widths of the hidden layers; none makes the policy linear.
    pub hidden: Vec<usize>,
    pub objective: Objective,
    /// Weights are multiplied by (logged propensity)^power; 0 leaves them alone.
    pub propensity_power: f64,
    /// How much the policy leans towards its critic when it acts (softmax only).
    pub tilt: Tilt,
    pub learning_rate: f64,
    pub beta_1: f64,
    pub beta_2: f64,
    pub epsilon: f64,
    /// Decoupled: weights and item vectors shrink by learning rate * this at every update, biases and sigma do not.
    pub weight_decay: f64,
    /// Gradients whose norm over all tensors together is larger are scaled down to it.
    pub gradient_norm_max: f64,
    pub seed: u64,
    pub guard: GuardSettings,
    /// Threads of a matrix product. One is best below batches of about a thousand rows; the bits are the same.
    pub threads: usize,
}

/// Beta of `log pi + beta f`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tilt {
    Fixed(f64),
    /// By the count of matured decisions, for a critic that has seen little is worse than none: 0 below 50,000, 1 below
    /// 100,000, then 2. A function of the log alone.
    Auto,
}

#[derive(Debug, Clone, PartialEq)]
pub enum PolicyKind {
    /// N(mu(s), diag sigma^2) over item embeddings.
    Gaussian { dimension: usize, sigma: Sigma },
    /// softmax over item numbers by the inner product of a query q(s) with the item's vector.
    Softmax { vectors: Vectors },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sigma {
    /// One learnable vector for all states, starting here in every dimension.
    Learned {
        initial: f32,
    },
    Fixed(f32),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Vectors {
    /// Learned with the policy, for item numbers below the capacity. A vector comes into being when its number is
    /// first seen, with a value that depends on the seed and the number alone.
    Learned { capacity: usize, dimension: usize },
    /// Given by a catalog and never changed.
    Given(Arc<ItemVectors>),
}

/// When an update is refused, and how far back a row of refusals leads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuardSettings {
    /// Mean distance from the actions to the policy's mean, over the size of the actions and of sigma (Gaussian only).
    pub distance_ratio_max: f64,
    /// Gradient norm over its own running (geometric) mean.
    pub gradient_ratio_max: f64,
    /// Root mean square of all parameters.
    pub parameter_size_max: f64,
    /// Applied updates between two copies of policy and optimizer.
    pub snapshot_updates: u64,
    /// So many refusals in a row lead back to the copy.
    pub refused_in_a_row: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("learner.{setting}: {problem}")]
pub struct SettingsError {
    pub setting: &'static str,
    pub problem: String,
}

impl LearnerSettings {
    pub fn new(state_dimension: usize, policy: PolicyKind) -> LearnerSettings {
        LearnerSettings {
            state_dimension,
            policy,
            hidden: vec![128, 128],
            objective: Objective::Drpo,
            propensity_power: 0.0,
            tilt: Tilt::OFF,
            learning_rate: 1e-3,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.3,
            gradient_norm_max: 10.0,
            seed: 0,
            guard: GuardSettings::default(),
            threads: 1,
        }
    }

    pub fn validate(&self) -> Result<(), SettingsError> {
        self.validate_shape()?;
        self.objective.validate().map_err(|problem| SettingsError { setting: "objective", problem })?;
        require("learning_rate", self.learning_rate > 0.0 && self.learning_rate <= 1.0, "must be in (0, 1]")?;
        require("beta_1", (0.0..1.0).contains(&self.beta_1), "must be in [0, 1)")?;
        require("beta_2", (0.0..1.0).contains(&self.beta_2), "must be in [0, 1)")?;
        require("epsilon", self.epsilon > 0.0 && self.epsilon <= 1.0, "must be in (0, 1]")?;
        require(
            "weight_decay",
            self.weight_decay >= 0.0 && self.weight_decay * self.learning_rate < 1.0,
            "must be at least 0, and its product with the learning rate below 1",
        )?;
        require("gradient_norm_max", self.gradient_norm_max > 0.0, "must be above 0")?;
        require("propensity_power", (-1.0..=1.0).contains(&self.propensity_power), "must be in [-1, 1]")?;
        let tilt_fits = match (self.tilt, &self.policy) {
            (Tilt::Fixed(beta), PolicyKind::Softmax { .. }) => (0.0..=100.0).contains(&beta),
            (Tilt::Auto, PolicyKind::Softmax { .. }) => true,
            (tilt, PolicyKind::Gaussian { .. }) => tilt.is_off(),
        };
        require("tilt", tilt_fits, "must be in [0, 100], and above 0 only with learner.policy = \"softmax\"")?;
        require("threads", (1..=THREADS_MAX).contains(&self.threads), "must be between 1 and 256")?;
        self.guard.validate()
    }

    pub fn head(&self) -> Head {
        match &self.policy {
            PolicyKind::Gaussian { dimension, .. } => Head::Gaussian { dimension: *dimension },
            PolicyKind::Softmax { vectors: Vectors::Learned { dimension, .. } } => {
                Head::Learned { dimension: *dimension }
            }
            PolicyKind::Softmax { vectors: Vectors::Given(vectors) } => Head::Given { dimension: vectors.dimension() },
        }
    }

    pub fn given_vectors(&self) -> Option<Arc<ItemVectors>> {
        match &self.policy {
            PolicyKind::Softmax { vectors: Vectors::Given(vectors) } => Some(Arc::clone(vectors)),
            PolicyKind::Softmax { vectors: Vectors::Learned { .. } } | PolicyKind::Gaussian { .. } => None,
        }
    }

    fn validate_shape(&self) -> Result<(), SettingsError> {
        let is_width = |width: usize| (1..=WIDTH_MAX).contains(&width);
        require("state_dimension", self.state_dimension <= WIDTH_MAX, "must be at most 65536")?;
        require("hidden", self.hidden.len() <= LAYERS_MAX, "must be at most 16 layers")?;
        require("hidden", self.hidden.iter().all(|&width| is_width(width)), "every width must be in 1..=65536")?;
        require("dimension", is_width(self.head().dimension()), "must be in 1..=65536")?;
        match &self.policy {
            PolicyKind::Gaussian { sigma: Sigma::Fixed(sigma), .. } => {
                let bounds = LOG_SIGMA_FLOOR.exp()..=LOG_SIGMA_CAP.exp();
                require("sigma", bounds.contains(sigma), "must be between exp(-5) and exp(2)")
            }
            PolicyKind::Gaussian { sigma: Sigma::Learned { initial }, .. } => {
                let bounds = LOG_SIGMA_FLOOR.exp()..=LOG_SIGMA_CAP.exp();
                require("sigma_initial", bounds.contains(initial), "must be between exp(-5) and exp(2)")
            }
            PolicyKind::Softmax { vectors: Vectors::Learned { capacity, .. } } => {
                require("items_max", (1..=1 << 24).contains(capacity), "must be between 1 and 16777216")
            }
            PolicyKind::Softmax { vectors: Vectors::Given(vectors) } => {
                require("items", vectors.items() > 0, "the catalog is empty")
            }
        }
    }
}

impl Tilt {
    pub const OFF: Tilt = Tilt::Fixed(0.0);

    /// No critic is trained.
    pub fn is_off(self) -> bool {
        self == Tilt::OFF
    }

    /// Beta when so many decisions have matured.
    pub fn at(self, decisions: u64) -> f64 {
        match self {
            Tilt::Fixed(beta) => beta,
            Tilt::Auto if decisions < 50_000 => 0.0,
            Tilt::Auto if decisions < 100_000 => 1.0,
            Tilt::Auto => 2.0,
        }
    }
}

impl Default for GuardSettings {
    fn default() -> GuardSettings {
        GuardSettings {
            distance_ratio_max: 10.0,
            gradient_ratio_max: 1000.0,
            parameter_size_max: 30.0,
            snapshot_updates: 100,
            refused_in_a_row: 8,
        }
    }
}

impl GuardSettings {
    fn validate(&self) -> Result<(), SettingsError> {
        require("guard.distance_ratio_max", self.distance_ratio_max > 1.0, "must be above 1")?;
        require("guard.gradient_ratio_max", self.gradient_ratio_max > 1.0, "must be above 1")?;
        require("guard.parameter_size_max", self.parameter_size_max > 0.0, "must be above 0")?;
        require("snapshot_updates", self.snapshot_updates > 0, "must be above 0")?;
        require("refused_in_a_row", self.refused_in_a_row > 0, "must be above 0")
    }
}

fn require(setting: &'static str, holds: bool, problem: &str) -> Result<(), SettingsError> {
    if holds { Ok(()) } else { Err(SettingsError { setting, problem: problem.to_string() }) }
}
