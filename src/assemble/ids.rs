//! The ids of the events that a session has taken: an event that comes again is a duplicate.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::Fingerprint;

/// A few ids lie in the order of their arrival, and are looked through; many are a tree.
#[derive(Debug, Clone)]
pub(crate) enum Ids {
    Few {
        ids: Vec<Fingerprint>,
        /// One bit of each id: most new ones have a bit of their own, and then none of the others is read.
        mask: u128,
    },
    Many(BTreeSet<Fingerprint>),
}

const FEW: usize = 64;

fn bit(id: Fingerprint) -> u128 {
    1 << (id.0 % u128::BITS as u128)
}

impl Ids {
    pub(crate) fn len(&self) -> usize {
        match self {
            Ids::Few { ids, .. } => ids.len(),
            Ids::Many(ids) => ids.len(),
        }
    }

    pub(crate) fn contains(&self, id: Fingerprint) -> bool {
        match self {
            Ids::Few { ids, mask } => mask & bit(id) != 0 && ids.contains(&id),
            Ids::Many(ids) => ids.contains(&id),
        }
    }

    /// Adds an id that it does not contain.
    pub(crate) fn insert(&mut self, id: Fingerprint) {
        match self {
            Ids::Few { ids, mask } if ids.len() < FEW => {
                ids.push(id);
                *mask |= bit(id);
            }
            Ids::Few { ids, .. } => *self = Ids::Many(ids.iter().copied().chain([id]).collect()),
            Ids::Many(ids) => drop(ids.insert(id)),
        }
    }
}

impl FromIterator<Fingerprint> for Ids {
    fn from_iter<I: IntoIterator<Item = Fingerprint>>(ids: I) -> Ids {
        let ids: BTreeSet<Fingerprint> = ids.into_iter().collect();
        if ids.len() > FEW {
            return Ids::Many(ids);
        }
        let mask = ids.iter().fold(0, |mask, id| mask | bit(*id));
        Ids::Few { ids: ids.into_iter().collect(), mask }
    }
}

/// Ascending, however they are kept.
impl Serialize for Ids {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Ids::Few { ids, .. } => {
                let mut ids = ids.clone();
                ids.sort_unstable();
                ids.serialize(serializer)
            }
            Ids::Many(ids) => ids.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ids, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_are_one_sorted_set_in_the_state() {
        let (mut ids, mut model) = (Ids::from_iter([]), BTreeSet::new());
        for number in 0..4 * FEW as u128 {
            // Every value comes twice, in no order.
            let id = Fingerprint(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (2 * FEW as u128));
            assert_eq!(ids.contains(id), model.contains(&id));
            if model.insert(id) {
                ids.insert(id);
            }
            assert_eq!(ids.len(), model.len());
            let bytes = postcard::to_stdvec(&ids).unwrap();
            assert_eq!(bytes, postcard::to_stdvec(&model).unwrap());
            let back: Ids = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(postcard::to_stdvec(&back).unwrap(), bytes);
            assert!(model.iter().all(|id| back.contains(*id)), "what came back knows its ids");
        }
        assert!(matches!(ids, Ids::Many(_)));
    }
}
