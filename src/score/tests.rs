use std::sync::Arc;

use super::*;
use crate::catalog::Catalog;
use crate::event::Decision;
use crate::policy::Tensor;
use crate::position::{Offset, Partition, Place};
use crate::state::Pooling;
use crate::time::EventTime;
use crate::trajectory::{ClosingKey, Ending, Step, Steps};

fn trajectory(rewards: &[f64]) -> Trajectory {
    let place = Place { offset: Offset::from_count(0), index: 0 };
    let decision = Decision {
        id: None,
        item: "a".into(),
        embedding: None,
        context: [1.0].into(),
        candidates: None,
        propensity: None,
        position: None,
        reward: 0.0,
    };
    let step = |reward: &f64| Step { time: EventTime::FIRST, place, decision: decision.clone(), reward: *reward };
    Trajectory {
        key: ClosingKey { time: EventTime::FIRST, partition: Partition(0), sequence: 0 },
        user: "u".into(),
        session: None,
        ending: Ending::Gap,
        ended_at: EventTime::FIRST,
        first: place,
        last: place,
        steps: rewards.iter().map(step).collect(),
    }
}

fn encoder() -> StateEncoder {
    let catalog = Arc::new(Catalog::default());
    StateEncoder { context_dimension: 1, pooling: Pooling::None, hashed_dimension: 0, catalog }
}

fn scorer(rules: ScoreRules) -> Scorer {
    Scorer::new(rules, &encoder())
}

fn rules(unit: Unit, kind: ScoreKind, baseline: Baseline) -> ScoreRules {
    ScoreRules { unit, kind, baseline, scale: Scale::Global, discount: 0.5, clip: None, generation: 4, ridge: 1e-6 }
}

fn scored(scorer: &mut Scorer, trajectory: &Trajectory) -> Vec<Scored> {
    let mut states = States::default();
    encoder().encode_all(&trajectory.steps, &mut states);
    scorer.score(trajectory, &states)
}

fn scores(scorer: &mut Scorer, rewards: &[f64]) -> Vec<Option<f32>> {
    scored(scorer, &trajectory(rewards)).iter().map(|unit| unit.score.map(Score::value)).collect()
}

#[test]
fn units_and_kinds_take_the_return_they_name() {
    let rewards = [1.0, 2.0, 4.0];
    for (unit, kind, expected) in [
        (Unit::Trajectory, ScoreKind::Return, vec![Some(3.0)]),
        (Unit::Step, ScoreKind::Return, vec![Some(3.0), Some(4.0), Some(4.0)]),
        (Unit::Trajectory, ScoreKind::Reward, vec![Some(7.0)]),
        (Unit::Step, ScoreKind::Reward, vec![Some(1.0), Some(2.0), Some(4.0)]),
        (Unit::Step, ScoreKind::SessionMean, vec![Some(11.0 / 3.0); 3]),
        (Unit::Trajectory, ScoreKind::SessionMean, vec![Some(11.0 / 3.0)]),
        (Unit::Step, ScoreKind::Advantage, vec![Some(3.0), Some(4.0), Some(4.0)]),
    ] {
        let mut scorer = scorer(rules(unit, kind, Baseline::None));
        assert_eq!(scores(&mut scorer, &rewards), expected, "{unit:?} {kind:?}");
    }
}

#[test]
fn a_unit_of_generation_g_is_measured_by_generations_up_to_g_minus_2() {
    let mut scorer = scorer(rules(Unit::Trajectory, ScoreKind::Advantage, Baseline::Mean));
    let mut seen = Vec::new();
    for unit in 0..12 {
        // Generation 0 has mean 1 and deviation 1, generation 1 quite others.
        let reward = if unit < 4 { f64::from(unit % 2) * 2.0 } else { 100.0 };
        seen.extend(scores(&mut scorer, &[reward]));
    }
    assert_eq!(&seen[..8], &[None; 8], "no fit before generation 2");
    for score in &seen[8..] {
        assert!((score.unwrap() - 99.0).abs() < 1e-3, "measured by generation 0 alone: {seen:?}");
    }
}

#[test]
fn the_session_mean_is_the_mean_of_the_steps_advantages() {
    let rules = |kind| rules(Unit::Step, kind, Baseline::Linear);
    let (mut by_step, mut by_mean) = (scorer(rules(ScoreKind::Advantage)), scorer(rules(ScoreKind::SessionMean)));
    let mut compared = 0;
    for round in 0..20u32 {
        let rewards: Vec<f64> = (0..3).map(|step| f64::from((step + 1) * round % 7) * 0.37).collect();
        let advantages = scores(&mut by_step, &rewards);
        let means = scores(&mut by_mean, &rewards);
        if let Some(advantages) = advantages.into_iter().collect::<Option<Vec<f32>>>() {
            let mean = advantages.iter().sum::<f32>() / 3.0;
            assert!(means.iter().all(|found| (found.unwrap() - mean).abs() < 1e-4), "{means:?} and not {mean}");
            compared += 1;
        } else {
            assert_eq!(means, [None; 3], "no mean of what is not all there");
        }
    }
    assert!(compared > 10);
    let session = trajectory(&[1.0, 2.0, 4.0]);
    assert_eq!(by_mean.session_return(&session), 3.0, "discounted by a half");
}

#[test]
fn a_restored_scorer_goes_on_with_the_same_bits() {
    let rules = ScoreRules { generation: 5, ..rules(Unit::Step, ScoreKind::Advantage, Baseline::Linear) };
    let (mut straight, mut crashed) = (scorer(rules.clone()), scorer(rules.clone()));
    for round in 0..40u32 {
        let rewards: Vec<f64> = (0..3 + round % 4).map(|step| f64::from(step * round % 7) * 0.37).collect();
        let mut restored = scorer(rules.clone());
        assert!(restored.restore(crashed.snapshot()));
        crashed = restored;
        assert_eq!(scores(&mut straight, &rewards), scores(&mut crashed, &rewards), "round {round}");
    }
}

#[test]
fn rewards_are_clipped_and_scores_beyond_f32_are_refused() {
    let mut clipped =
        scorer(ScoreRules { clip: Some((-1.0, 3.0)), ..rules(Unit::Trajectory, ScoreKind::Reward, Baseline::None) });
    assert_eq!(scores(&mut clipped, &[1e300, -50.0]), [Some(2.0)]);
    let mut wild = scorer(rules(Unit::Trajectory, ScoreKind::Reward, Baseline::None));
    assert_eq!(scores(&mut wild, &[1e300]), [None]);
}

#[test]
fn a_network_is_waited_for_between_two_trajectories_and_never_longer_than_it_must() {
    let mut scorer = scorer(rules(Unit::Step, ScoreKind::Advantage, Baseline::Network));
    let fit = |generation: u64, mean: f64| NetworkFit {
        generation,
        trunk: vec![Tensor::new("w", vec![2, 2], vec![0.0; 4]), Tensor::new("b", vec![2], vec![0.5, 1.0])],
        mean,
        deviation: 2.0,
        scale: 4.0,
    };
    let mut asked = Vec::new();
    for round in 0..4 {
        assert!(!scorer.is_waiting(), "round {round}");
        // Three steps: generations of four end after six, so that no trajectory is torn.
        assert_eq!(scores(&mut scorer, &[1.0, 1.0, 1.0]), [None; 3], "no fit of two generations ago in round {round}");
        asked.extend(scorer.take_generation());
    }
    assert_eq!(asked.iter().map(|batch| (batch.generation, batch.targets.len())).collect::<Vec<_>>(), [(0, 6), (1, 6)]);
    assert_eq!(asked[0].features.len(), 6 * 2, "ln(1 + step) and the state");
    assert!(scorer.is_waiting() && scorer.fit_in_flight() == Some(1));
    assert!(!scorer.accept(fit(1, 0.0)), "not the fit of the generation before");
    assert!(scorer.accept(fit(0, 3.0)) && !scorer.is_waiting());
    // V = 3 + 2 * .5; the return of the last step is 12.
    assert_eq!(scores(&mut scorer, &[12.0])[0], Some((12.0 - 4.0) / 4.0));
}

#[test]
fn a_network_scorer_goes_on_from_a_copy_and_refuses_one_of_another_kind() {
    let rules = |baseline| rules(Unit::Step, ScoreKind::Advantage, baseline);
    let mut network = scorer(rules(Baseline::Network));
    scores(&mut network, &[1.0, 2.0, 3.0]);
    let mut copy = scorer(rules(Baseline::Network));
    assert!(copy.restore(network.snapshot()));
    assert_eq!(copy.snapshot(), network.snapshot());
    assert!(!scorer(rules(Baseline::None)).restore(network.snapshot()));
    assert!(!scorer(rules(Baseline::Network)).restore(scorer(rules(Baseline::None)).snapshot()));
}

/// Half of the contexts are noisy. Measured by one spread, all that stands out stands out there.
#[test]
fn a_spread_for_each_context_does_not_pick_the_noisy_ones() {
    let share_of_noisy = |scale: Scale| {
        let mut scorer = scorer(ScoreRules {
            scale,
            generation: 200,
            ..rules(Unit::Trajectory, ScoreKind::Advantage, Baseline::Linear)
        });
        let mut found: Vec<(f32, bool)> = Vec::new();
        let mut noise = 7_u64;
        for round in 0..4_000 {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let uniform = (noise >> 40) as f64 / (1u64 << 24) as f64 - 0.5;
            let is_noisy = round % 2 == 1;
            let (context, size) = if is_noisy { (1.0, 5.0) } else { (0.0, 1.0) };
            let mut trajectory = trajectory(&[10.0 + size * uniform]);
            let mut step = trajectory.steps[0].clone();
            step.decision.context = [context].into();
            trajectory.steps = Steps::from_iter([step]);
            found.extend(
                scored(&mut scorer, &trajectory)
                    .iter()
                    .filter_map(|unit| Some((unit.score?.value(), is_noisy)))
                    .filter(|_| round > 1_000),
            );
        }
        found.sort_by(|left, right| right.0.total_cmp(&left.0));
        let best = &found[..found.len() / 10];
        best.iter().filter(|(_, is_noisy)| *is_noisy).count() as f64 / best.len() as f64
    };
    let (global, context) = (share_of_noisy(Scale::Global), share_of_noisy(Scale::Context));
    assert!(global > 0.99, "{global}");
    assert!((context - 0.5).abs() < 0.1, "{context}");
}

#[test]
fn a_generation_ends_in_the_middle_of_a_trajectory() {
    for (generation, scale) in [(4, Scale::Global), (100, Scale::Global), (100, Scale::Context)] {
        let rules =
            ScoreRules { generation, scale, discount: 0.0, ..rules(Unit::Step, ScoreKind::Advantage, Baseline::Mean) };
        let rewards: Vec<f64> = (0..450).map(|number| f64::from(number * 37 % 101)).collect();
        let (mut whole, mut single) = (scorer(rules.clone()), scorer(rules));
        let in_long: Vec<_> = rewards.chunks(150).flat_map(|rewards| scores(&mut whole, rewards)).collect();
        let one_by_one: Vec<_> = rewards.iter().flat_map(|reward| scores(&mut single, &[*reward])).collect();
        assert_eq!(in_long, one_by_one, "generations of {generation}");
        assert!(one_by_one.iter().flatten().count() > 200);
    }
}
