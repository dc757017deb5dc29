//! The tensors of a policy as a safetensors file, and back.
//!
//! Names are those of the policy: `layer.<i>.weight` `[in, out]` and `layer.<i>.bias` `[out]`, `log_sigma` or
//! `item_vectors`; beside them `item_embeddings` `[items, item dimension]`, and the critic of a
//! tilted policy (`critic.*`). All are f32, little-endian, row-major.

use std::sync::Arc;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Draft, Manifest, PublishError};
use crate::policy::{
    CRITIC_TENSORS, Head, ITEM_VECTORS, ItemVectors, LOG_SIGMA, Policy, Tensor, Tilt, bias_name, weight_name,
};

const ITEM_EMBEDDINGS: &str = "item_embeddings";

/// The bytes depend on the tensors alone.
pub fn encode(draft: &Draft) -> Result<Vec<u8>, PublishError> {
    let policy = &draft.policy;
    let mut tensors: Vec<(&str, Vec<usize>, Vec<u8>)> = policy
        .tensors()
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.shape.clone(), to_bytes(&tensor.values)))
        .collect();
    let critic = policy.tilt().map(|tilt| tilt.tensors()).unwrap_or_default();
    tensors.extend(critic.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.clone(), to_bytes(&tensor.values))));
    if let Head::Given { dimension } = policy.head() {
        tensors.push((ITEM_VECTORS, vec![policy.items(), dimension], to_bytes(policy.item_vectors())));
    }
    if let Some(embeddings) = &draft.item_embeddings {
        let shape = vec![draft.items.len(), draft.state.item_dimension];
        tensors.push((ITEM_EMBEDDINGS, shape, to_bytes(embeddings)));
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (*name, view)).map_err(PublishError::Tensors)
    });
    safetensors::serialize(views.collect::<Result<Vec<_>, _>>()?, None).map_err(PublishError::Tensors)
}

/// The policy and the item embeddings that the manifest describes; what is wrong otherwise.
pub fn decode(file: &[u8], manifest: &Manifest) -> Result<(Policy, Option<Vec<f32>>), String> {
    let tensors = SafeTensors::deserialize(file).map_err(|error| error.to_string())?;
    let shape = &manifest.policy;
    let names = (0..=shape.hidden.len()).flat_map(|layer| [weight_name(layer), bias_name(layer)]);
    let mut named: Vec<Tensor> = names.map(|name| tensor(&tensors, &name)).collect::<Result<_, _>>()?;
    let given = match shape.head() {
        Head::Gaussian { .. } => {
            named.push(tensor(&tensors, LOG_SIGMA)?);
            None
        }
        Head::Learned { .. } => {
            named.push(tensor(&tensors, ITEM_VECTORS)?);
            None
        }
        Head::Given { dimension } => {
            let vectors = ItemVectors::new(dimension, tensor(&tensors, ITEM_VECTORS)?.values);
            Some(Arc::new(vectors.ok_or_else(|| format!("{ITEM_VECTORS} are not whole"))?))
        }
    };
    let policy = Policy::new(shape.state_dimension, shape.head(), named, given).map_err(|error| error.to_string())?;
    let policy = policy.with_tilt(tilt(&tensors, manifest)?).map_err(|error| error.to_string())?;
    if !matches!(policy.head(), Head::Gaussian { .. }) && policy.items() != manifest.items.len() {
        return Err(format!("it has vectors for {} items and names for {}", policy.items(), manifest.items.len()));
    }
    if policy.state_dimension() != manifest.state.dimension {
        return Err("the policy takes other states than the manifest describes".to_owned());
    }
    let embeddings = match tensors.names().contains(&ITEM_EMBEDDINGS) {
        true => Some(tensor(&tensors, ITEM_EMBEDDINGS)?),
        false => None,
    };
    if let Some(embeddings) = &embeddings
        && embeddings.shape != [manifest.items.len(), manifest.state.item_dimension]
    {
        return Err(format!("{ITEM_EMBEDDINGS} has the shape {:?}", embeddings.shape));
    }
    Ok((policy, embeddings.map(|tensor| tensor.values)))
}

/// The critic, if one was published, in the order in which a policy keeps its arrays.
fn tilt(tensors: &SafeTensors<'_>, manifest: &Manifest) -> Result<Option<Tilt>, String> {
    let names = tensors.names();
    let own = CRITIC_TENSORS.iter().filter(|name| names.contains(name));
    let critic: Vec<Tensor> = own.map(|name| tensor(tensors, name)).collect::<Result<_, _>>()?;
    if critic.is_empty() {
        return Ok(None);
    }
    let (shape, beta) = (&manifest.policy, manifest.serving.tilt as f32);
    Tilt::new(beta, critic, shape.state_dimension, shape.head()).map(Some).map_err(|error| error.to_string())
}

fn tensor(tensors: &SafeTensors<'_>, name: &str) -> Result<Tensor, String> {
    let view = tensors.tensor(name).map_err(|error| format!("tensor {name}: {error}"))?;
    if view.dtype() != Dtype::F32 {
        return Err(format!("tensor {name} is not f32"));
    }
    let (words, _) = view.data().as_chunks::<4>();
    Ok(Tensor::new(name, view.shape().to_vec(), words.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
}

fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
