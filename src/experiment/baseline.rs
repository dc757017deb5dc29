//! What a score is measured from, when contexts pay for themselves: no baseline, the mean, a linear one, a network.
//!
//! Every reward of the small world gets an offset that depends on the context alone, so no recommendation earns it. A
//! filter on plain rewards then keeps the contexts with a great offset instead of the good actions. `straight` is a
//! multiple of one number of the context, `bent` a multiple of the product of two: no linear rule sees anything of it.

use super::data::{Data, generator};
use super::findings::{Findings, with_interval};
use super::jobs::each;
use super::plan::{MEDIUM, Plan, Scale};
use super::recipe::{Keep, Method, Recipe};
use super::stats::{Estimate, paired};
use super::stream::{self, Stream};
use super::toy::{TOY, ToyWorld};
use crate::learner::{LearnerError, Objective};
use crate::report::Table;
use crate::score::Baseline;

const BASELINES: [(&str, Baseline); 4] =
    [("none", Baseline::None), ("mean", Baseline::Mean), ("linear", Baseline::Linear), ("network", Baseline::Network)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offset {
    None,
    Straight,
    Bent,
}

const OFFSETS: [(&str, Offset); 3] = [("none", Offset::None), ("straight", Offset::Straight), ("bent", Offset::Bent)];

/// Standard deviation of the offset; that of the rewards themselves is about .3.
const OFFSET: f32 = 0.5;

impl Offset {
    fn of(self, context: &[f32]) -> f32 {
        let number = |axis: usize| context.get(axis).copied().unwrap_or(0.0);
        OFFSET
            * match self {
                Offset::None => 0.0,
                Offset::Straight => number(0),
                Offset::Bent => number(0) * number(1),
            }
    }
}

/// Latent reward at the mean action, offset left out: what the policy can do something about.
fn learned(plan: &Plan, scale: &Scale, baseline: Baseline, offset: Offset, seed: u64) -> Result<f64, LearnerError> {
    let mut random = generator(seed, TOY);
    let world = ToyWorld::new(&plan.toy, &mut random);
    let mut data: Data = world.log(scale.samples, MEDIUM, 0.0, &mut random);
    for row in 0..data.len() {
        data.rewards[row] += offset.of(data.state(row));
    }
    let recipe = Recipe::new(Method::Drpo, Objective::Drpo, Keep::Best { kappa: plan.kappa });
    let stream = Stream { baseline, ..Stream::STATIONARY };
    let (trained, _) = stream::train(&data, &recipe, &stream::setup(plan), stream, 1, seed)?;
    Ok(world.measure(&trained.policy))
}

pub fn baselines(plan: &Plan, scale: &Scale, findings: &mut Findings) -> Result<(), LearnerError> {
    let title =
        format!("Reward at the mean action after one pass over {} decisions, by what the context pays", scale.samples);
    let mut table = Table::new(&title, ["baseline", "offset: none", "straight", "bent"]);
    let mut values = Vec::new();
    for (name, baseline) in BASELINES {
        let at = |(_, offset): &(&str, Offset)| {
            each(scale.seeds, |seed| learned(plan, scale, baseline, *offset, seed as u64))
        };
        let by_offset = OFFSETS.iter().map(at).collect::<Result<Vec<Vec<f64>>, _>>()?;
        let cells = by_offset.iter().map(|seeds| with_interval(&Estimate::of(seeds)));
        table.row([name.to_owned()].into_iter().chain(cells));
        values.push(by_offset);
    }
    findings.tables.push(table);
    let [none, _, linear, network] = &values[..] else { return Ok(()) };
    let [plain, straight, bent] = [0, 1, 2];
    let gap = |left: &[Vec<f64>], right: &[Vec<f64>], offset: usize| paired(&left[offset], &right[offset]);
    findings.at_least("baseline: a straight offset wants a baseline", 0.05, &gap(linear, none, straight));
    findings.at_least("baseline: a bent offset wants the network", 0.05, &gap(network, linear, bent));
    let costs = "baseline: what the network costs where the linear one is right";
    findings.at_most(costs, 0.03, &gap(linear, network, straight));
    findings.at_most("baseline: what a baseline costs where no context pays", 0.03, &gap(none, linear, plain));
    Ok(())
}
