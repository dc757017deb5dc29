//! Checks 1 to 3 and 9: what follows from formulas alone, without a world.

use rand::RngExt;
use rand_distr::{Beta, Distribution, LogNormal, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::data::generator;
use super::findings::{Findings, short};
use super::plan::Scale;
use super::stats::Estimate;
use crate::filter::Curriculum;
use crate::filter::curriculum::SAMPLE;
use crate::learner::gaussian;
use crate::report::Table;
use crate::time::EventTime;
use crate::window::{Level, Score, Window};

/// Phantom gradients: one bad action, repeated, pushes a policy of fixed sigma away geometrically; and a far one shrinks
/// sigma where it is learned.
pub fn phantom(scale: &Scale, findings: &mut Findings) {
    let mut table =
        Table::new("Growth of the distance to one repelled action", ["eta |A| / sigma^2", "expected", "measured"]);
    for (eta, advantage, sigma) in [(0.01, -0.5, 0.5_f32), (0.05, -1.0, 1.0), (0.002, -2.0, 0.3)] {
        let slope = repulsion_slope(eta, advantage, sigma);
        let strength = eta * -advantage / f64::from(sigma * sigma);
        let expected = strength.ln_1p();
        table.row([short(strength), format!("{expected:.6}"), format!("{slope:.6}")]);
        let relative = Estimate::of(&[(slope / expected - 1.0).abs()]);
        findings.at_most(
            format!("1 geometric repulsion, slope, eta |A|/sigma^2 = {}", short(strength)),
            1e-3,
            &relative,
        );
    }
    findings.tables.push(table);

    let mut table = Table::new("Step of log sigma under one negative action", ["|z|", "step", "sigma"]);
    let mut flips = 0;
    for z in [0.5_f32, 0.9, 0.999, 1.001, 1.1, 3.0] {
        // Gradient descent: the step is minus the gradient.
        let step = gaussian::gradients(&[0.0], &[0.0], &[z], &[-1.0]).own.map_or(f32::NAN, |own| -own[0]);
        flips += usize::from((step > 0.0) == (z < 1.0) && step != 0.0);
        table.row([format!("{z}"), short(f64::from(step)), if step > 0.0 { "widens" } else { "shrinks" }.to_owned()]);
    }
    findings.tables.push(table);
    let flips = Estimate::of(&[flips as f64]);
    findings.check("2 far negatives shrink sigma: sign flips at |z| = 1", "6 of 6", &flips, flips.mean == 6.0);

    let gaps: Vec<f64> = (0..scale.samples.max(1) as u64).map(optimality_gap).collect();
    let worst = Estimate::of(&[gaps.into_iter().fold(0.0, f64::max)]);
    findings.at_most("3 top-kappa with its atom is the optimum of the linear program and of its dual", 1e-12, &worst);
}

/// Slope of ln |mu - a| on the step, of plain gradient descent on w = A < 0.
fn repulsion_slope(eta: f64, advantage: f64, sigma: f32) -> f64 {
    let (action, mut mean) = ([0.3_f32, -0.4], vec![0.35_f32, -0.45]);
    let distance =
        |mean: &[f32]| -> f64 { mean.iter().zip(action).map(|(m, a)| f64::from(m - a).powi(2)).sum::<f64>().sqrt() };
    let first = distance(&mean);
    let steps = 100;
    for _ in 0..steps {
        let gradients = gaussian::gradients(&mean, &[sigma.ln(); 2], &action, &[advantage as f32]);
        mean.iter_mut().zip(gradients.output).for_each(|(mean, gradient)| *mean -= eta as f32 * gradient);
    }
    (distance(&mean) / first).ln() / f64::from(steps)
}

/// How far the window's answer is from the optimum, found twice in other ways: filled greedily unit by unit, and by the
/// least of the dual over all atoms. Random distributions, many of them with ties.
fn optimality_gap(number: u64) -> f64 {
    let mut random = generator(number, 0x6c70);
    let count = random.random_range(1..60_u64) as usize;
    let atoms = random.random_range(1..20_u64);
    let kappa: f64 = random.random_range(0.02..1.0);
    let scores: Vec<f64> = (0..count).map(|_| f64::from(random.random_range(0..atoms) as f32 * 0.37 - 2.0)).collect();
    let mut window = Window::new(count, None);
    scores.iter().filter_map(|s| Score::new(*s as f32)).for_each(|score| window.push(score, EventTime::START));
    let Some(cut) = window.quantile(Level::new(kappa)) else { return f64::INFINITY };
    let kappa = cut.level.to_f64();
    let value_of = |score: &f64| Score::new(*score as f32).map_or(0.0, |s| cut.weight(s) * score);
    let primal = scores.iter().map(value_of).sum::<f64>() / (kappa * count as f64);

    let mut sorted = scores.clone();
    sorted.sort_by(|left, right| right.total_cmp(left));
    let (mut room, mut greedy) = (kappa * count as f64, 0.0);
    for score in &sorted {
        let taken = room.min(1.0);
        greedy += taken * score;
        room -= taken;
    }
    greedy /= kappa * count as f64;
    let dual = |nu: f64| {
        let excess = scores.iter().map(|score| if *score > nu { score - nu } else { 0.0 }).sum::<f64>();
        nu + excess / (kappa * count as f64)
    };
    let least = scores.iter().map(|nu| dual(*nu)).fold(f64::INFINITY, f64::min);
    (primal - greedy).abs().max((primal - least).abs())
}

type Draw = fn(&mut Xoshiro256PlusPlus) -> f64;

/// Where the paper's rule brings kappa, by the distribution of rewards.
const SHAPES: [(&str, f64, Draw); 9] = [
    ("uniform", 0.5, |random| random.random()),
    ("Gaussian", 0.28, |random| StandardNormal.sample(random)),
    ("Beta(2, 5)", 0.145, |random| Beta::new(2.0, 5.0).map_or(0.0, |beta| beta.sample(random))),
    ("two clusters, 90 / 10", 0.103, |random| {
        let deviate: f64 = StandardNormal.sample(random);
        if random.random_bool(0.1) { 1.0 + 0.05 * deviate } else { 0.05 * deviate }
    }),
    ("20 % clicks", 0.21, |random| f64::from(u8::from(random.random_bool(0.2)))),
    ("5 % clicks", 0.053, |random| f64::from(u8::from(random.random_bool(0.05)))),
    ("exponential", 0.05, |random| -(1.0 - random.random::<f64>()).ln()),
    ("lognormal", 0.05, |random| LogNormal::new(0.0, 1.0).map_or(0.0, |law| law.sample(random))),
    ("Pareto, index 2", 0.05, |random| (1.0 - random.random::<f64>()).powf(-0.5)),
];

pub fn curriculum(scale: &Scale, findings: &mut Findings) {
    let mut table =
        Table::new("Fixed points of the paper's curriculum, batches of 320", ["rewards", "expected", "measured"]);
    for (shape, (name, expected, draw)) in (0..).zip(SHAPES) {
        let ends: Vec<f64> =
            (0..scale.seeds as u64).map(|seed| fixed_point(draw, seed * 100 + shape, scale.steps)).collect();
        let estimate = Estimate::of(&ends);
        table.row([name.to_owned(), short(expected), super::findings::with_interval(&estimate)]);
        findings.near(format!("9 curriculum, {name}"), expected, 0.02, &estimate);
    }
    findings.tables.push(table);
}

/// Mean kappa over the second half.
fn fixed_point(draw: Draw, seed: u64, steps: usize) -> f64 {
    let mut random = generator(seed, 0x6b61);
    let (mut kappa, mut total) = (0.5, 0.0);
    for step in 0..steps {
        let mut scores: Vec<f64> = (0..SAMPLE).map(|_| draw(&mut random)).collect();
        kappa = Curriculum::Paper.next(kappa, &mut scores);
        total += if step >= steps / 2 { kappa } else { 0.0 };
    }
    total / (steps - steps / 2).max(1) as f64
}
