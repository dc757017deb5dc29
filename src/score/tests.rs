use std::sync::Arc;

use super::*;
use crate::catalog::Catalog;
use crate::event::Decision;
use crate::position::{Offset, Partition, Place};
use crate::state::Pooling;
use crate::time::EventTime;
use crate::trajectory::{ClosingKey, Ending, Step};

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

fn scorer(rules: ScoreRules) -> Scorer {
    let catalog = Arc::new(Catalog::default());
    let encoder = StateEncoder { context_dimension: 1, pooling: Pooling::None, hashed_dimension: 0, catalog };
    Scorer::new(rules, &encoder)
}

fn rules(unit: Unit, kind: ScoreKind, baseline: Baseline) -> ScoreRules {
    ScoreRules { unit, kind, baseline, discount: 0.5, clip: None, generation: 4, ridge: 1e-6 }
}

fn scores(scorer: &mut Scorer, rewards: &[f64]) -> Vec<Option<f32>> {
    let states = vec![vec![1.0]; rewards.len()];
    scorer.score(&trajectory(rewards), &states).iter().map(|unit| unit.score.map(Score::value)).collect()
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
