//! The trunk's forward and backward pass, and matrix products: the only lines that touch burn.
//!
//! The parameters live in plain vectors and are handed to burn for one pass. So nothing of burn is ever state: no
//! parameter ids, no lazily drawn weights, no optimizer records. The copy costs a hundredth of the pass.
//!
//! burn's flex backend divides large products among the surrounding rayon pool, so updates run in a pool of our own: the
//! size of the process-wide one, whoever starts it, neither slows the learner down nor matters to it.

use std::sync::Arc;

use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor as BurnTensor, TensorData};

use crate::policy::Tensor;

/// Where passes run.
pub struct Network {
    plain: Device,
    tracked: Device,
    pool: Arc<rayon::ThreadPool>,
}

/// A dense matrix that remembers no history.
pub struct Matrix(BurnTensor<2>);

impl Network {
    pub fn new(threads: usize) -> Result<Network, rayon::ThreadPoolBuildError> {
        let pool =
            rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|_| "learner-pool".to_string()).build()?;
        Ok(Network { plain: Device::flex(), tracked: Device::flex().autodiff(), pool: Arc::new(pool) })
    }

    /// Where the learner computes.
    pub fn pool(&self) -> Arc<rayon::ThreadPool> {
        Arc::clone(&self.pool)
    }

    pub fn matrix(&self, values: Vec<f32>, rows: usize, columns: usize) -> Matrix {
        Matrix(BurnTensor::from_data(TensorData::new(values, [rows, columns]), &self.plain))
    }

    /// Gradients of a loss with respect to the trunk's tensors, in their order. `head` receives the trunk's output
    /// `[rows, out]` and returns the loss's gradient with respect to it; the loss itself never enters the graph.
    /// `states` is `[rows, in]` and must fit the first weight.
    pub fn gradients(
        &self,
        trunk: &[Tensor],
        states: Vec<f32>,
        rows: usize,
        head: impl FnOnce(&[f32]) -> Vec<f32>,
    ) -> Vec<Vec<f32>> {
        let (layers, _) = trunk.as_chunks::<2>();
        let parameters: Vec<(BurnTensor<2>, BurnTensor<1>)> = layers
            .iter()
            .map(|[weight, bias]| {
                let shape = [weight.shape[0], weight.shape[1]];
                let weight = BurnTensor::from_data(TensorData::new(weight.values.clone(), shape), &self.tracked);
                let bias = TensorData::new(bias.values.clone(), [bias.values.len()]);
                (weight.require_grad(), BurnTensor::from_data(bias, &self.tracked).require_grad())
            })
            .collect();

        let columns = states.len() / rows;
        let mut current = BurnTensor::<2>::from_data(TensorData::new(states, [rows, columns]), &self.tracked);
        for (index, (weight, bias)) in parameters.iter().enumerate() {
            current = current.matmul(weight.clone()) + bias.clone().unsqueeze();
            if index + 1 < parameters.len() {
                current = relu(current);
            }
        }

        let output_columns = current.dims()[1];
        let output = values_of(current.clone().inner());
        // d(sum(z * c))/dz = c: a surrogate whose backward pass starts from a gradient that was computed elsewhere.
        let gradient = TensorData::new(head(&output), [rows, output_columns]);
        let surrogate = (current * BurnTensor::from_data(gradient, &self.tracked)).sum();
        let mut gradients = surrogate.backward();
        parameters
            .into_iter()
            .flat_map(|(weight, bias)| {
                // Every parameter takes part in the output, so its gradient exists; a missing one would be no change.
                let weight_gradient = weight.grad_remove(&mut gradients);
                let bias_gradient = bias.grad_remove(&mut gradients);
                let zeros = |count: usize| vec![0.0; count];
                [
                    weight_gradient.map_or_else(|| zeros(weight.shape().num_elements()), values_of),
                    bias_gradient.map_or_else(|| zeros(bias.shape().num_elements()), values_of),
                ]
            })
            .collect()
    }
}

impl Matrix {
    pub fn times(&self, other: &Matrix) -> Matrix {
        Matrix(self.0.clone().matmul(other.0.clone()))
    }

    /// A view: nothing is copied.
    pub fn transposed(&self) -> Matrix {
        Matrix(self.0.clone().transpose())
    }

    /// Row-major.
    pub fn into_values(self) -> Vec<f32> {
        values_of(self.0)
    }
}

fn values_of<const D: usize>(tensor: BurnTensor<D>) -> Vec<f32> {
    let data = tensor.into_data();
    // The backend computes in f32 only; anything else would show as a refused update, not as a panic.
    data.as_slice::<f32>().map(<[f32]>::to_vec).unwrap_or_else(|_| vec![f32::NAN; data.num_elements()])
}
