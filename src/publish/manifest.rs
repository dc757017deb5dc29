//! The manifest of a publication: what the policy is, how to use it and where it comes from, for people and programs.
//!
//! Its last field is the BLAKE3 hash of the whole file with these digits written as zeros, as in the manifest of a
//! checkpoint.

use serde::{Deserialize, Serialize};

use super::{Draft, Evaluation, Lineage, PublishError, Serving, StateShape};
use crate::checkpoint::{Checksum, blank_checksum, checksum_holds, with_checksum};
use crate::event::Id;
use crate::policy::{Head, Policy};

/// The format that this program writes, and the only one so far.
pub const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// Count of applied updates.
    pub version: u64,
    pub created_by: String,
    /// BLAKE3 over all that decides what is recommended: two publications with the same content serve the same.
    pub content: Checksum,
    pub policy: PolicyShape,
    pub state: StateShape,
    pub serving: Serving,
    pub lineage: Lineage,
    pub evaluation: Option<Evaluation>,
    /// Item ids by number.
    pub items: Vec<Id>,
    // Last, where the checksum rule looks for it.
    checksum: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyShape {
    pub kind: Kind,
    pub state_dimension: usize,
    /// Widths of the hidden layers, ReLU after each.
    pub hidden: Vec<usize>,
    /// Whether the catalog gave the vectors that a softmax policy scores.
    pub item_vectors_given: bool,
    /// Length of the trunk's output: the mean of a Gaussian policy, the query of a softmax policy.
    pub dimension: usize,
    pub file: String,
    pub bytes: u64,
    pub blake3: Checksum,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Gaussian,
    Softmax,
}

/// The fields that every format has.
#[derive(Deserialize)]
struct Origin {
    format: u32,
    created_by: String,
}

/// What became of the bytes of a manifest.
pub(super) enum Reading {
    Good(Box<Manifest>),
    Newer { format: u32, created_by: String },
    Flawed(String),
}

impl Manifest {
    /// The manifest of a draft whose tensors are written as `policy`.
    pub(super) fn of(draft: &Draft, policy: &[u8]) -> Result<Manifest, PublishError> {
        let (state, serving) = (draft.state.clone(), draft.serving);
        let described = serde_json::to_vec(&(&state, serving, &draft.items)).map_err(PublishError::Manifest)?;
        Ok(Manifest {
            format: FORMAT,
            version: draft.version,
            created_by: format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")),
            content: Checksum::of(&[policy, &described].concat()),
            policy: PolicyShape::of(&draft.policy, policy),
            state,
            serving,
            lineage: draft.lineage.clone(),
            evaluation: draft.evaluation.clone(),
            items: draft.items.clone(),
            checksum: String::new(),
        })
    }

    pub(super) fn encode(&mut self) -> Result<Vec<u8>, PublishError> {
        self.checksum = blank_checksum();
        let blank = serde_json::to_string_pretty(self).map_err(PublishError::Manifest)? + "\n";
        let (file, checksum) = with_checksum(blank);
        self.checksum = checksum;
        Ok(file)
    }

    pub(super) fn decode(file: &[u8]) -> Reading {
        if !checksum_holds(file) {
            return Reading::Flawed("the checksum of its manifest is wrong".to_owned());
        }
        match serde_json::from_slice::<Origin>(file) {
            Ok(Origin { format, created_by }) if format > FORMAT => return Reading::Newer { format, created_by },
            Ok(_) => {}
            Err(error) => return Reading::Flawed(format!("its manifest makes no sense: {error}")),
        }
        match serde_json::from_slice(file) {
            Ok(manifest) => Reading::Good(Box::new(manifest)),
            Err(error) => Reading::Flawed(format!("its manifest makes no sense: {error}")),
        }
    }
}

impl PolicyShape {
    fn of(policy: &Policy, file: &[u8]) -> PolicyShape {
        let widths = policy.trunk().iter().filter(|tensor| tensor.shape.len() == 1).map(|bias| bias.values.len());
        let mut hidden: Vec<usize> = widths.collect();
        let dimension = hidden.pop().unwrap_or_default();
        PolicyShape {
            kind: match policy.head() {
                Head::Gaussian { .. } => Kind::Gaussian,
                Head::Learned { .. } | Head::Given { .. } => Kind::Softmax,
            },
            item_vectors_given: matches!(policy.head(), Head::Given { .. }),
            state_dimension: policy.state_dimension(),
            hidden,
            dimension,
            file: super::POLICY.to_owned(),
            bytes: file.len() as u64,
            blake3: Checksum::of(file),
        }
    }

    pub(super) fn head(&self) -> Head {
        let dimension = self.dimension;
        match (self.kind, self.item_vectors_given) {
            (Kind::Gaussian, _) => Head::Gaussian { dimension },
            (Kind::Softmax, true) => Head::Given { dimension },
            (Kind::Softmax, false) => Head::Learned { dimension },
        }
    }
}
