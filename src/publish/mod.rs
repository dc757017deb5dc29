//! Published policies: what leaves the learner, in files that others can read.
//!
//! ```text
//! <publish.dir>/
//!   lock                      held while something is published or rolled back
//!   current -> <name>         the policy to serve; replaced in one step
//!   held                      after a rollback: `run` publishes no more until a person does
//!   <version>/                policy.safetensors, manifest.json
//!   <version>-<content>/      the same version with other content: another learner, or another temperature
//!   draft-<name>/             being written, or left by a crash
//! ```
//!
//! A publication is made from a sealed checkpoint only, so nothing is ever served that a crash could take back. Its
//! version is the count of applied updates. Publishing the same content again changes nothing. The names are durable
//! before `current` points to them, and every byte is covered by a checksum: what is torn or rotten is refused.
//!
//! Invariant: this module knows what a policy is and how it is kept, but not how it is learned or asked.

mod error;
mod gate;
mod manifest;
mod store;
mod tensors;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::error::PublishError;
pub use self::gate::Gate;
pub use self::manifest::{FORMAT, Manifest, PolicyShape};
pub use self::store::{MANIFEST, Outcome, POLICY, Publications, Published, read, resolve, write_to};
use crate::checkpoint::SettingsDigests;
use crate::event::Id;
use crate::policy::Policy;
use crate::position::{Partition, Position};
use crate::state::{Pooling, StateEncoder};

/// A policy on its way out.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Count of applied updates.
    pub version: u64,
    pub policy: Policy,
    /// Ids by number: what the policy chooses among.
    pub items: Vec<Id>,
    /// `[items, item dimension]`: the vectors that stand for the items in the history, or that a Gaussian policy
    /// chooses among. `None` where neither is asked for.
    pub item_embeddings: Option<Vec<f32>>,
    pub state: StateShape,
    pub serving: Serving,
    pub lineage: Lineage,
    pub evaluation: Option<Evaluation>,
}

/// A policy as it was published, checked to the last byte.
#[derive(Debug, Clone)]
pub struct Publication {
    pub manifest: Manifest,
    pub policy: Policy,
    pub item_embeddings: Option<Vec<f32>>,
}

/// How state vectors are built: `[context | pooled vectors of the session's last items]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateShape {
    /// Length of the state vector.
    pub dimension: usize,
    pub context_dimension: usize,
    pub history: History,
    /// Length of the vectors that stand for items.
    pub item_dimension: usize,
    pub item_vectors: ItemVectors,
}

/// Weights `decay^age` over the last `length` items, summing to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct History {
    pub length: usize,
    pub decay: f32,
}

/// Where the vectors of items come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemVectors {
    /// The catalog with this BLAKE3; an item that it does not know counts as zeros.
    Catalog(String),
    /// Signs by XXH3 of the id, over the root of the dimension.
    Hashed,
}

/// softmax(preference / temperature), the preference being log pi + tilt * critic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    pub temperature: f64,
    /// beta; 0: the policy alone.
    pub tilt: f64,
}

/// Where a policy comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// What was current before.
    pub parent: Option<Parent>,
    /// The checkpoint from which it was taken, and the digest of the whole state.
    pub checkpoint: u64,
    pub digest: String,
    pub platform: String,
    pub log: String,
    /// What was learned from: `[from, to)` of every partition.
    pub offsets: BTreeMap<Partition, OffsetRange>,
    pub settings: SettingsDigests,
    pub kappa: f64,
    pub threshold: Option<f32>,
    /// Conserved counts of the checkpoint.
    pub counters: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRange {
    /// `None`: from wherever the topic began when the learner first started.
    pub from: Option<u64>,
    pub to: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    pub name: String,
    pub version: u64,
}

/// What the log says about the policy, measured before it was trained on what it was measured by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The name of the estimate, such as `snips`. Only estimates of one name are compared.
    pub estimate: String,
    pub value: f64,
    pub interval: Option<[f64; 2]>,
    /// Steps or sessions that it rests on.
    pub n: u64,
}

impl Evaluation {
    /// The interval, or the value alone.
    fn range(&self) -> [f64; 2] {
        self.interval.unwrap_or([self.value; 2])
    }
}

impl StateShape {
    pub fn of(encoder: &StateEncoder) -> StateShape {
        let history = match encoder.pooling {
            Pooling::None => History { length: 0, decay: 1.0 },
            Pooling::Mean { length } => History { length, decay: 1.0 },
            Pooling::Decay { length, decay } => History { length, decay },
        };
        let item_vectors = match encoder.catalog.dimension() {
            0 => ItemVectors::Hashed,
            _ => ItemVectors::Catalog(blake3::Hash::from_bytes(encoder.catalog.fingerprint()).to_hex().to_string()),
        };
        StateShape {
            dimension: encoder.dimension(),
            context_dimension: encoder.context_dimension,
            history,
            item_dimension: encoder.item_dimension(),
            item_vectors,
        }
    }

    /// The names of the settings in which `other` builds state vectors differently.
    pub fn differences(&self, other: &StateShape) -> Vec<&'static str> {
        let mut names = Vec::new();
        if self.context_dimension != other.context_dimension {
            names.push("mapping.context_dimension");
        }
        if self.history != other.history {
            names.push("state.history");
        }
        // Where no item is looked at, it does not matter what would stand for one.
        if self.history.length > 0 || other.history.length > 0 {
            if self.item_dimension != other.item_dimension {
                names.push("state.item_dimension");
            }
            if self.item_vectors != other.item_vectors {
                names.push("catalog.file");
            }
        }
        names
    }
}

#[cfg(any(test, fuzzing))]
impl Draft {
    /// A policy that comes from nowhere, for those that only ask or keep it.
    pub(crate) fn of_nobody(policy: Policy, items: &[&str], encoder: &StateEncoder) -> Draft {
        Draft {
            version: 7,
            policy,
            items: items.iter().copied().map(Id::from).collect(),
            item_embeddings: None,
            state: StateShape::of(encoder),
            serving: Serving { temperature: 1.0, tilt: 0.0 },
            lineage: Lineage {
                parent: None,
                checkpoint: 7,
                digest: String::new(),
                platform: String::new(),
                log: String::new(),
                offsets: BTreeMap::new(),
                settings: SettingsDigests::default(),
                kappa: 0.1,
                threshold: Some(1.5),
                counters: BTreeMap::new(),
            },
            evaluation: None,
        }
    }
}

impl Lineage {
    /// The offsets that lie between two positions.
    pub fn offsets(from: Option<&Position>, to: &Position) -> BTreeMap<Partition, OffsetRange> {
        let start = |partition| from.and_then(|from| from.get(partition)).map(|next| next.raw());
        to.iter()
            .map(|(partition, next)| (*partition, OffsetRange { from: start(partition), to: next.raw() }))
            .collect()
    }
}
