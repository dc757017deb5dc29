//! Estimators against numbers that a person can compute.

use super::interval::{Resampling, Summary};
use super::sample::Overlap;
use super::table::{Circumstances, probability};
use super::*;
use crate::event::Decision;
use crate::position::{Offset, Partition, Place};
use crate::time::EventTime;
use crate::trajectory::{ClosingKey, Ending, Step, Steps, Trajectory};

fn step(weight: f64, reward: f64, model: f64, expected: f64) -> LoggedStep {
    LoggedStep { weight, reward, model, expected }
}

fn close(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-12, "{found} instead of {wanted}");
}

fn mean(terms: &[f64]) -> f64 {
    terms.iter().sum::<f64>() / terms.len() as f64
}

/// Weights 2, 0, 4 and rewards 1, 1, 0.5.
fn three() -> [LoggedStep; 3] {
    [step(2.0, 1.0, 0.5, 0.25), step(0.0, 1.0, 0.5, 0.75), step(4.0, 0.5, 0.25, 0.5)]
}

#[test]
fn each_estimator_of_decisions_is_its_formula() {
    use DecisionEstimator as E;
    let lambda = 3.0;
    let shrunk = |w: f64| lambda * w / (w * w + lambda);
    for (estimator, name, value) in [
        (E::Ips, "ips", (2.0 + 0.0 + 2.0) / 3.0),
        (E::ClippedIps { lambda }, "ips_clip_3", (2.0 + 0.0 + 1.5) / 3.0),
        (E::Snips, "snips", 4.0 / 6.0),
        (E::DirectMethod, "dm_table", 0.5),
        (E::DoublyRobust, "dr_table", 0.5 + (2.0 * 0.5 + 0.0 + 4.0 * 0.25) / 3.0),
        (E::SelfNormalizedDoublyRobust, "sndr_table", 0.5 + 2.0 / 6.0),
        (E::SwitchDoublyRobust { lambda }, "switch_dr_3_table", 0.5 + 1.0 / 3.0),
        (E::ShrunkDoublyRobust { lambda }, "dros_3_table", 0.5 + (shrunk(2.0) * 0.5 + shrunk(4.0) * 0.25) / 3.0),
    ] {
        close(mean(&estimator.terms(&three())), value);
        assert_eq!(estimator.name(), name);
    }
    assert_eq!(E::ClippedIps { lambda: 0.5 }.name(), "ips_clip_0.5");
}

/// Two sessions of unequal length.
fn two_sessions() -> Sample {
    let mut sample = Sample::default();
    sample.push_session([step(2.0, 1.0, 0.5, 0.25), step(0.5, 2.0, 1.0, 0.5)]);
    sample.push_session([step(0.5, 3.0, 1.0, 2.0)]);
    sample
}

#[test]
fn each_estimator_of_sessions_is_its_formula() {
    use SessionEstimator as E;
    let (sample, gamma) = (two_sessions(), 0.5);
    let discount = Discount::new(gamma).unwrap();
    // Products: 2, 1 and 0.5; the second session keeps its 0.5 at step 1.
    let per_decision = (2.0 * 1.0 + gamma * 1.0 * 2.0 + 0.5 * 3.0) / 2.0;
    let stepwise = |y: [f64; 3]| (2.0 * y[0] + 0.5 * y[2]) / 2.5 + gamma * (1.0 * y[1]) / 1.5;
    // V_0 = 0.25 + 0.5 * 0.5, Q_0 = 0.5 + 0.5 * 0.5; the last step first.
    let last: f64 = 0.5 + 0.5 * (2.0 - 1.0);
    let first = 0.5 + 2.0 * (1.0 + gamma * last - 0.75);
    let other = 2.0 + 0.5 * (3.0 - 1.0);
    for (estimator, name, value) in [
        (E::TrajectoryWise, "tis_g0.5", (1.0 * 2.0 + 0.5 * 3.0) / 2.0),
        (E::PerDecision, "pdis_g0.5", per_decision),
        (E::SelfNormalizedTrajectoryWise, "sn_tis_g0.5", (1.0 * 2.0 + 0.5 * 3.0) / 1.5),
        (E::SelfNormalizedPerDecision, "sn_pdis_g0.5", stepwise([1.0, 2.0, 3.0])),
        (E::DoublyRobust, "dr_table_g0.5", (first + other) / 2.0),
        (E::SelfNormalizedDoublyRobust, "sndr_table_g0.5", (0.5 + 2.0) / 2.0 + stepwise([0.5, 1.0, 2.0])),
        (E::Independent, "iips_g0.5", (2.0 + gamma * 1.0 + 1.5) / 2.0),
    ] {
        close(mean(&estimator.terms(&sample, discount)), value);
        assert_eq!(estimator.name(discount), name);
    }
}

#[test]
fn where_target_and_logger_agree_every_weighting_gives_the_mean_return() {
    let mut sample = Sample::default();
    for session in 0..7_u32 {
        let rewards = (0..=session).map(|at| f64::from(at * session % 3));
        sample.push_session(rewards.map(|reward| step(1.0, reward, 0.3, 0.3)));
    }
    let wanted = sample.steps().iter().map(|step| step.reward).sum::<f64>() / 7.0;
    for estimator in SessionEstimator::ALL {
        close(mean(&estimator.terms(&sample, Discount::NONE)), wanted);
    }
}

#[test]
fn bounds_are_those_of_the_textbooks() {
    let summary = Summary::of(&[0.0, 2.0, 4.0]);
    close(summary.mean, 2.0);
    close(summary.variance, 8.0 / 3.0);
    // t(2 degrees, 0.975) and t(2, 0.95) as tables print them; s^2 / n = 4 / 3.
    let half = 4.302_652_729_911 * (4.0_f64 / 3.0).sqrt();
    assert!((summary.student().high - 2.0 - half).abs() < 1e-8);
    assert!((2.0 - summary.student_lower() - 2.919_985_580_354 * (4.0_f64 / 3.0).sqrt()).abs() < 1e-8);
    let (log, range) = ((2.0_f64 / 0.05).ln(), 4.0);
    close(summary.bernstein_lower(), 2.0 - 7.0 * range * log / 6.0 - (2.0 * 8.0 / 3.0 * log / 2.0).sqrt());
    close(summary.hoeffding_lower(), 2.0 - range * (20.0_f64.ln() / 6.0).sqrt());
}

#[test]
fn one_unit_has_a_value_and_no_interval() {
    let summary = Summary::of(&[3.0]);
    close(summary.mean, 3.0);
    assert!(summary.student().low.is_nan() && summary.bernstein().low.is_nan());
    let mut resampling = Resampling::new([1].into_iter());
    resampling.add(&[3.0]);
    let interval = resampling.intervals(100, 1)[0];
    assert_eq!((interval.low, interval.high), (3.0, 3.0));
}

#[test]
fn the_bootstrap_draws_whole_sessions_and_repeats_itself() {
    // Decisions of a session agree: drawn one by one, their interval would be too narrow by the root of ten.
    let terms: Vec<f64> = (0..1000).map(|index| f64::from(index / 10 % 2)).collect();
    let width = |lengths: Vec<usize>, seed| {
        let mut resampling = Resampling::new(lengths.into_iter());
        resampling.add(&terms);
        let interval = resampling.intervals(2000, seed)[0];
        interval.high - interval.low
    };
    let (by_session, by_decision) = (width(vec![10; 100], 1), width(vec![1; 1000], 1));
    assert!((by_session / 0.196 - 1.0).abs() < 0.1, "{by_session}");
    assert!((by_session / by_decision / 10.0_f64.sqrt() - 1.0).abs() < 0.1, "{by_session} {by_decision}");
    assert_eq!(by_session, width(vec![10; 100], 1));
    assert_ne!(by_session, width(vec![10; 100], 2));
}

#[test]
fn zero_and_huge_weights_are_told_of() {
    let zero = Overlap::of(Unit::Decision, [0.0; 200].into_iter());
    assert_eq!((zero.ess, zero.mean_weight, zero.warnings().len()), (0.0, 0.0, 2));
    let huge = Overlap::of(Unit::Decision, [1e300, 1e300, 0.0].into_iter());
    close(huge.ess, 2.0);
    assert_eq!((huge.max_weight, huge.warnings().len()), (1e300, 2));
    let fine = Overlap::of(Unit::Decision, (0..400).map(|n| 0.5 + f64::from(n % 2)));
    close(fine.ess, 320.0);
    assert_eq!(fine.warnings(), Vec::<String>::new());
    // Self-normalized, nothing is left to divide by.
    let mut sample = Sample::default();
    sample.push_session([step(0.0, 1.0, 0.5, 0.5)]);
    let plan = Plan {
        lambdas: vec![1.0],
        discounts: vec![Discount::NONE],
        interval: IntervalKind::Student,
        resamples: 100,
        seed: 1,
    };
    let estimates = estimate(&sample, &plan);
    let find = |name: &str| estimates.iter().find(|estimate| estimate.estimator == name).unwrap();
    assert_eq!((find("ips").value, find("dm_table").value), (0.0, 0.5));
    assert!(find("snips").value.is_nan());
    assert!(find("snips").warnings.iter().any(|warning| warning.contains("does not exist")));
}

fn at(position: Option<u32>, session: Option<&str>, step: u32) -> Circumstances<'_> {
    Circumstances { position, session, step }
}

#[test]
fn tables_are_read_in_both_forms() {
    let matrix = PolicyTable::parse(b"0.25, 1\n0.75,0\n").unwrap();
    let second = matrix.at(at(Some(1), None, 9)).unwrap();
    assert_eq!((probability(second, "0"), probability(second, "1"), probability(second, "2")), (1.0, 0.0, 0.0));
    assert!(matrix.at(at(Some(2), None, 0)).is_none() && matrix.at(at(None, None, 0)).is_none());
    let everywhere = PolicyTable::parse(b"0.25\n0.75\n").unwrap();
    assert_eq!(probability(everywhere.at(at(None, None, 3)).unwrap(), "1"), 0.75);
    let listed = PolicyTable::parse(b"# mine\nsession,step,item,probability\ns,0,x,1\ns,1,x,.5\ns,1,\"y, too\",.5\n");
    let listed = listed.unwrap();
    assert_eq!(probability(listed.at(at(None, Some("s"), 1)).unwrap(), "y, too"), 0.5);
    assert!(listed.at(at(None, Some("t"), 1)).is_none() && listed.at(at(None, None, 1)).is_none());
}

#[test]
fn wrong_tables_are_refused_by_line_and_reason() {
    for (text, reason) in [
        ("", "empty"),
        ("item,p\na,1\n", "\"p\""),
        ("item,position\na,1\n", "probability"),
        ("item,probability\na,1.5\n", "line 2"),
        ("item,probability\na,nan\n", "line 2"),
        ("item,probability,step\na,1,-1\n", "\"-1\""),
        ("item,probability\na,.5\na,.5\n", "second"),
        ("0.5\n0.4\n", "sum to 0.9"),
        ("item,probability,position\na,.5,3\n", "position 3"),
        ("0.5,0.5\n0.5\n", "no CSV"),
    ] {
        let error = PolicyTable::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(reason), "{text:?}: {error}");
    }
}

fn trajectory(propensity: Option<f64>, position: Option<u32>) -> Trajectory {
    let (place, time) = (Place { offset: Offset::from_count(7), index: 0 }, EventTime::FIRST);
    let decision = Decision {
        id: None,
        item: "0".into(),
        embedding: None,
        context: [].into(),
        candidates: None,
        propensity,
        position,
        reward: 0.0,
    };
    Trajectory {
        key: ClosingKey { time, partition: Partition(0), sequence: 0 },
        user: "u".into(),
        session: None,
        ending: Ending::RangeEnd,
        ended_at: time,
        first: place,
        last: place,
        steps: Steps::from_iter([Step { time, place, decision, reward: 1.0 }]),
    }
}

#[test]
fn a_logged_decision_is_weighed_or_refused_with_its_place() {
    let mut target = Target::table(PolicyTable::parse(b"0.25,1\n0.75,0\n").unwrap());
    let mut model = RewardModel::default();
    let logged = trajectory(Some(0.5), Some(0));
    model.observe(&logged.steps[0]);
    let found = target.look(&logged, 0, &model).unwrap();
    close(found.weight, 0.5);
    close(found.model, 2.0 / 101.0);
    close(found.expected, 0.25 * 2.0 / 101.0 + 0.75 * 0.01);
    for (logged, reason) in [
        (trajectory(None, Some(0)), "no propensity"),
        (trajectory(Some(5e-324), Some(0)), "infinite"),
        (trajectory(Some(0.5), None), "mapping.position"),
        (trajectory(Some(0.5), Some(9)), "position 9"),
    ] {
        let refusal = target.look(&logged, 0, &model).unwrap_err().to_string();
        assert!(refusal.contains(reason) && refusal.contains("offset 7"), "{refusal}");
    }
}
