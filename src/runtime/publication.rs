//! From a sealed checkpoint to a policy that can be published.

use std::sync::Arc;

use super::beginning::Restored;
use super::content::{Content, Meta};
use crate::checkpoint::{Facts, Sequence};
use crate::evaluate::ESS_MIN;
use crate::event::Id;
use crate::policy::{Head, ItemVectors, Policy};
use crate::position::Position;
use crate::publish::{Draft, Evaluation, Lineage, PublishError, Serving, StateShape};
use crate::state::{Pooling, StateEncoder};

/// What a checkpoint says, by reference: a writer has it before it is read back.
pub struct Checkpointed<'a> {
    pub sequence: Sequence,
    pub facts: &'a Facts,
    pub content: &'a Content,
    pub meta: &'a Meta,
    pub policy: &'a [u8],
}

/// How a policy is published, as the settings say it.
#[derive(Debug, Clone)]
pub struct PublishPlan {
    pub encoder: Arc<StateEncoder>,
    /// Item vectors of a policy over a catalog.
    pub given: Option<Arc<ItemVectors>>,
    pub temperature: f64,
}

impl<'a> From<&'a Restored> for Checkpointed<'a> {
    fn from(restored: &'a Restored) -> Checkpointed<'a> {
        Checkpointed {
            sequence: restored.sealed.sequence,
            facts: &restored.sealed.manifest.facts,
            content: &restored.content,
            meta: &restored.meta,
            policy: &restored.learned.policy,
        }
    }
}

impl PublishPlan {
    pub fn draft(&self, checkpoint: &Checkpointed<'_>) -> Result<Draft, PublishError> {
        let Checkpointed { sequence, facts, content, meta, policy } = checkpoint;
        let policy = Policy::from_bytes(policy, self.given.clone()).map_err(PublishError::Policy)?;
        let items = self.items(&policy, content)?;
        let filter = &content.pipeline.filter;
        let range = meta.range.as_ref();
        let from: Option<Position> =
            range.map(|range| range.iter().map(|(partition, bounds)| (*partition, bounds.start)).collect());
        let tilt = policy.tilt().map_or(0.0, |tilt| f64::from(tilt.beta()));
        Ok(Draft {
            version: facts.counters.get("updates").copied().unwrap_or_default(),
            item_embeddings: self.item_embeddings(&policy, &items),
            policy,
            items,
            state: StateShape::of(&self.encoder),
            serving: Serving { temperature: self.temperature, tilt },
            lineage: Lineage {
                parent: None,
                checkpoint: sequence.0,
                digest: facts.digest.to_string(),
                platform: facts.platform.clone(),
                log: facts.log.name.clone(),
                offsets: Lineage::offsets(from.as_ref(), &facts.position),
                settings: facts.settings.clone(),
                kappa: filter.kappa(),
                threshold: filter.threshold,
                counters: facts.counters.clone(),
            },
            evaluation: evaluation(content),
        })
    }

    /// The ids of what the policy chooses among. A vocabulary may know more items than have been learned from.
    fn items(&self, policy: &Policy, content: &Content) -> Result<Vec<Id>, PublishError> {
        match policy.head() {
            Head::Gaussian { .. } => Ok(self.encoder.catalog.ids().to_vec()),
            Head::Learned { .. } | Head::Given { .. } => {
                let (ids, vectors) = (&content.pipeline.vocabulary.ids, policy.items());
                let named = ids.get(..vectors).ok_or(PublishError::Unnamed { vectors, names: ids.len() })?;
                Ok(named.to_vec())
            }
        }
    }

    fn item_embeddings(&self, policy: &Policy, items: &[Id]) -> Option<Vec<f32>> {
        let is_needed = matches!(policy.head(), Head::Gaussian { .. }) || self.encoder.pooling != Pooling::None;
        is_needed.then(|| items.iter().flat_map(|item| self.encoder.item_vector(item)).collect())
    }
}

/// What the policy would earn by step, from progressive validation. `None` while that rests on too little to compare
/// policies by. Not its likelihood: a filtered policy leaves the average behavior of the log behind on purpose.
fn evaluation(content: &Content) -> Option<Evaluation> {
    let figures = content.validation.summary().all;
    let value = figures.snips.filter(|_| figures.ess >= Some(ESS_MIN))?;
    Some(Evaluation { estimate: "snips".to_owned(), value, interval: figures.snips_interval, n: figures.steps })
}
