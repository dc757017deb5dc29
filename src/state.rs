//! The state vector of a step: what the policy may look at when it chooses.
//!
//! `[context features | pooled embeddings of the session's last items]`. Training and serving call the same function,
//! so a policy never meets a vector that was built in another way than those it learned from.

use std::sync::Arc;

use pulp::Arch;

use crate::catalog::Catalog;
use crate::trajectory::{Step, Steps};

/// How the items that a session has already shown become part of the state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pooling {
    None,
    /// Plain mean over the last `length` items.
    Mean {
        length: usize,
    },
    /// Weights `decay^age` over the last `length` items, summing to 1; the newest has age 0.
    Decay {
        length: usize,
        decay: f32,
    },
}

/// The state vectors of a trajectory's steps, in the order of the steps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct States {
    /// `[steps, dimension]`, row-major.
    values: Vec<f32>,
    dimension: usize,
}

impl States {
    pub fn get(&self, step: usize) -> Option<&[f32]> {
        self.values.get(step * self.dimension..(step + 1) * self.dimension)
    }

    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimension.max(1))
    }
}

/// Builds state vectors; also the one place that says what embedding an item has.
#[derive(Debug, Clone)]
pub struct StateEncoder {
    pub context_dimension: usize,
    pub pooling: Pooling,
    /// Dimension of the vectors that stand for items without an embedding; used when the catalog has none.
    pub hashed_dimension: usize,
    pub catalog: Arc<Catalog>,
}

impl StateEncoder {
    /// Length of every state vector. Never 0: without any feature the state is the constant 1.
    pub fn dimension(&self) -> usize {
        (self.context_dimension + self.history_dimension()).max(1)
    }

    pub fn item_dimension(&self) -> usize {
        match self.catalog.dimension() {
            0 => self.hashed_dimension,
            dimension => dimension,
        }
    }

    fn history_dimension(&self) -> usize {
        match self.pooling {
            Pooling::None => 0,
            Pooling::Mean { .. } | Pooling::Decay { .. } => self.item_dimension(),
        }
    }

    /// How many earlier items of a session the state looks at.
    pub fn history_length(&self) -> usize {
        match self.pooling {
            Pooling::None => 0,
            Pooling::Mean { length } | Pooling::Decay { length, .. } => length,
        }
    }

    /// The state in which `steps[index]` was decided: its context, and the items of the steps before it.
    pub fn encode(&self, steps: &Steps, index: usize) -> Vec<f32> {
        let earlier: Vec<Shown<'_>> = match self.pooling {
            Pooling::None => Vec::new(),
            Pooling::Mean { .. } | Pooling::Decay { .. } => {
                steps[..index.min(steps.len())].iter().map(|step| self.shown(step)).collect()
            }
        };
        let mut state = Vec::with_capacity(self.dimension());
        self.append(steps.context(index), &earlier, &mut state);
        state
    }

    /// The states of all steps, in the place of what `states` held; the same as [`StateEncoder::encode`] one by one, but
    /// every item is looked up once.
    pub fn encode_all(&self, steps: &Steps, states: &mut States) {
        let shown: Vec<Shown<'_>> = steps.iter().map(|step| self.shown(step)).collect();
        states.dimension = self.dimension();
        states.values.clear();
        states.values.reserve(steps.len() * states.dimension);
        for index in 0..steps.len() {
            self.append(steps.context(index), &shown[..index], &mut states.values);
        }
    }

    fn append(&self, context: &[f32], earlier: &[Shown<'_>], into: &mut Vec<f32>) {
        let start = into.len();
        into.extend_from_slice(context);
        let history = start + self.context_dimension;
        into.resize(history + self.history_dimension(), 0.0);
        let (length, decay) = match self.pooling {
            Pooling::None => (0, 1.0),
            Pooling::Mean { length } => (length, 1.0),
            Pooling::Decay { length, decay } => (length, decay),
        };
        Arch::new().dispatch(|| pool(earlier, length, decay, &mut into[history..]));
        if into.len() == start {
            into.push(1.0);
        }
    }

    /// The vector that stands for an item in the history.
    pub fn item_vector(&self, item: &str) -> Vec<f32> {
        let mut vector = vec![0.0; self.item_dimension()];
        match self.catalog.embedding(item) {
            Some(embedding) => vector.copy_from_slice(embedding),
            None if self.catalog.dimension() == 0 => add_hashed(item, 1.0, &mut vector),
            None => {}
        }
        vector
    }

    /// The vector that stands for what a step showed.
    fn shown<'a>(&'a self, step: &'a Step) -> Shown<'a> {
        let own = step.decision.embedding.as_deref();
        match own.or_else(|| self.catalog.embedding(&step.decision.item)) {
            Some(embedding) => Shown::Embedding(embedding),
            None if self.catalog.dimension() == 0 => Shown::Hashed(&step.decision.item),
            // An item that a catalog with embeddings does not know says nothing.
            None => Shown::Nothing,
        }
    }
}

/// What a step showed, as far as a policy can know it.
#[derive(Debug, Clone, Copy)]
enum Shown<'a> {
    Embedding(&'a [f32]),
    Hashed(&'a str),
    Nothing,
}

/// Inlined into code for the widest registers there are: every sum keeps its order, so the bits are the same on all.
#[inline(always)]
fn pool(earlier: &[Shown<'_>], length: usize, decay: f32, sum: &mut [f32]) {
    let (mut weight, mut total) = (1.0f32, 0.0f32);
    for shown in earlier.iter().rev().take(length) {
        match shown {
            Shown::Embedding(embedding) => {
                sum.iter_mut().zip(*embedding).for_each(|(total, value)| *total += weight * value);
            }
            Shown::Hashed(item) => add_hashed(item, weight, sum),
            Shown::Nothing => {}
        }
        total += weight;
        weight *= decay;
    }
    if total > 0.0 {
        sum.iter_mut().for_each(|value| *value /= total);
    }
}

/// A fixed vector of signs over sqrt(dimension) for an item of which only the id is known: ids become nearly orthogonal
/// unit vectors (random projection), without any state to learn or to keep.
fn add_hashed(item: &str, weight: f32, sum: &mut [f32]) {
    let unit = weight / (sum.len().max(1) as f32).sqrt();
    for (block, values) in (0u64..).zip(sum.chunks_mut(64)) {
        let bits = xxhash_rust::xxh3::xxh3_64_with_seed(item.as_bytes(), block);
        for (bit, value) in values.iter_mut().enumerate() {
            *value += if bits >> bit & 1 == 1 { unit } else { -unit };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Decision;
    use crate::position::{Offset, Place};
    use crate::time::EventTime;

    fn step(item: &str, context: &[f32]) -> Step {
        let decision = Decision {
            id: None,
            item: item.into(),
            embedding: None,
            context: context.into(),
            candidates: None,
            propensity: None,
            position: None,
            reward: 0.0,
        };
        let place = Place { offset: Offset::from_count(0), index: 0 };
        Step { time: EventTime::FIRST, place, decision, reward: 0.0 }
    }

    fn encoder(pooling: Pooling) -> StateEncoder {
        let items = [("a".to_owned(), vec![1.0, 0.0]), ("b".to_owned(), vec![0.0, 1.0])];
        let catalog = Arc::new(Catalog::from_items(items).unwrap());
        StateEncoder { context_dimension: 1, pooling, hashed_dimension: 8, catalog }
    }

    #[test]
    fn the_state_holds_the_context_and_only_items_shown_before() {
        let steps = [step("a", &[7.0]), step("b", &[8.0]), step("unknown", &[9.0]), step("a", &[10.0])];
        let (steps, others) = (Steps::from_iter(steps.clone()), Steps::from_iter(steps.into_iter().skip(1)));
        let mean = encoder(Pooling::Mean { length: 2 });
        assert_eq!(mean.encode(&steps, 0), [7.0, 0.0, 0.0]);
        assert_eq!(mean.encode(&steps, 2), [9.0, 0.5, 0.5]);
        assert_eq!(mean.encode(&steps, 3), [10.0, 0.0, 0.5]);
        let decay = encoder(Pooling::Decay { length: 9, decay: 0.5 });
        assert_eq!(decay.encode(&steps, 2), [9.0, 1.0 / 3.0, 2.0 / 3.0]);
        for encoder in [&mean, &decay, &encoder(Pooling::None)] {
            let one_by_one: Vec<_> = (0..steps.len()).map(|index| encoder.encode(&steps, index)).collect();
            let mut states = States::default();
            encoder.encode_all(&others, &mut states);
            encoder.encode_all(&steps, &mut states);
            assert!(states.iter().eq(&one_by_one));
            assert_eq!((states.get(3), states.get(4)), (one_by_one.get(3).map(Vec::as_slice), None));
        }
    }

    #[test]
    fn ids_without_embeddings_become_fixed_unit_vectors() {
        let mut encoder = encoder(Pooling::Mean { length: 1 });
        encoder.catalog = Arc::new(Catalog::default());
        let steps = Steps::from_iter([step("x", &[0.0]), step("y", &[0.0]), step("x", &[0.0])]);
        let (after_x, after_y) = (encoder.encode(&steps, 1), encoder.encode(&steps, 2));
        assert_eq!(after_x.len(), 9);
        assert!((after_x.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-6);
        assert_ne!(after_x, after_y);
    }

    #[test]
    fn without_any_feature_the_state_is_a_constant() {
        let mut encoder = encoder(Pooling::None);
        encoder.context_dimension = 0;
        assert_eq!((encoder.dimension(), encoder.encode(&Steps::from_iter([step("a", &[])]), 0)), (1, vec![1.0]));
    }
}
