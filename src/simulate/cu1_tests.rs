use std::collections::{BTreeMap, BTreeSet};

use super::cu1::{BASELINE, Cu1, Problem};
use super::*;
use crate::time::EventTime;

fn cu1(change: impl FnOnce(&mut RawSimulateSettings)) -> Cu1 {
    let mut raw = RawSimulateSettings { world: WorldKind::Cu1, sessions: 3_000, ..Default::default() };
    change(&mut raw);
    Cu1::new(SimulateSettings::new(raw, EventTime::FIRST).expect("settings of a test are valid")).expect("this world")
}

/// What a reader of the log finds: context, action, propensity and reward of every decision.
#[derive(Debug)]
struct Read {
    item: String,
    context: [f64; 6],
    action: [f64; 2],
    propensity: f64,
    reward: f64,
}

fn read(world: &Cu1) -> Vec<Read> {
    let (mut decisions, mut rewards) = (BTreeMap::new(), BTreeMap::new());
    for record in world.events().filter(|record| !record.is_broken) {
        let event: serde_json::Value = serde_json::from_slice(&record.json).expect("a sound record");
        let id = event["decision_id"].as_str().unwrap_or_default().to_owned();
        match event["type"].as_str() {
            Some("decision") => drop(decisions.insert(id, event)),
            Some("reward") => drop(rewards.insert(id, event["value"].as_f64().unwrap())),
            _ => {}
        }
    }
    let numbers = |event: &serde_json::Value, field: &str| -> Vec<f64> {
        event[field].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let row = |(id, event): (String, serde_json::Value)| Read {
        item: event["item"].as_str().unwrap().to_owned(),
        context: numbers(&event, "context").try_into().unwrap(),
        action: numbers(&event, "embedding").try_into().unwrap(),
        propensity: event["propensity"].as_f64().unwrap(),
        reward: rewards[&id],
    };
    decisions.into_iter().map(row).collect()
}

/// Where the signed loss of a log, each row weighing `weight`, has its stable point: the mean of the actions by
/// advantage, as a displacement beyond imitation.
fn stable_point(log: &[Read], weight: impl Fn(&Read) -> f64) -> f64 {
    let (mut above, mut below) = (0.0, 0.0);
    for row in log {
        let advantage = weight(row) * (row.reward - BASELINE);
        above += advantage * Problem::at(&row.context).displacement(row.action);
        below += advantage;
    }
    above / below
}

#[test]
fn the_log_has_the_stable_point_of_its_alpha() {
    // rho/(1 - rho) * .5/.7 with rho = .59053 alpha, as it is published.
    for (alpha, expected, tolerance) in [(0.0, 0.0, 0.01), (0.25, 0.1237, 0.01), (0.5, 0.2993, 0.02), (1.0, 1.03, 0.08)]
    {
        let log = read(&cu1(|raw| raw.negative_weight = alpha));
        assert!(log.len() > 20_000, "{}", log.len());
        let found = stable_point(&log, |_| 1.0);
        assert!((found - expected).abs() < tolerance, "alpha {alpha}: {found} and not {expected}");
    }
}

#[test]
fn propensities_turn_the_log_of_one_alpha_into_that_of_another() {
    let log = read(&cu1(|raw| raw.negative_weight = 0.5));
    // All five alike: the negative as often as the mean of the positives, a quarter of all four.
    let found = stable_point(&log, |row| 1.0 / row.propensity);
    assert!((found - 0.1237).abs() < 0.01, "{found}");
    let mean = log.iter().map(|row| 0.2 / row.propensity).sum::<f64>() / log.len() as f64;
    assert!((mean - 1.0).abs() < 0.01, "{mean}");
}

#[test]
fn four_positives_pay_alike_and_the_negative_less() {
    let log = read(&cu1(|raw| raw.reward_noise = 0.0));
    for row in &log {
        // exp(-1/2) on the circle, exp(-(1.2/.75)^2 / 2) behind; actions have four decimals.
        let expected = if row.item == "negative" { 0.278_037 } else { 0.606_531 };
        assert!((row.reward - expected).abs() < 2e-4, "{row:?}");
    }
    let names: BTreeSet<&str> = log.iter().map(|row| row.item.as_str()).collect();
    assert!(names.into_iter().eq(["far-left", "far-right", "near-left", "near-right", "negative"]));
    let noisy = read(&cu1(|_| ()));
    assert!(noisy.iter().any(|row| (row.reward - 0.6065).abs() > 0.05), "the noise is the settings'");
}

#[test]
fn contexts_are_standard_normal() {
    let log = read(&cu1(|raw| raw.user_share = 0.0));
    for axis in 0..6 {
        let values = || log.iter().map(|row| row.context[axis]);
        let mean = values().sum::<f64>() / log.len() as f64;
        let variance = values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / log.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "axis {axis}: {mean} {variance}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let small = |seed: u64| {
        cu1(|raw| {
            raw.seed = seed;
            raw.sessions = 50;
        })
    };
    assert!(small(1).events().eq(small(1).events()));
    assert!(!small(1).events().eq(small(2).events()));
}

#[test]
fn what_belongs_to_the_other_world_is_refused() {
    let refused = |change: fn(&mut RawSimulateSettings)| {
        let mut raw = RawSimulateSettings { world: WorldKind::Cu1, ..Default::default() };
        change(&mut raw);
        SimulateSettings::new(raw, EventTime::FIRST).expect_err("refused").to_string()
    };
    assert!(refused(|raw| raw.regime = Regime::Extreme).contains("simulate.regime"));
    assert!(refused(|raw| raw.noise_share = 0.2).contains("simulate.noise_share"));
    assert!(refused(|raw| raw.drift_strength = 1.0).contains("simulate.drift_strength"));
    assert!(refused(|raw| raw.negative_weight = -1.0).contains("simulate.negative_weight"));
    let taste = SimulateSettings::new(RawSimulateSettings::default(), EventTime::FIRST).expect("the defaults");
    assert!(Cu1::new(taste).is_none());
}

/// Computed apart from this program, in Python, from the formulas of the problem.
#[test]
fn a_context_has_the_actions_that_its_formulas_give() {
    let problem = Problem::at(&[0.3, -0.7, 1.1, 0.2, -0.4, 0.9]);
    let close = |found: [f64; 2], expected: [f64; 2]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
    assert!(close(problem.positive_mean, [0.3497937225837176, 0.403423068196615]), "{problem:?}");
    assert!(close(problem.best, [1.0200018933631512, 0.6054651623762327]), "{problem:?}");
    assert!(close(problem.negative(), [-0.12892639940159212, 0.25910728663974514]), "{problem:?}");
    let positives = [
        [0.35924218543392916, 0.2506460417284169],
        [0.27322882619872035, 0.5359670605472718],
        [0.4834789769641481, 0.08140108215444497],
        [0.2832249017380728, 0.7456780883563263],
    ];
    assert!(problem.positives().into_iter().zip(positives).all(|(a, b)| close(a, b)), "{:?}", problem.positives());
}
