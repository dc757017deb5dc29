//! What can go wrong with published policies, named by the attempt.

use std::path::PathBuf;

use thiserror::Error;

use crate::checkpoint;
use crate::exit::Exit;
use crate::policy::PolicyError;

#[derive(Debug, Error)]
pub enum PublishError {
    #[error(transparent)]
    Disk(#[from] checkpoint::Error),

    #[error("could not lock {}", path.display())]
    Lock { path: PathBuf, source: std::io::Error },

    #[error("there is no published policy in {}: it has neither `current` nor a manifest.json; \
        `sluicebox replay --publish` and `sluicebox publish` make one", path.display())]
    Nothing { path: PathBuf },

    #[error("the publication {} is torn or rotten: {flaw}; publish again, or roll back", path.display())]
    Broken { path: PathBuf, flaw: String },

    #[error("the publication {} was made by a newer version ({created_by}, format {format}): this one reads format {}",
        path.display(), super::FORMAT)]
    NewerFormat { path: PathBuf, format: u32, created_by: String },

    #[error("could not write the policy as safetensors")]
    Tensors(#[source] safetensors::SafeTensorError),

    #[error("could not encode the manifest")]
    Manifest(#[source] serde_json::Error),

    #[error("the policy cannot be published")]
    Policy(#[source] PolicyError),

    #[error("the policy has vectors for {vectors} items, but {names} of them have a name")]
    Unnamed { vectors: usize, names: usize },

    #[error("there is no publication {name} in {} to roll back to{}", directory.display(), listed(.known))]
    NoSuch { name: String, directory: PathBuf, known: Vec<String> },

    #[error("the current publication in {} has no parent to roll back to; --to names one{}",
        directory.display(), listed(.known))]
    NoParent { directory: PathBuf, known: Vec<String> },

    #[error("the current publication {} is broken, so its parent is not known; --to names what to go back to{}",
        path.display(), listed(.known))]
    ParentUnknown { path: PathBuf, known: Vec<String> },

    #[error("{} already holds something else: export into a directory that is new or empty", path.display())]
    Taken { path: PathBuf },
}

impl PublishError {
    pub fn exit(&self) -> Exit {
        match self {
            PublishError::Disk(error) => Exit::from_code(error.exit_code()),
            PublishError::Lock { .. } => Exit::Io,
            PublishError::Nothing { .. } | PublishError::Broken { .. } | PublishError::NewerFormat { .. } => Exit::Data,
            PublishError::Tensors(_) | PublishError::Manifest(_) | PublishError::Policy(_) => Exit::Bug,
            PublishError::Unnamed { .. } => Exit::Bug,
            PublishError::ParentUnknown { .. } => Exit::Data,
            PublishError::NoSuch { .. } | PublishError::NoParent { .. } | PublishError::Taken { .. } => Exit::Config,
        }
    }
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; there are {}", known.join(", ")) }
}
