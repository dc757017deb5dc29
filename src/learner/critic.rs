//! The critic of the tilt: f(s, a), regressed on the standardized return of the session in which a was shown in s.
//!
//! It sees every matured step about once and never touches the policy's weights, nor they it: its batches and its Adam are its
//! own, and a refused update leaves both as they were, to the bit. Plain loops over rows: the network is small, and burn's
//! graph would cost more than the arithmetic.

use super::adam::{self, Adam, Proposal};
use super::guard::Refusal;
use super::settings::{LearnerSettings, Vectors};
use super::{BatchError, Learner, LearnerError, Outcome, PolicyKind, initial};
use crate::batch::CriticBatch;
use crate::policy::{CRITIC_WIDTH, ItemVectors, Policy, Tilt, add, add_inputs};

/// Learning rate, in those of the policy: the critic sees every step once, and has no time for small ones.
const RATE: f64 = 3.0;

/// What trains the critic; its values are part of the policy.
pub(super) struct Critic {
    settings: LearnerSettings,
    adam: Adam,
    /// Room for the next step; not state.
    proposal: Proposal,
}

/// What one critic batch did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CriticReport {
    pub outcome: Outcome,
    /// Mean squared error before the update, in variances of the sessions' returns: 1 is what knowing nothing costs.
    pub loss: f64,
    pub gradient_norm: f64,
}

impl Learner {
    /// One regression step, or a refusal; `None` while there is no tilt. An error means that the batch does not fit, and
    /// has changed nothing either.
    pub fn learn_critic(&mut self, batch: &CriticBatch) -> Result<Option<CriticReport>, BatchError> {
        self.check_critic(batch)?;
        let given = self.settings.given_vectors();
        let (Some(critic), Some(tilt)) = (&mut self.critic, self.policy.tilt_mut()) else { return Ok(None) };
        let items_before = tilt.items();
        critic.resize(tilt, batch.items.iter().max().map_or(0, |&item| item as usize + 1).max(items_before));
        let (gradients, loss) = gradients(tilt, given.as_deref(), batch);
        let gradient_norm = adam::norm(gradients.iter().flatten().map(Vec::as_slice));
        let outcome = match critic.propose(tilt, &gradients, gradient_norm) {
            Ok(()) => {
                critic.adam.accept(tilt.tensors_mut(), &mut critic.proposal);
                self.counters.critic_updates += 1;
                Outcome::Applied
            }
            Err(refusal) => {
                critic.resize(tilt, items_before);
                self.counters.critic_refused += 1;
                Outcome::Refused(refusal)
            }
        };
        self.counters.decisions = batch.decisions;
        tilt.set_beta(self.settings.tilt.at(batch.decisions) as f32);
        Ok(Some(CriticReport { outcome, loss, gradient_norm }))
    }

    fn check_critic(&self, batch: &CriticBatch) -> Result<(), BatchError> {
        let (number, rows) = (batch.number, batch.rows);
        if rows == 0 {
            return Err(BatchError::Empty { number });
        }
        let length = |part: &'static str, found: usize, expected: usize| {
            if found == expected { Ok(()) } else { Err(BatchError::Length { number, part, expected, found }) }
        };
        length("state numbers", batch.states.len(), rows.saturating_mul(self.settings.state_dimension))?;
        length("items", batch.items.len(), rows)?;
        length("targets", batch.targets.len(), rows)?;
        let capacity = match &self.settings.policy {
            PolicyKind::Softmax { vectors: Vectors::Learned { capacity, .. } } => *capacity,
            PolicyKind::Softmax { vectors: Vectors::Given(vectors) } => vectors.items(),
            PolicyKind::Gaussian { .. } => return Err(BatchError::Kind { number }),
        };
        match batch.items.iter().copied().find(|&item| item as usize >= capacity) {
            Some(item) => Err(BatchError::Item { number, item, capacity }),
            None => Ok(()),
        }
    }
}

impl Critic {
    /// With these moments, or with none yet.
    fn new(settings: &LearnerSettings, tilt: &Tilt, adam: Option<Adam>) -> Critic {
        // What an update takes from the weights stays what it takes from the policy's.
        let (learning_rate, weight_decay) = (RATE * settings.learning_rate, settings.weight_decay / RATE);
        let settings = LearnerSettings { learning_rate, weight_decay, ..settings.clone() };
        Critic { settings, adam: adam.unwrap_or_else(|| Adam::new(tilt.tensors())), proposal: Proposal::default() }
    }

    pub fn adam(&self) -> &Adam {
        &self.adam
    }

    /// Every array of the critic by name, as [`Learner::tensors`] gives them.
    pub fn named<'a>(&'a self, tilt: &'a Tilt) -> impl Iterator<Item = (String, &'a [usize], &'a [f32])> {
        let tensors = tilt.tensors();
        let values = tensors.iter().map(|tensor| (tensor.name.clone(), &tensor.shape[..], &tensor.values[..]));
        let moments = [("adam.first", &self.adam.first), ("adam.second", &self.adam.second)];
        values.chain(moments.into_iter().flat_map(move |(prefix, moments)| {
            tensors
                .iter()
                .zip(moments)
                .map(move |(tensor, values)| (format!("{prefix}.{}", tensor.name), &tensor.shape[..], &values[..]))
        }))
    }

    /// Gives every item number below `items` weights of its own, or takes them back; over given vectors there are none.
    fn resize(&mut self, tilt: &mut Tilt, items: usize) {
        if tilt.tensors().len() < 5 || tilt.items() == items {
            return;
        }
        if let Some(tensor) = tilt.tensors_mut().last_mut() {
            tensor.values.resize(items * CRITIC_WIDTH, 0.0);
            tensor.shape = vec![items, CRITIC_WIDTH];
        }
        for moments in [&mut self.adam.first, &mut self.adam.second] {
            if let Some(moments) = moments.last_mut() {
                moments.resize(items * CRITIC_WIDTH, 0.0);
            }
        }
    }

    /// Computes the next step and looks at where it would end.
    fn propose(&mut self, tilt: &Tilt, gradients: &[Option<Vec<f32>>], gradient_norm: f64) -> Result<(), Refusal> {
        if !gradient_norm.is_finite() {
            return Err(Refusal::NotFinite);
        }
        self.adam.propose(&self.settings, tilt.tensors(), gradients, gradient_norm, &mut self.proposal);
        let norm = adam::norm(self.proposal.values.iter().map(Vec::as_slice));
        let count: usize = self.proposal.values.iter().map(Vec::len).sum();
        if !norm.is_finite() {
            return Err(Refusal::NotFinite);
        }
        let is_large = norm > self.settings.guard.parameter_size_max * (count as f64).sqrt();
        if is_large { Err(Refusal::Size) } else { Ok(()) }
    }
}

/// Policy and critic as the settings want them: a tilt that is off goes, one that is on begins where there is none.
pub(super) fn fitted(
    settings: &LearnerSettings,
    policy: Policy,
    adam: Option<Adam>,
    decisions: u64,
) -> Result<(Policy, Option<Critic>), LearnerError> {
    if settings.tilt.is_off() {
        return Ok((policy.with_tilt(None)?, None));
    }
    let beta = settings.tilt.at(decisions) as f32;
    let tensors = match policy.tilt() {
        Some(tilt) => tilt.tensors().to_vec(),
        None => initial::critic(settings),
    };
    let tilt = Tilt::new(beta, tensors, settings.state_dimension, settings.head())?;
    // Moments without the values they belong to begin anew.
    let adam = adam.filter(|_| policy.tilt().is_some());
    let critic = Critic::new(settings, &tilt, adam);
    Ok((policy.with_tilt(Some(tilt))?, Some(critic)))
}

/// Gradients of the mean squared error, one for each tensor, and the error.
fn gradients(tilt: &Tilt, given: Option<&ItemVectors>, batch: &CriticBatch) -> (Vec<Option<Vec<f32>>>, f64) {
    let layers = tilt.layers();
    let mut sums: Vec<Vec<f32>> = tilt.tensors().iter().map(|tensor| vec![0.0; tensor.values.len()]).collect();
    let columns = batch.states.len() / batch.rows;
    let (mut hidden, mut to_hidden) = (vec![0.0_f32; CRITIC_WIDTH], vec![0.0_f32; CRITIC_WIDTH]);
    let mut loss = 0.0_f64;
    for (row, (&item, &target)) in batch.items.iter().zip(&batch.targets).enumerate() {
        let state = &batch.states[row * columns..(row + 1) * columns];
        let vector = given.map_or(&[][..], |given| given.row(item));
        hidden.copy_from_slice(layers.bias);
        add_inputs(&mut hidden, state, layers.weight);
        add_inputs(&mut hidden, vector, &layers.weight[columns * CRITIC_WIDTH..]);
        add(&mut hidden, layers.row(item));

        let error = layers.value(&hidden) - target;
        loss += f64::from(error) * f64::from(error);
        let scale = 2.0 * error / batch.rows as f32;
        let inputs = state.iter().chain(vector);
        let mut parts = sums.iter_mut();
        let (Some(to_weight), Some(to_bias), Some(to_output), Some(to_output_bias)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        for j in 0..CRITIC_WIDTH {
            // A NaN is no negative number: it goes on into the gradient, where it is seen.
            let is_off = hidden[j] <= 0.0;
            to_output[j] += if is_off { 0.0 } else { scale * hidden[j] };
            to_hidden[j] = if is_off { 0.0 } else { scale * layers.output[j] };
        }
        to_output_bias.iter_mut().for_each(|sum| *sum += scale);
        add(to_bias, &to_hidden);
        for (input, sums) in inputs.zip(to_weight.chunks_exact_mut(CRITIC_WIDTH)) {
            sums.iter_mut().zip(&to_hidden).for_each(|(sum, value)| *sum += input * value);
        }
        if let Some(to_items) = parts.next() {
            add(&mut to_items[item as usize * CRITIC_WIDTH..], &to_hidden);
        }
    }
    (sums.into_iter().map(Some).collect(), loss / batch.rows as f64)
}
