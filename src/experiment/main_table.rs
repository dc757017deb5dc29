//! The paper's main table, in the simulator: a catalog, two mixtures, every method.

use super::data::Data;
use super::findings::{Findings, with_interval};
use super::jobs::each;
use super::paper;
use super::plan::{Plan, Scale};
use super::recipe::Method;
use super::stats::{Estimate, paired};
use super::train::train;
use super::tune::{Frozen, setup};
use super::worlds::{Line, where_a_baseline_wins};
use crate::learner::LearnerError;
use crate::policy::Policy;
use crate::report::Table;
use crate::simulate::{Actor, Choice, Logger, RawSimulateSettings, Regime, SimulateSettings, Trial, World};
use crate::time::EventTime;

const REGIMES: [(Regime, &str); 2] = [(Regime::Medium, "Medium"), (Regime::Extreme, "Extreme")];
/// Decisions of a session, on average.
const STEPS_PER_SESSION: usize = 7;

/// The simulated world of a seed, or `None` if its constants are out of range.
fn world(regime: Regime, scale: &Scale, seed: u64) -> Option<World> {
    let raw = RawSimulateSettings {
        seed: seed + 1,
        regime,
        items: scale.items,
        clusters: (scale.items / 25).max(1),
        ..RawSimulateSettings::default()
    };
    SimulateSettings::new(raw, EventTime::START).ok().map(World::new)
}

/// Mean observed reward of a visit's steps.
fn value(world: &World, policy: &Policy) -> f64 {
    let mut act = |state: &[f32]| Choice::Embedding(policy.mean(state).unwrap_or_default());
    let trial = Trial { episodes: 200, seed: 77, time: EventTime::START };
    world.rollout(Actor::Policy(&mut act), trial).reward
}

pub fn main_table(plan: &Plan, scale: &Scale, frozen: &Frozen, findings: &mut Findings) -> Result<(), LearnerError> {
    let methods: Vec<_> = plan.methods.iter().filter_map(|method| frozen.recipe(*method)).collect();
    let setup = setup(plan, scale.steps, false);
    let mut lines: Vec<Line> =
        methods.iter().map(|recipe| Line { recipe: recipe.clone(), values: Vec::new() }).collect();
    let mut references = Vec::new();
    for (regime, _) in REGIMES {
        // One log for each seed, all methods on it.
        let seeds = each(scale.seeds, |seed| -> Result<(Vec<f64>, [f64; 3]), LearnerError> {
            let Some(world) = world(regime, scale, seed as u64) else {
                return Ok((vec![0.0; methods.len()], [0.0; 3]));
            };
            let data = Data::simulated(&world, (scale.samples / STEPS_PER_SESSION) as u64);
            let mut values = Vec::new();
            for recipe in &methods {
                values.push(value(&world, &train(&data, recipe, &setup, seed as u64)?.policy));
            }
            let trial = Trial { episodes: 200, seed: 77, time: EventTime::START };
            let of = |actor: Actor<'_>| world.rollout(actor, trial).reward;
            Ok((values, [of(Actor::Mixture), of(Actor::Logger(Logger::Expert)), of(Actor::Best)]))
        })?;
        for (index, line) in lines.iter_mut().enumerate() {
            line.values.push(seeds.iter().map(|(values, _)| values[index]).collect());
        }
        references.push(seeds.iter().map(|(_, reference)| *reference).collect::<Vec<[f64; 3]>>());
    }
    findings.tables.push(table(&lines, &references));
    checks(&lines, findings);
    let levels = Scale { levels: vec![0.0, 1.0], ..scale.clone() };
    let place = |level: f64| format!("in the {} mixture", REGIMES[level as usize].1);
    where_a_baseline_wins(&lines, &levels, place, findings);
    Ok(())
}

fn table(lines: &[Line], references: &[Vec<[f64; 3]>]) -> Table {
    let mut table = Table::new(
        "Reward, published beside ours (in brackets: over bc)",
        ["method", "Medium, published", "Medium, ours", "Extreme, published", "Extreme, ours"],
    );
    let bc = lines.iter().find(|line| line.recipe.method == Method::Bc);
    let over_bc =
        |value: f64, bc: Option<f64>| bc.map_or(String::new(), |bc| format!(" ({:+.0} %)", 100.0 * (value / bc - 1.0)));
    for line in lines {
        let mut row = vec![line.recipe.describe()];
        for regime in 0..REGIMES.len() {
            let published = paper::main(line.recipe.method).map(|figures| figures[regime]);
            let published_bc = paper::main(Method::Bc).map(|figures| figures[regime]);
            row.push(
                published.map_or("-".to_owned(), |figure| format!("{figure:.3}{}", over_bc(figure, published_bc))),
            );
            let ours = line.estimate(regime);
            let ours_bc = bc.map(|bc| bc.estimate(regime).mean);
            row.push(format!("{}{}", with_interval(&ours), over_bc(ours.mean, ours_bc)));
        }
        table.row(row);
    }
    for (index, name) in
        ["the mixture that wrote the log", "its expert", "the best item for everybody"].iter().enumerate()
    {
        let of = |regime: usize| {
            let values: Vec<f64> = references[regime].iter().map(|reference| reference[index]).collect();
            with_interval(&Estimate::of(&values))
        };
        table.row([(*name).to_owned(), "-".to_owned(), of(0), "-".to_owned(), of(1)]);
    }
    table
}

fn checks(lines: &[Line], findings: &mut Findings) {
    let of = |method: Method| lines.iter().find(|line| line.recipe.method == method);
    for (regime, (_, name)) in REGIMES.iter().enumerate() {
        for (left, right) in [
            (Method::Drpo, Method::Bc),
            (Method::Drpo, Method::Crr),
            (Method::Drpo, Method::Bppo),
            (Method::Drpo, Method::Iql),
            (Method::AdaptiveBc, Method::Bc),
            (Method::DrpoExp, Method::Bc),
        ] {
            let (Some(left), Some(right)) = (of(left), of(right)) else { continue };
            let ahead = paired(&left.values[regime], &right.values[regime]);
            let names = (left.recipe.method.name(), right.recipe.method.name());
            findings.at_least(format!("main, {name}: {} ahead of {}", names.0, names.1), 0.0, &ahead);
        }
        if let (Some(apg), Some(bc)) = (of(Method::Apg), of(Method::Bc)) {
            let share = apg.estimate(regime).mean / bc.estimate(regime).mean;
            findings.at_most(format!("main, {name}: apg has lost itself, share of bc"), 0.9, &Estimate::of(&[share]));
        }
    }
}
