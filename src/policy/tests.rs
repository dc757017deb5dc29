//! A policy small enough to compute by hand.

use super::*;

/// Two inputs, two hidden, and an output whose second number is the sum of the hidden ones.
fn trunk() -> Vec<Tensor> {
    vec![
        Tensor::new("layer.0.weight", vec![2, 2], vec![1.0, -1.0, 2.0, 1.0]),
        Tensor::new("layer.0.bias", vec![2], vec![0.5, 0.0]),
        Tensor::new("layer.1.weight", vec![2, 2], vec![1.0, 1.0, 0.0, 1.0]),
        Tensor::new("layer.1.bias", vec![2], vec![0.0, 10.0]),
    ]
}

fn with(own: Tensor) -> Vec<Tensor> {
    trunk().into_iter().chain([own]).collect()
}

#[test]
fn the_trunk_is_dense_layers_with_relu_between() {
    let own = Tensor::new("log_sigma", vec![2], vec![0.0, -1.0]);
    let policy = Policy::new(2, Head::Gaussian { dimension: 2 }, with(own), None).expect("well formed");
    // Hidden: 3 - 2 + .5 = 1.5 and -3 - 1 = -4, which ReLU cuts to 0.
    assert_eq!(policy.mean(&[3.0, -1.0]), Ok(vec![1.5, 11.5]));
    assert_eq!(policy.sigma(), Ok(vec![1.0, (-1.0_f32).exp()]));
    assert_eq!(policy.mean(&[3.0]), Err(PolicyError::StateDimension { expected: 2, found: 1 }));
    assert!(policy.logits(&[3.0, -1.0]).is_err());
}

#[test]
fn logits_are_inner_products_with_item_vectors() {
    let own = Tensor::new("item_vectors", vec![3, 2], vec![1.0, 0.0, 0.0, 1.0, 2.0, -1.0]);
    let policy = Policy::new(2, Head::Learned { dimension: 2 }, with(own), None).expect("well formed");
    assert_eq!(policy.logits(&[3.0, -1.0]), Ok(vec![1.5, 11.5, -8.5]));
    assert_eq!(policy.logits_of(&[3.0, -1.0], &[2, 0]), Ok(vec![-8.5, 1.5]));
    assert_eq!(policy.logits_of(&[3.0, -1.0], &[3]), Err(PolicyError::UnknownItem { item: 3, known: 3 }));
    assert!(policy.mean(&[3.0, -1.0]).is_err() && policy.sigma().is_err());
}

#[test]
fn preferences_are_of_the_candidates_in_their_order_or_of_all_items() {
    let own = Tensor::new("item_vectors", vec![3, 2], vec![1.0, 0.0, 0.0, 1.0, 2.0, -1.0]);
    let policy = Policy::new(2, Head::Learned { dimension: 2 }, with(own), None).expect("well formed");
    assert_eq!(policy.preferences(&[3.0, -1.0], None), Ok(vec![1.5, 11.5, -8.5]));
    assert_eq!(policy.preferences(&[3.0, -1.0], Some(&[2, 0])), Ok(vec![-8.5, 1.5]));
    assert!(policy.preferences(&[3.0, -1.0], Some(&[3])).is_err() && policy.preferences(&[3.0], None).is_err());
    let own = Tensor::new("log_sigma", vec![2], vec![0.0, -1.0]);
    let gaussian = Policy::new(2, Head::Gaussian { dimension: 2 }, with(own), None).expect("well formed");
    assert_eq!(gaussian.preferences(&[3.0, -1.0], None), Err(PolicyError::WrongKind("Gaussian", "logits")));
}

/// A critic whose only living hidden value is h_0 = s_0 + 2 s_1 + 1 + the item's weight; f = 3 h_0 - 1.
fn critic(items: &[f32]) -> Vec<Tensor> {
    let first = |value: f32, count: usize| (0..count).map(move |j| if j % 64 == 0 { value } else { 0.0 });
    let weight = first(1.0, 64).chain(first(2.0, 64)).collect();
    let own = items.iter().flat_map(|&weight| first(weight, 64)).collect();
    vec![
        Tensor::new("critic.weight", vec![2, 64], weight),
        Tensor::new("critic.bias", vec![64], first(1.0, 64).collect()),
        Tensor::new("critic.output", vec![64, 1], first(3.0, 64).collect()),
        Tensor::new("critic.output_bias", vec![1], vec![-1.0]),
        Tensor::new("critic.items", vec![items.len(), 64], own),
    ]
}

#[test]
fn the_tilt_adds_beta_f_to_the_logits_and_travels_in_the_bytes() {
    let own = Tensor::new("item_vectors", vec![3, 2], vec![1.0, 0.0, 0.0, 1.0, 2.0, -1.0]);
    let head = Head::Learned { dimension: 2 };
    let plain = Policy::new(2, head, with(own), None).expect("well formed");
    let tilt = |beta: f32| Tilt::new(beta, critic(&[0.5, -9.0]), 2, head);
    // h_0 = 2 + .5, then 2 - 9 which ReLU cuts, then 2 for an item without weights: f = 6.5, -1 and 5.
    let tilted = plain.clone().with_tilt(Some(tilt(2.0).expect("well formed"))).expect("it fits");
    assert_eq!(tilted.preferences(&[3.0, -1.0], None), Ok(vec![1.5 + 13.0, 11.5 - 2.0, -8.5 + 10.0]));
    assert_eq!(tilted.preferences(&[3.0, -1.0], Some(&[2, 0])), Ok(vec![-8.5 + 10.0, 1.5 + 13.0]));
    assert_eq!(tilted.logits(&[3.0, -1.0]), plain.logits(&[3.0, -1.0]), "log pi is what it was");
    let untilted = plain.clone().with_tilt(tilt(0.0).ok()).expect("it fits");
    assert_eq!(untilted.preferences(&[3.0, -1.0], None), plain.logits(&[3.0, -1.0]));

    assert_eq!(Policy::from_bytes(&tilted.to_bytes(), None), Ok(tilted.clone()));
    // Format 1 ended where the tilt now begins.
    let mut old = plain.to_bytes();
    assert_eq!(old.pop(), Some(0), "no tilt");
    old[0] = 1;
    assert_eq!(Policy::from_bytes(&old, None), Ok(plain.clone()));

    assert!(tilt(-1.0).is_err() && tilt(f32::NAN).is_err());
    assert!(Tilt::new(1.0, critic(&[0.5, f32::NAN]), 2, head).is_err());
    assert!(Tilt::new(1.0, critic(&[0.5]), 3, head).is_err(), "another state");
    assert!(Tilt::new(1.0, critic(&[0.5]), 2, Head::Given { dimension: 2 }).is_err());
    assert!(Tilt::new(1.0, critic(&[0.5])[..4].to_vec(), 2, Head::Gaussian { dimension: 2 }).is_err());
}

#[test]
fn bytes_are_read_back_to_the_same_policy_and_given_vectors_come_from_outside() {
    let given = Arc::new(ItemVectors::new(2, vec![1.0, 0.0, 0.0, 1.0]).expect("whole rows"));
    let head = Head::Given { dimension: 2 };
    let policy = Policy::new(2, head, trunk(), Some(Arc::clone(&given))).expect("well formed");
    let bytes = policy.to_bytes();
    assert_eq!(Policy::from_bytes(&bytes, Some(given)), Ok(policy));
    assert_eq!(Policy::from_bytes(&bytes, None), Err(PolicyError::NoItemVectors { expected: 2 }));
    let other = ItemVectors::new(3, vec![0.0; 3]).map(Arc::new);
    assert_eq!(Policy::from_bytes(&bytes, other), Err(PolicyError::NoItemVectors { expected: 2 }));
    let mut newer = bytes;
    newer[0] = 9;
    assert_eq!(Policy::from_bytes(&newer, None), Err(PolicyError::Format { found: 9 }));
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let head = Head::Gaussian { dimension: 2 };
    let own = |values: Vec<f32>| Tensor::new("log_sigma", vec![values.len()], values);
    let is_refused = |state: usize, head: Head, tensors: Vec<Tensor>| Policy::new(state, head, tensors, None).is_err();
    assert!(!is_refused(2, head, with(own(vec![0.0, 0.0]))));
    assert!(is_refused(3, head, with(own(vec![0.0, 0.0]))), "another state");
    assert!(is_refused(2, Head::Gaussian { dimension: 3 }, with(own(vec![0.0; 3]))), "another dimension");
    assert!(is_refused(2, head, with(own(vec![0.0]))), "a short sigma");
    assert!(is_refused(2, head, with(own(vec![0.0, 2.5]))), "sigma above its cap");
    assert!(is_refused(2, head, with(own(vec![0.0, f32::NAN]))), "a sigma that is no number");
    assert!(is_refused(2, head, trunk()), "no sigma");
    assert!(is_refused(2, head, Vec::new()), "nothing");
    for index in 0..4 {
        let mut tensors = with(own(vec![0.0, 0.0]));
        tensors[index].values.pop();
        assert!(is_refused(2, head, tensors), "tensor {index} is short");
        let mut tensors = with(own(vec![0.0, 0.0]));
        tensors[index].values[0] = f32::INFINITY;
        assert!(is_refused(2, head, tensors), "tensor {index} is not finite");
        let mut tensors = with(own(vec![0.0, 0.0]));
        tensors[index].name.push('x');
        assert!(is_refused(2, head, tensors), "tensor {index} has another name");
    }
}
