//! Figures that a person can compute, and what does not depend on anything else.

use super::*;
use crate::policy::{Policy, Tensor};
use crate::position::Offset;

fn place(offset: u64, index: u32) -> Place {
    Place { offset: Offset::from_count(offset), index }
}

/// Without a trunk's help: logits 2 s, 0 and -1 s for a state s of one number.
fn softmax() -> Policy {
    let tensors = vec![
        Tensor::new("layer.0.weight", vec![1, 1], vec![1.0]),
        Tensor::new("layer.0.bias", vec![1], vec![0.0]),
        Tensor::new("item_vectors", vec![3, 1], vec![2.0, 0.0, -1.0]),
    ];
    Policy::new(1, Head::Learned { dimension: 1 }, tensors, None).unwrap()
}

fn probe(chosen: u32, candidates: Option<&[u32]>, propensity: Option<f64>, reward: f64) -> Probe {
    Probe {
        batches_before: 0,
        critic_batches_before: 0,
        state: [1.0].into(),
        action: Some(Action::Item { chosen, candidates: candidates.map(Arc::from) }),
        row: None,
        propensity,
        reward,
        delay: Delay::UnderMinute,
    }
}

fn validation(window: usize) -> Validation {
    let rules = ValidationRules { share: 1.0, window };
    Validation::new(rules, Arc::new(Catalog::default()), ValidationState::default())
}

#[test]
fn figures_are_those_of_the_softmax() {
    let (policy, mut validation) = (softmax(), validation(10));
    let total = 2.0_f64.exp() + 1.0 + (-1.0_f64).exp();
    validation.score(&policy, &probe(0, None, Some(0.5), 1.0));
    validation.score(&policy, &probe(1, None, Some(0.25), 2.0));
    // Of items 1 and 2 alone the policy prefers 1; item 7 it has never seen.
    validation.score(&policy, &probe(1, Some(&[1, 2, 9]), None, 3.0));
    validation.score(&policy, &probe(7, None, Some(0.5), 4.0));
    let found = validation.snapshot().summary();
    let (first, second, third) = (2.0_f64.exp() / total, 1.0 / total, 1.0 / (1.0 + (-1.0_f64).exp()));
    let near = |found: Option<f64>, wanted: f64| assert!((found.unwrap() - wanted).abs() < 1e-6, "{found:?} {wanted}");
    near(found.all.hit_rate, 2.0 / 4.0);
    near(found.all.log_likelihood, (first.ln() + second.ln() + third.ln()) / 3.0);
    let (one, two) = (first / 0.5, second / 0.25);
    near(found.all.snips, (one * 1.0 + two * 2.0) / (one + two));
    let value = (one + two * 2.0) / (one + two);
    let error = ((one * (1.0 - value)).powi(2) + (two * (2.0 - value)).powi(2)).sqrt() / (one + two);
    near(found.all.snips_interval.map(|[low, _]| low), value - 1.96 * error);
    near(found.all.snips_interval.map(|[_, high]| high), value + 1.96 * error);
    near(found.all.ess, (one + two) * (one + two) / (one * one + two * two));
    near(found.all.mean_reward, 2.5);
    assert_eq!((found.scored, found.all.steps, found.all.unknown), (4, 4, 1));
}

#[test]
fn the_window_slides_and_comes_back_from_its_state() {
    let (policy, mut validation) = (softmax(), validation(2));
    for reward in [1.0, 2.0, 3.0] {
        validation.score(&policy, &probe(0, None, None, reward));
    }
    let state = validation.snapshot();
    let summary = state.summary();
    assert_eq!((summary.scored, summary.all.steps, summary.all.mean_reward), (3, 2, Some(2.5)));
    assert_eq!((summary.all.snips, summary.all.ess), (None, None), "nothing was divided by a propensity");
    let bytes = postcard::to_stdvec(&state).unwrap();
    let read: ValidationState = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(read, state);
    let shorter = ValidationRules { share: 1.0, window: 1 };
    let shorter = Validation::new(shorter, Arc::new(Catalog::default()), read).snapshot().summary();
    assert_eq!((shorter.scored, shorter.all.mean_reward), (3, Some(3.0)));
}

#[test]
fn steps_are_told_apart_by_the_delay_of_their_reward() {
    let (policy, mut validation) = (softmax(), validation(10));
    for (millis, reward) in [(0, 1.0), (59_999, 3.0), (60_000, 5.0), (90_000_000, 7.0)] {
        let delay = Delay::of(Span::from_millis(millis));
        validation.score(&policy, &Probe { delay, ..probe(0, None, None, reward) });
    }
    let groups: Vec<_> = validation.snapshot().summary().by_delay;
    let groups: Vec<_> = groups.iter().map(|group| (group.delay, group.figures.mean_reward)).collect();
    let wanted = [(Delay::UnderMinute, Some(2.0)), (Delay::UnderTenMinutes, Some(5.0)), (Delay::DayOrMore, Some(7.0))];
    assert_eq!(groups, wanted);
}

#[test]
fn a_gaussian_policy_is_asked_for_its_density_and_its_nearest_item() {
    let tensors = vec![
        Tensor::new("layer.0.weight", vec![1, 2], vec![1.0, 0.0]),
        Tensor::new("layer.0.bias", vec![2], vec![0.0, 0.0]),
        Tensor::new("log_sigma", vec![2], vec![0.0, 0.0]),
    ];
    let policy = Policy::new(1, Head::Gaussian { dimension: 2 }, tensors, None).unwrap();
    let items = [("near".to_owned(), vec![1.0, 0.0]), ("far".to_owned(), vec![-1.0, 0.0])];
    let rules = ValidationRules { share: 1.0, window: 10 };
    let catalog = Arc::new(Catalog::from_items(items).unwrap());
    let mut validation = Validation::new(rules, catalog, ValidationState::default());
    let shown = |row: Option<u32>, at: [f32; 2]| Probe {
        action: Some(Action::Embedding(at.into())),
        row,
        ..probe(0, None, Some(0.5), 1.0)
    };
    validation.score(&policy, &shown(Some(0), [1.0, 0.0]));
    validation.score(&policy, &shown(Some(1), [-1.0, 0.0]));
    validation.score(&policy, &shown(None, [1.0, 1.0]));
    let found = validation.snapshot().summary().all;
    let peak = -std::f64::consts::TAU.ln();
    assert!((found.log_likelihood.unwrap() - (peak + (peak - 2.0) + (peak - 0.5)) / 3.0).abs() < 1e-6, "{found:?}");
    assert_eq!((found.hit_rate, found.unknown), (Some(0.5), 0));
    let near = 1.0 / (1.0 + (-2.0_f64).exp());
    let (one, two) = (near / 0.5, (1.0 - near) / 0.5);
    assert!((found.ess.unwrap() - (one + two).powi(2) / (one * one + two * two)).abs() < 1e-6);
}

#[test]
fn the_share_is_chosen_by_place_alone() {
    let chosen = |share: f64| (0..20_000).filter(|offset| is_chosen(share, Partition(3), place(*offset, 0))).count();
    assert_eq!((chosen(0.0), chosen(1.0)), (0, 20_000));
    assert!((chosen(0.05) as f64 / 1_000.0 - 1.0).abs() < 0.1, "{}", chosen(0.05));
    let same =
        |partition, index| (0..64).filter(move |offset| is_chosen(0.5, Partition(partition), place(*offset, index)));
    assert!(same(0, 0).ne(same(1, 0)) && same(0, 0).ne(same(0, 1)));
}
