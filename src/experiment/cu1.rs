//! C-U1 ([`crate::simulate::cu1`] is the problem): where a policy that is trained on it ends, by the weight of the negative.
//!
//! There is a stable point beyond imitation for each alpha below a limit, and none from there on; with a learned sigma the
//! limit is nearer.

use rand_xoshiro::Xoshiro256PlusPlus;

use super::data::generator;
use super::findings::{Findings, short, with_interval};
use super::jobs::each;
use super::plan::{Plan, Scale};
use super::stats::Estimate;
use super::toy::normals;
use super::train::unguarded;
use crate::batch::{Actions, Batch};
use crate::learner::{Learner, LearnerError, LearnerSettings, Objective, PolicyKind, Sigma};
use crate::report::{Chart, Point, Series, Table, Tone};
use crate::simulate::cu1::{BEHIND, CONTEXT, DIMENSION, GAP, Problem};

const SIGMA: f32 = 0.190_394;
/// Contexts of a batch; each brings four positives and a negative.
const CONTEXTS: usize = 64;
/// rho = this times alpha.
const RHO: f64 = 0.590_53;
/// Where no stable point is left: of the mean, and of a learned sigma.
const ALPHA_CRITICAL: f64 = 1.693_392;
const ALPHA_SIGMA: f64 = 0.380_685;
/// A learned sigma below this has collapsed.
const ALIVE: f64 = 0.05;

/// Mean over positives of -A log pi, plus alpha times the negative's A log pi.
fn batch(alpha: f64, number: u64, random: &mut Xoshiro256PlusPlus) -> Batch {
    let (mut states, mut values, mut scores) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..CONTEXTS {
        let s = context(random);
        let problem = Problem::at(&s);
        let mut push = |action: [f64; 2], weight: f64| {
            states.extend(s.iter().map(|&x| x as f32));
            values.extend(action.map(|x| x as f32));
            scores.push(weight as f32);
        };
        for action in problem.positives() {
            push(action, problem.advantage(action));
        }
        // One negative weighs as much as the mean of four positives; its advantage carries the sign.
        let negative = problem.negative();
        push(negative, 4.0 * alpha * problem.advantage(negative));
    }
    let rows = scores.len();
    Batch {
        number,
        rows,
        states,
        actions: Actions::Embeddings { dimension: DIMENSION, values },
        scores,
        thresholds: vec![0.0; rows],
        weights: vec![1.0; rows],
        propensities: vec![None; rows],
    }
}

fn context(random: &mut Xoshiro256PlusPlus) -> [f64; CONTEXT] {
    let mut context = [0.0; CONTEXT];
    context.copy_from_slice(&normals(CONTEXT, random));
    context
}

/// Mean displacement of the policy's mean beyond the positives' mean, in units of the way to a*; and the least sigma.
fn run(alpha: f64, is_sigma_learned: bool, steps: usize, seed: u64) -> Result<(f64, f64), LearnerError> {
    let sigma = if is_sigma_learned { Sigma::Learned { initial: SIGMA } } else { Sigma::Fixed(SIGMA) };
    let kind = PolicyKind::Gaussian { dimension: DIMENSION, sigma };
    let settings = |learning_rate: f64| LearnerSettings {
        hidden: vec![64, 64],
        objective: Objective::Given,
        learning_rate,
        weight_decay: 0.0,
        gradient_norm_max: 1e9,
        seed,
        guard: unguarded(),
        ..LearnerSettings::new(CONTEXT, kind.clone())
    };
    let mut random = generator(seed, 0x6375);
    let mut learner = Learner::new(settings(1e-3))?;
    for number in 0..steps {
        if number == steps / 3 {
            learner = Learner::restore(settings(5e-4), &learner.export())?;
        }
        let alpha = if number < steps / 3 { 0.0 } else { alpha };
        // A batch that overflows is refused, and says all there is to say.
        let _ = learner.update(&batch(alpha, number as u64, &mut random));
    }
    let mut total = 0.0;
    for _ in 0..500 {
        let s = context(&mut random);
        let state: Vec<f32> = s.iter().map(|&x| x as f32).collect();
        let mean = learner.policy().mean(&state).unwrap_or_default();
        total += Problem::at(&s).displacement([0, 1].map(|axis| mean.get(axis).map_or(f64::NAN, |&x| f64::from(x))));
    }
    let sigma = learner.policy().sigma().unwrap_or_default().into_iter().fold(f32::INFINITY, f32::min);
    Ok((total / 500.0, f64::from(sigma)))
}

pub fn cu1(plan: &Plan, scale: &Scale, findings: &mut Findings) -> Result<(), LearnerError> {
    let mut table = Table::new(
        "Displacement beyond imitation, in units of the way to the best action",
        ["alpha", "expected", "measured"],
    );
    let (mut line, mut theory) = (Vec::new(), Vec::new());
    for &alpha in &scale.levels {
        let ends = each(scale.seeds, |seed| run(alpha, false, scale.steps, seed as u64))?;
        let estimate = Estimate::of(&ends.iter().map(|(displacement, _)| *displacement).collect::<Vec<f64>>());
        line.push(Point { x: alpha, y: estimate.mean, interval: Some((estimate.low, estimate.high)) });
        if alpha < ALPHA_CRITICAL {
            let rho = RHO * alpha;
            let expected = rho / (1.0 - rho) * BEHIND / GAP;
            theory.push(Point::new(alpha, expected));
            table.row([short(alpha), short(expected), with_interval(&estimate)]);
            // A network hits no point to better than .02; and a far one is reached slowly, the nearer to the limit the
            // less exactly.
            let tolerance = if alpha > 1.3 { 0.25 * expected } else { f64::max(0.02, 0.05 * expected) };
            findings.near(format!("8 C-U1 displacement at alpha {alpha}"), expected, tolerance, &estimate);
        } else {
            table.row([short(alpha), "no finite point".to_owned(), with_interval(&estimate)]);
            findings.at_least(format!("8 C-U1 no finite point at alpha {alpha}"), 10.0, &estimate);
        }
    }
    findings.tables.push(table);
    findings.charts.push(Chart {
        title: plan.title.clone(),
        explanation: "How far the learned mean goes beyond imitation, by the weight alpha of the negative.".to_owned(),
        x_label: "alpha".to_owned(),
        y_label: "displacement".to_owned(),
        y_from_zero: true,
        series: vec![
            Series::new("measured", Tone::Teal, line),
            Series::new("rho/(1 - rho) * .5/.7", Tone::Gray, theory),
        ],
        levels: Vec::new(),
        marks: Vec::new(),
    });

    learned_sigma(scale, findings)?;
    limits(findings);
    Ok(())
}

fn learned_sigma(scale: &Scale, findings: &mut Findings) -> Result<(), LearnerError> {
    let mut table = Table::new("Learned sigma: a stable one exists below alpha = .381", ["alpha", "least sigma"]);
    for (alpha, is_alive) in [(0.1, Some(true)), (0.3, None), (0.5, Some(false))] {
        let ends = each(scale.seeds, |seed| run(alpha, true, scale.steps, seed as u64))?;
        let sigma = Estimate::of(&ends.iter().map(|(_, sigma)| *sigma).collect::<Vec<f64>>());
        table.row([short(alpha), with_interval(&sigma)]);
        let name = format!("8 C-U1 learned sigma at alpha {alpha}");
        match is_alive {
            Some(true) => findings.at_least(name, ALIVE, &sigma),
            Some(false) => findings.at_most(name, ALIVE, &sigma),
            None if sigma.mean < ALIVE => findings.sentences.push(format!(
                "With a learned sigma at alpha {alpha} training lost the stable point that exists there: sigma went to {}.",
                short(sigma.mean)
            )),
            None => {}
        }
    }
    findings.tables.push(table);
    Ok(())
}

/// Where stable points end, from the geometry alone: of the mean at rho = 1, of a learned sigma where the positives'
/// spread around the stable mean no longer outweighs the negative's.
fn limits(findings: &mut Findings) {
    let problem = Problem::at(&[0.0; CONTEXT]);
    let p = problem.positives().map(|action| problem.advantage(action)).iter().sum::<f64>() / 4.0;
    let n = -problem.advantage(problem.negative());
    findings.near("8 C-U1 last alpha with a stable mean", ALPHA_CRITICAL, 1e-4, &Estimate::of(&[p / n]));
    let surplus = |alpha: f64| {
        let rho = alpha * n / p;
        let step = rho / (1.0 - rho) * BEHIND;
        let mean = [0, 1].map(|axis| problem.positive_mean[axis] + step * problem.u[axis]);
        let squares = |action: [f64; 2]| [0, 1].iter().map(|&axis| (action[axis] - mean[axis]).powi(2)).sum::<f64>();
        problem.positives().map(squares).iter().sum::<f64>() / 4.0 - rho * squares(problem.negative())
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if surplus(middle) > 0.0 { low = middle } else { high = middle }
    }
    findings.near("8 C-U1 last alpha with a stable learned sigma", ALPHA_SIGMA, 1e-4, &Estimate::of(&[low]));
}
