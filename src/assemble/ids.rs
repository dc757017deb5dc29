//! The ids of the events that a session has taken: an event that comes again is a duplicate.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::Fingerprint;

/// A sorted set. A few ids lie side by side, where a new one moves those behind it; many are a tree, where it does not.
#[derive(Debug, Clone)]
pub(crate) enum Ids {
    Few(Vec<Fingerprint>),
    Many(BTreeSet<Fingerprint>),
}

const FEW: usize = 64;

impl Ids {
    pub(crate) fn len(&self) -> usize {
        match self {
            Ids::Few(ids) => ids.len(),
            Ids::Many(ids) => ids.len(),
        }
    }

    pub(crate) fn contains(&self, id: Fingerprint) -> bool {
        match self {
            Ids::Few(ids) => ids.binary_search(&id).is_ok(),
            Ids::Many(ids) => ids.contains(&id),
        }
    }

    /// False if it was there before.
    pub(crate) fn insert(&mut self, id: Fingerprint) -> bool {
        match self {
            Ids::Few(ids) => {
                let Err(at) = ids.binary_search(&id) else { return false };
                if ids.len() < FEW {
                    ids.insert(at, id);
                } else {
                    *self = Ids::Many(ids.iter().copied().chain([id]).collect());
                }
                true
            }
            Ids::Many(ids) => ids.insert(id),
        }
    }
}

impl FromIterator<Fingerprint> for Ids {
    fn from_iter<I: IntoIterator<Item = Fingerprint>>(ids: I) -> Ids {
        let mut set = Ids::Few(Vec::new());
        ids.into_iter().for_each(|id| {
            set.insert(id);
        });
        set
    }
}

/// Ascending, however they are kept.
impl Serialize for Ids {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Ids::Few(ids) => ids.serialize(serializer),
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
            assert_eq!(ids.insert(id), model.insert(id));
            assert_eq!(ids.len(), model.len());
            let bytes = postcard::to_stdvec(&ids).unwrap();
            assert_eq!(bytes, postcard::to_stdvec(&model).unwrap());
            let back: Ids = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(postcard::to_stdvec(&back).unwrap(), bytes);
        }
        assert!(matches!(ids, Ids::Many(_)));
    }
}
