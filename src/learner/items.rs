//! Item vectors that come into being as the log shows new items, with the optimizer's moments beside them.

use super::adam::Adam;
use super::initial;
use crate::batch::Actions;
use crate::policy::{Head, Policy};

/// Gives the policy vectors for exactly so many items, where vectors are learned: new ones get their first value, and
/// those beyond are taken back.
pub fn fit(policy: &mut Policy, adam: &mut Adam, seed: u64, items: usize) {
    let Head::Learned { dimension } = policy.head() else { return };
    let before = policy.items();
    let Some(vectors) = policy.tensors_mut().last_mut() else { return };
    vectors.values.truncate(items * dimension);
    for item in before..items {
        vectors.values.extend(initial::item_vector(seed, item, dimension));
    }
    vectors.shape = vec![items, dimension];
    // The moments of item vectors are as long as the vectors are.
    for moments in [&mut adam.first, &mut adam.second] {
        if let Some(moments) = moments.last_mut() {
            moments.resize(items * dimension, 0.0);
        }
    }
}

/// Chosen items and candidates of all rows; none where actions are embeddings.
pub fn all(actions: &Actions) -> impl Iterator<Item = u32> {
    let (chosen, candidates) = match actions {
        Actions::Items { chosen, candidates } => (&chosen[..], &candidates[..]),
        Actions::Embeddings { .. } => (&[][..], &[][..]),
    };
    chosen.iter().chain(candidates.iter().flatten().flat_map(|set| set.iter())).copied()
}

/// One more than the greatest item number.
pub fn count(actions: &Actions) -> usize {
    all(actions).max().map_or(0, |item| item as usize + 1)
}
