//! The learner's state as bytes, and back.
//!
//! Two parts, because a checkpoint stores and a reader wants them apart: the policy ([`Policy::to_bytes`]), and all the
//! rest: Adam's moments, the guard with its copy, the estimators of the objective, the moments of the critic, the scores'
//! baseline, the counters. Equal learners give equal bytes. Reading trusts
//! nothing: every shape is held against the settings, so that bytes which decode also run.

use serde::{Deserialize, Serialize};

use super::adam::Adam;
use super::baseline::Baseline;
use super::critic::Critic;
use super::estimators::{Behavior, Estimators, Value};
use super::guard::Guard;
use super::remoteness::Balance;
use super::settings::{LearnerSettings, PolicyKind, Sigma, Vectors};
use super::{Beside, Counters, Learner, LearnerError, initial};
use crate::policy::{Policy, Tensor, Tilt};

/// Version of the optimizer part's byte form.
const FORMAT: u32 = 4;

/// The learner's state, as a checkpoint keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    pub policy: Vec<u8>,
    pub optimizer: Vec<u8>,
}

#[derive(Serialize)]
struct RecordView<'a> {
    format: u32,
    adam: &'a Adam,
    guard: &'a Guard,
    critic: Option<&'a Adam>,
    baseline: Option<&'a Baseline>,
    value: Option<&'a Value>,
    behavior: Option<BehaviorRecord>,
    balance: Balance,
    counters: Counters,
}

#[derive(Deserialize)]
struct Record {
    format: u32,
    adam: Adam,
    guard: Guard,
    critic: Option<Adam>,
    baseline: Option<Baseline>,
    value: Option<Value>,
    behavior: Option<BehaviorRecord>,
    balance: Balance,
    counters: Counters,
}

#[derive(Serialize, Deserialize)]
struct BehaviorRecord {
    policy: Vec<u8>,
    adam: Adam,
    updates: u64,
}

impl Learner {
    /// Canonical: learners that would go on alike give equal bytes.
    pub fn export(&self) -> Parts {
        let behavior = self.estimators.behavior.as_ref().map(|behavior| BehaviorRecord {
            policy: behavior.policy.to_bytes(),
            adam: behavior.adam.clone(),
            updates: behavior.updates,
        });
        let record = RecordView {
            format: FORMAT,
            adam: &self.adam,
            guard: &self.guard,
            critic: self.critic.as_ref().map(Critic::adam),
            baseline: self.baseline.as_ref(),
            value: self.estimators.value.as_ref(),
            behavior,
            balance: self.estimators.balance,
            counters: self.counters,
        };
        // Plain numbers into a growing vector cannot fail; an empty part would be refused on reading.
        let optimizer = postcard::to_stdvec(&record).unwrap_or_default();
        Parts { policy: self.policy.to_bytes(), optimizer }
    }

    /// The learner that was exported, if the settings' structure is the one it had.
    pub fn restore(settings: LearnerSettings, parts: &Parts) -> Result<Learner, LearnerError> {
        settings.validate()?;
        let policy = Policy::from_bytes(&parts.policy, settings.given_vectors())?;
        fits(&settings, &policy)?;
        let (record, rest): (Record, &[u8]) =
            postcard::take_from_bytes(&parts.optimizer).map_err(|_| LearnerError::Optimizer("it does not decode"))?;
        if record.format != FORMAT {
            return Err(LearnerError::Optimizer("it has another format"));
        }
        if !rest.is_empty() {
            return Err(LearnerError::Optimizer("something follows it"));
        }
        moments_fit(&record.adam, policy.tensors())?;
        let snapshot = record.guard.snapshot();
        let copy =
            Policy::new(policy.state_dimension(), policy.head(), snapshot.tensors.clone(), settings.given_vectors())?;
        fits(&settings, &copy)?;
        moments_fit(&snapshot.adam, &snapshot.tensors)?;
        if !record.guard.is_sound() {
            return Err(LearnerError::Optimizer("the guard's numbers are not finite"));
        }
        if let (Some(tilt), Some(adam)) = (policy.tilt(), &record.critic) {
            moments_fit(adam, tilt.tensors())?;
        }
        let estimators = restored_estimators(&settings, &policy, record.value, record.behavior, record.balance)?;
        if let Some(baseline) = &record.baseline {
            if !baseline.fits(&settings) {
                return Err(LearnerError::Optimizer("the baseline of the scores does not fit the settings"));
            }
            moments_fit(baseline.adam(), baseline.tensors())?;
        }
        let beside = Beside { estimators, critic: record.critic, baseline: record.baseline };
        Learner::from_state(settings, policy, record.adam, record.guard, beside, record.counters)
    }

    /// A learner that goes on from a policy alone, with an optimizer that has seen nothing.
    pub fn warm_start(settings: LearnerSettings, policy: &[u8]) -> Result<Learner, LearnerError> {
        settings.validate()?;
        let policy = Policy::from_bytes(policy, settings.given_vectors())?;
        fits(&settings, &policy)?;
        Learner::from_policy(settings, policy)
    }

    /// Every array of the state by name, policy first: what a digest is made of.
    pub fn tensors(&self) -> impl Iterator<Item = (String, &[usize], &[f32])> {
        let (policy, policy_tilt) = (self.policy.tensors(), self.policy.tilt());
        let values = policy.iter().map(|tensor| (tensor.name.clone(), &tensor.shape[..], &tensor.values[..]));
        let adam = [("adam.first", &self.adam.first), ("adam.second", &self.adam.second)];
        let critic = self.critic.iter().zip(policy_tilt).flat_map(|(critic, tilt)| critic.named(tilt));
        values.chain(critic).chain(adam.into_iter().flat_map(move |(prefix, moments)| {
            policy
                .iter()
                .zip(moments)
                .map(move |(tensor, values)| (format!("{prefix}.{}", tensor.name), &tensor.shape[..], &values[..]))
        }))
    }
}

fn restored_estimators(
    settings: &LearnerSettings,
    policy: &Policy,
    value: Option<Value>,
    behavior: Option<BehaviorRecord>,
    balance: Balance,
) -> Result<Estimators, LearnerError> {
    if let Some(value) = &value {
        if !value.fits(settings) {
            return Err(LearnerError::Optimizer("the value network does not fit the settings"));
        }
        moments_fit(&value.adam, &value.tensors)?;
    }
    let behavior = behavior.map(|record| {
        let estimate = Policy::from_bytes(&record.policy, settings.given_vectors())?;
        fits(settings, &estimate)?;
        if estimate.items() != policy.items() {
            return Err(LearnerError::Optimizer("the estimate of the behavior knows other items than the policy"));
        }
        moments_fit(&record.adam, estimate.tensors())?;
        Ok(Behavior::resumed(record.adam, estimate, record.updates))
    });
    if !balance.is_sound() {
        return Err(LearnerError::Optimizer("the balance of negatives is not finite"));
    }
    Ok(Estimators { value, behavior: behavior.transpose()?, balance })
}

/// Whether the policy has the structure that the settings describe.
fn fits(settings: &LearnerSettings, policy: &Policy) -> Result<(), LearnerError> {
    if policy.state_dimension() != settings.state_dimension {
        return Err(LearnerError::OtherSettings("state_dimension"));
    }
    if policy.head() != settings.head() {
        return Err(LearnerError::OtherSettings("policy"));
    }
    let widths = policy.trunk().iter().filter(|tensor| tensor.shape.len() == 1).map(|bias| bias.values.len());
    if !widths.eq(settings.hidden.iter().copied().chain([settings.head().dimension()])) {
        return Err(LearnerError::OtherSettings("hidden"));
    }
    match &settings.policy {
        PolicyKind::Softmax { vectors: Vectors::Learned { capacity, .. } }
            if policy.items().max(policy.tilt().map_or(0, Tilt::items)) > *capacity =>
        {
            Err(LearnerError::OtherSettings("items_max"))
        }
        PolicyKind::Gaussian { dimension, sigma: sigma @ Sigma::Fixed(_) } => {
            // A fixed sigma is a setting: the policy must hold this one and no other.
            let is_same =
                policy.tensors().last().is_some_and(|own| own.values == initial::log_sigma(*dimension, *sigma));
            if is_same { Ok(()) } else { Err(LearnerError::OtherSettings("sigma")) }
        }
        PolicyKind::Gaussian { sigma: Sigma::Learned { .. }, .. } | PolicyKind::Softmax { .. } => Ok(()),
    }
}

fn moments_fit(adam: &Adam, tensors: &[Tensor]) -> Result<(), LearnerError> {
    for moments in [&adam.first, &adam.second] {
        let lengths = moments.iter().map(Vec::len);
        if !lengths.eq(tensors.iter().map(|tensor| tensor.values.len())) {
            return Err(LearnerError::Optimizer("its moments do not fit the policy"));
        }
        if moments.iter().flatten().any(|value| !value.is_finite()) {
            return Err(LearnerError::Optimizer("a moment is not finite"));
        }
    }
    if adam.second.iter().flatten().any(|&value| value < 0.0) {
        return Err(LearnerError::Optimizer("a second moment is negative"));
    }
    Ok(())
}
