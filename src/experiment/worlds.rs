//! Studies on the small world: ablation, random behavior in the log, noise on the reward.

use super::data::generator;
use super::findings::{Findings, short, with_interval};
use super::jobs::each;
use super::paper;
use super::plan::{MEDIUM, Plan, Scale, Toy};
use super::recipe::{Keep, Method, Recipe};
use super::stats::{Estimate, paired};
use super::stream::{self, Stream};
use super::toy::{TOY, ToyWorld};
use super::train::{Setup, train};
use super::tune::{Frozen, setup};
use crate::learner::{LearnerError, Objective, Temperature};
use crate::report::{Chart, Point, Series, Table, Tone};

/// Latent reward at the mean action after training on a log of its own per seed; one value for each seed.
fn over_seeds(recipe: &Recipe, toy: &Toy, noise: f64, setup: &Setup, scale: &Scale) -> Result<Vec<f64>, LearnerError> {
    each(scale.seeds, |seed| {
        let mut random = generator(seed as u64, TOY);
        let world = ToyWorld::new(toy, &mut random);
        let data = world.log(scale.samples, MEDIUM, noise, &mut random);
        train(&data, recipe, setup, seed as u64).map(|trained| world.measure(&trained.policy))
    })
}

/// The same in one pass over a log of `scale.stream_samples` rows.
fn streamed_over_seeds(
    recipe: &Recipe,
    toy: &Toy,
    noise: f64,
    plan: &Plan,
    scale: &Scale,
) -> Result<Vec<f64>, LearnerError> {
    let setup = stream::setup(plan);
    each(scale.seeds, |seed| {
        let mut random = generator(seed as u64, TOY);
        let world = ToyWorld::new(toy, &mut random);
        let data = world.log(scale.stream_samples, MEDIUM, noise, &mut random);
        let (trained, _) = stream::train(&data, recipe, &setup, Stream::STATIONARY, 1, seed as u64)?;
        Ok(world.measure(&trained.policy))
    })
}

/// One line of a table: a method's values by level, each over seeds.
pub struct Line {
    pub recipe: Recipe,
    pub values: Vec<Vec<f64>>,
}

impl Line {
    pub fn estimate(&self, level: usize) -> Estimate {
        Estimate::of(self.values.get(level).map_or(&[], Vec::as_slice))
    }
}

pub fn ablation(plan: &Plan, scale: &Scale, findings: &mut Findings) -> Result<(), LearnerError> {
    let arm = |objective: Objective, keep: Keep| Recipe::new(Method::Drpo, objective, keep);
    let (best, published) = (Keep::Best { kappa: 0.2 }, paper::ABLATION);
    let arms = [
        ("apg: all rows, mean as the baseline", arm(Objective::Apg, Keep::All), Some(0.17), None),
        ("top 20 %, mean as the baseline", arm(Objective::Apg, best), Some(0.13), Some(published[0])),
        ("all rows, their least score as the baseline", arm(Objective::Drpo, Keep::All), None, Some(published[1])),
        ("top 20 %, its least score as the baseline", arm(Objective::Drpo, best), Some(0.89), Some(published[2])),
        ("the paper's curriculum, least score", arm(Objective::Drpo, Keep::Paper), None, Some(published[3])),
    ];
    let mut table = Table::new(
        "Ablation",
        ["form", "published eCPM", "expected", "measured", "with the guard: refused, rolled back"],
    );
    let mut values = Vec::new();
    for (name, recipe, expected, published) in &arms {
        let seeds = over_seeds(recipe, &plan.toy, 0.0, &setup(plan, scale.steps, false), scale)?;
        let guarded = guarded_counts(recipe, plan, scale)?;
        let estimate = Estimate::of(&seeds);
        table.row([
            (*name).to_owned(),
            published.map_or("-".to_owned(), short),
            expected.map_or("-".to_owned(), short),
            with_interval(&estimate),
            format!("{}, {}", guarded.0, guarded.1),
        ]);
        if let Some(expected) = expected {
            findings.near(format!("4 ablation, {name}"), *expected, 0.03, &estimate);
        }
        values.push((seeds, guarded));
    }
    findings.tables.push(table);
    let [(apg, guard), (mean, _), _, (least, _), _] = &values[..] else { return Ok(()) };
    let order = paired(least, &apg.iter().zip(mean).map(|(apg, mean)| apg.max(*mean)).collect::<Vec<f64>>());
    findings.at_least("4 the least score as the baseline beats the mean as the baseline", 0.3, &order);
    let refused = Estimate::of(&[guard.0 as f64]);
    findings.at_least("4 apg is refused by the divergence guard", 1.0, &refused);
    findings.at_least("4 apg is rolled back by the divergence guard", 1.0, &Estimate::of(&[guard.1 as f64]));
    Ok(())
}

/// What the divergence guard does about a recipe: updates refused and rollbacks, at the first seed.
fn guarded_counts(recipe: &Recipe, plan: &Plan, scale: &Scale) -> Result<(u64, u64), LearnerError> {
    let mut random = generator(0, TOY);
    let world = ToyWorld::new(&plan.toy, &mut random);
    let data = world.log(scale.samples, MEDIUM, 0.0, &mut random);
    let trained = train(&data, recipe, &setup(plan, scale.steps.min(1_500), true), 0)?;
    Ok((trained.counters.refused(), trained.counters.rollbacks))
}

/// The toy's figures of an earlier study of ours, at 0, 20, 40, 60 and 80 %.
fn earlier(method: Method) -> Option<[f64; 5]> {
    match method {
        Method::Bc => Some([0.45, 0.45, 0.44, 0.43, 0.39]),
        Method::AdaptiveBc => Some([0.89, 0.88, 0.87, 0.86, 0.81]),
        Method::Drpo => Some([0.917, 0.913, 0.903, 0.891, 0.860]),
        Method::Awr => Some([0.917, 0.916, 0.905, 0.880, 0.840]),
        Method::Crr | Method::Bppo | Method::Iql | Method::IqlPublished | Method::DrpoExp => None,
        Method::Asymre | Method::Remoteness | Method::Apg => None,
    }
}

pub fn noise(plan: &Plan, scale: &Scale, frozen: &Frozen, findings: &mut Findings) -> Result<(), LearnerError> {
    let lines = lines(plan, scale, &recipes(plan, frozen), |toy, _| toy.clone(), |level| level)?;
    let percent = |level: f64| format!("{:.0} %", 100.0 * level);
    let title = "Reward at the mean action, by share of random behavior";
    findings.tables.push(level_table(title, scale, &lines, percent));
    let mut published = Table::new(
        "Published eCPM at 0, 20, 40, 60 and 80 %, as a share of the method's own figure at 0 %",
        ["method", "0 %", "20 %", "40 %", "60 %", "80 %"],
    );
    for line in &lines {
        if let Some(figures) = paper::noise(line.recipe.method) {
            let cells = figures.iter().map(|figure| format!("{figure:.3} ({:.0} %)", 100.0 * figure / figures[0]));
            published.row([line.recipe.method.name().to_owned()].into_iter().chain(cells));
        }
    }
    findings.tables.push(published);
    findings.charts.push(level_chart(plan, scale, &lines, "share of random behavior", "reward"));

    let of = |method: Method| lines.iter().find(|line| line.recipe.method == method);
    let last = scale.levels.len().saturating_sub(1);
    if let (Some(drpo), Some(adaptive)) = (of(Method::Drpo), of(Method::AdaptiveBc)) {
        let lost: Vec<f64> =
            drpo.values[0].iter().zip(&drpo.values[last]).map(|(none, all)| 1.0 - all / none).collect();
        let name = format!("5 drpo loses at most 7 % at {:.0} % random behavior", 100.0 * scale.levels[last]);
        findings.at_most(name, 0.07, &Estimate::of(&lost));
        for (index, level) in scale.levels.iter().enumerate() {
            let over = paired(&drpo.values[index], &adaptive.values[index]);
            findings.at_least(format!("5 drpo stays above adaptive-bc at {:.0} %", 100.0 * level), 0.0, &over);
        }
    }
    let place = |level: f64| format!("at {:.0} % random behavior", 100.0 * level);
    where_a_baseline_wins(&lines, scale, place, findings);
    for method in [Method::Bc, Method::AdaptiveBc, Method::Drpo] {
        if let Some(line) = of(method) {
            as_earlier(5, line, scale, findings);
        }
    }
    let fixed = self::lines(plan, scale, &fixed_recipes(), |toy, _| toy.clone(), |level| level)?;
    if let Some(awr) = fixed.first() {
        as_earlier(6, awr, scale, findings);
    }
    let title = "Without the curriculum, and awr at a temperature that is not tuned";
    findings.tables.push(level_table(title, scale, &fixed, percent));
    in_one_pass(plan, scale, frozen, |toy, _| toy.clone(), |level| level, findings)
}

/// What the tuned lines leave open: whether the curriculum is worth having, and check 6 to the letter.
fn fixed_recipes() -> Vec<Recipe> {
    let awr = Recipe::new(Method::Awr, Objective::Awr { temperature: Temperature::Raw(0.05) }, Keep::All);
    let mut recipes = vec![awr];
    for (method, objective) in [(Method::Drpo, Objective::Drpo), (Method::AdaptiveBc, Objective::AdaptiveBc)] {
        recipes.extend([0.05, 0.1, 0.2].map(|kappa| Recipe::new(method, objective, Keep::Best { kappa })));
    }
    recipes
}

/// Checks of a line against the earlier study.
fn as_earlier(row: u32, line: &Line, scale: &Scale, findings: &mut Findings) {
    let method = line.recipe.method;
    for (index, level) in scale.levels.iter().enumerate() {
        if let Some(expected) = earlier(method).and_then(|figures| figures.get((level / 0.2).round() as usize).copied())
        {
            let name = format!("{row} {} at {:.0} %", method.name(), 100.0 * level);
            findings.near(name, expected, 0.03, &line.estimate(index));
        }
    }
}

/// The streaming form of those methods that have one.
fn in_one_pass(
    plan: &Plan,
    scale: &Scale,
    frozen: &Frozen,
    toy_at: impl Fn(&Toy, f64) -> Toy,
    noise_at: impl Fn(f64) -> f64,
    findings: &mut Findings,
) -> Result<(), LearnerError> {
    if scale.stream_samples == 0 {
        return Ok(());
    }
    let mut lines = Vec::new();
    for recipe in recipes(plan, frozen).into_iter().filter(|recipe| recipe.method.is_streamed()) {
        let recipe = recipe.in_stream(plan.kappa);
        let at = |level: &f64| streamed_over_seeds(&recipe, &toy_at(&plan.toy, *level), noise_at(*level), plan, scale);
        let values = scale.levels.iter().map(at).collect::<Result<Vec<_>, _>>()?;
        lines.push(Line { recipe, values });
    }
    let title = format!("The same in one pass over {} logged decisions", scale.stream_samples);
    findings.tables.push(level_table(&title, scale, &lines, |level| format!("{level}")));
    Ok(())
}

pub fn reward_noise(plan: &Plan, scale: &Scale, frozen: &Frozen, findings: &mut Findings) -> Result<(), LearnerError> {
    let noisy = |toy: &Toy, level: f64| Toy { reward_noise: level, ..toy.clone() };
    let lines = lines(plan, scale, &recipes(plan, frozen), noisy, |_| 0.0)?;
    findings.tables.push(level_table("Reward at the mean action, by noise on the reward", scale, &lines, |level| {
        format!("sd {level}")
    }));
    findings.charts.push(level_chart(plan, scale, &lines, "standard deviation of the reward's noise", "reward"));
    let of = |method: Method| lines.iter().find(|line| line.recipe.method == method);
    for (method, expected) in [(Method::Drpo, [0.92, 0.55, 0.47]), (Method::Remoteness, [0.83, 0.77, 0.62])] {
        let Some(line) = of(method) else { continue };
        for (index, level) in scale.levels.iter().enumerate() {
            if let Some(expected) = expected.get((level / 0.5).round() as usize) {
                let name = format!("7 {} at reward noise {level}", method.name());
                findings.near(name, *expected, 0.08, &line.estimate(index));
            }
        }
    }
    if let (Some(drpo), Some(signed), [.., last]) = (of(Method::Drpo), of(Method::Remoteness), &scale.levels[..]) {
        let last_index = scale.levels.len() - 1;
        let clean = paired(&drpo.values[0], &signed.values[0]);
        findings.at_least("7 without noise drpo is ahead of the signed, tapered objective", 0.0, &clean);
        let noisy = paired(&signed.values[last_index], &drpo.values[last_index]);
        findings.at_least(format!("7 at reward noise {last} the order is reversed"), 0.0, &noisy);
    }
    where_a_baseline_wins(&lines, scale, |level| format!("at reward noise {level}"), findings);
    in_one_pass(plan, scale, frozen, noisy, |_| 0.0, findings)
}

fn recipes(plan: &Plan, frozen: &Frozen) -> Vec<Recipe> {
    plan.methods.iter().filter_map(|method| frozen.recipe(*method)).collect()
}

fn lines(
    plan: &Plan,
    scale: &Scale,
    recipes: &[Recipe],
    toy_at: impl Fn(&Toy, f64) -> Toy,
    noise_at: impl Fn(f64) -> f64,
) -> Result<Vec<Line>, LearnerError> {
    let setup = setup(plan, scale.steps, false);
    let mut lines = Vec::new();
    for recipe in recipes {
        let at = |level: &f64| over_seeds(recipe, &toy_at(&plan.toy, *level), noise_at(*level), &setup, scale);
        let values = scale.levels.iter().map(at).collect::<Result<Vec<_>, _>>()?;
        lines.push(Line { recipe: recipe.clone(), values });
    }
    Ok(lines)
}

fn level_table(title: &str, scale: &Scale, lines: &[Line], header: impl Fn(f64) -> String) -> Table {
    let headers = ["method".to_owned()].into_iter().chain(scale.levels.iter().map(|level| header(*level)));
    let mut table = Table::new(title, headers);
    for line in lines {
        let cells = (0..scale.levels.len()).map(|level| with_interval(&line.estimate(level)));
        table.row([line.recipe.describe()].into_iter().chain(cells));
    }
    table
}

fn level_chart(plan: &Plan, scale: &Scale, lines: &[Line], x_label: &str, y_label: &str) -> Chart {
    let chosen = [
        (Method::Drpo, Tone::Teal),
        (Method::AdaptiveBc, Tone::Violet),
        (Method::Awr, Tone::Amber),
        (Method::Remoteness, Tone::Green),
        (Method::Bc, Tone::Gray),
    ];
    let series = chosen.iter().filter_map(|(method, tone)| {
        let line = lines.iter().find(|line| line.recipe.method == *method)?;
        let point = |(index, level): (usize, &f64)| {
            let estimate = line.estimate(index);
            Point { x: *level, y: estimate.mean, interval: Some((estimate.low, estimate.high)) }
        };
        Some(Series::new(method.name(), *tone, scale.levels.iter().enumerate().map(point).collect()))
    });
    Chart {
        title: plan.title.clone(),
        explanation: "Means over seeds with their 95 % intervals.".to_owned(),
        x_label: x_label.to_owned(),
        y_label: y_label.to_owned(),
        y_from_zero: true,
        series: series.collect(),
        levels: Vec::new(),
        marks: Vec::new(),
    }
}

/// A sentence for each level at which a baseline is ahead of `drpo`.
pub fn where_a_baseline_wins(lines: &[Line], scale: &Scale, place: impl Fn(f64) -> String, findings: &mut Findings) {
    let Some(drpo) = lines.iter().find(|line| line.recipe.method == Method::Drpo) else { return };
    for (index, level) in scale.levels.iter().enumerate() {
        for line in lines.iter().filter(|line| line.recipe.method != Method::Drpo) {
            let ahead = paired(&line.values[index], &drpo.values[index]);
            if ahead.mean > 0.0 {
                let is_sure = if ahead.low > 0.0 { "" } else { ", which the seeds do not tell from nothing" };
                findings.sentences.push(format!(
                    "{} is ahead of drpo {}: {} against {}, by {}{is_sure}.",
                    line.recipe.method.name(),
                    place(*level),
                    short(line.estimate(index).mean),
                    short(drpo.estimate(index).mean),
                    with_interval(&ahead),
                ));
            }
        }
    }
}
