//! Studies in which the log changes while it is learned: from offline to online, in one pass, and after a break.

use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

use super::data::{Data, generator};
use super::findings::{Findings, short, with_interval};
use super::jobs::each;
use super::paper;
use super::plan::{EXTREME, MEDIUM, Plan, Scale};
use super::recipe::{Keep, Method, Recipe};
use super::stats::{Estimate, paired};
use super::stream::{self, Stream};
use super::toy::{TOY, ToyWorld};
use super::train::{ROWS, gathered, learner, train};
use super::tune::{Frozen, setup};
use crate::filter::{Curriculum, Filter, FilterRules, WarmUp};
use crate::learner::{LearnerError, Objective};
use crate::policy::Policy;
use crate::report::{Chart, Point, Series, Table, Tone};
use crate::time::EventTime;
use crate::window::Score;

const PIECES: usize = 20;
/// Updates that are called the first.
const FIRST: usize = 10;
/// Rows by which the hand-over judges.
const WINDOW: usize = 5_000;

/// A hand-over, in pieces of equal length.
struct HandOver {
    /// The same over the first updates, before the policy has learned anything.
    at_first: f64,
    /// Of the admitted rows, the share that the policy itself had made.
    online: Vec<f64>,
    reward: Vec<f64>,
}

/// The product's filter, with a window full of what the log's own behavior earned.
fn filter_of_log(recipe: &Recipe, offline: &Data, seed: u64) -> Filter {
    let rules = FilterRules {
        kappa: recipe.keep.kappa(),
        curriculum: Curriculum::Fixed,
        seed,
        window: WINDOW,
        max_age: None,
        level_rate: 0.005,
        warmup: WarmUp::Hold,
        max_share_per_user: 1.0,
        max_silence: true,
        drift_threshold: None,
        noise_gate: None,
    };
    let mut filter = Filter::new(rules);
    for &reward in offline.rewards.iter().take(WINDOW) {
        filter.consider(Score::new(reward), 1, "-", EventTime::FIRST);
    }
    filter
}

/// Half of the stream is logged, half is what the policy does now and what comes of it; the filter judges both alike.
fn hand_over_once(recipe: &Recipe, plan: &Plan, scale: &Scale, seed: u64) -> Result<HandOver, LearnerError> {
    let mut random = generator(seed, 0x6f6e);
    let world = ToyWorld::new(&plan.toy, &mut random);
    let offline = world.log(scale.samples, plan.mixture, 0.0, &mut random);
    let mut learner = learner(&offline, recipe, &setup(plan, scale.steps, true), seed)?;
    let mut filter = filter_of_log(recipe, &offline, seed);
    let (mut online, mut reward) = (Vec::new(), Vec::new());
    let (mut admitted, mut admitted_online) = (0.0, 0.0);
    let mut at_first = 0.0;
    for number in 0..scale.steps {
        let mut data = Data::new(offline.context, offline.dimension);
        // Even rows are logged, odd ones online.
        for _ in 0..ROWS / 2 {
            let row = random.random_range(0..offline.len() as u64) as usize;
            data.states.extend_from_slice(offline.state(row));
            data.actions.extend_from_slice(offline.action(row));
            data.rewards.push(offline.rewards[row]);
            act(&world, learner.policy(), &mut data, &mut random);
        }
        let (mut rows, mut thresholds, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for (row, &reward) in data.rewards.iter().enumerate() {
            let judgement = filter.consider(Score::new(reward), 1, "-", EventTime::FIRST);
            if judgement.weight > 0.0 {
                rows.push(row);
                thresholds.push(judgement.cut.map_or(reward, |cut| cut.threshold.value()));
                weights.push(judgement.weight as f32);
                admitted += judgement.weight;
                admitted_online += if row % 2 == 1 { judgement.weight } else { 0.0 };
            }
        }
        if !rows.is_empty() {
            // What the guard refuses is part of the story.
            let _ = learner.update(&gathered(&data, &rows, thresholds, weights, number as u64));
        }
        if number + 1 == FIRST {
            at_first = admitted_online / admitted;
        }
        if (number + 1) * PIECES / scale.steps > online.len() {
            online.push(admitted_online / admitted);
            (admitted, admitted_online) = (0.0, 0.0);
            reward.push(world.measure(learner.policy()));
        }
    }
    Ok(HandOver { at_first, online, reward })
}

/// An action drawn from the policy, with its observed reward.
fn act(world: &ToyWorld, policy: &Policy, data: &mut Data, random: &mut rand_xoshiro::Xoshiro256PlusPlus) {
    let context = world.context(random);
    let state: Vec<f32> = context.iter().map(|&x| x as f32).collect();
    let (mean, sigma) = (policy.mean(&state).unwrap_or_default(), policy.sigma().unwrap_or_default());
    let draw = |(mean, sigma): (&f32, &f32)| {
        let deviate: f64 = StandardNormal.sample(random);
        f64::from(*mean) + f64::from(*sigma) * deviate
    };
    let action: Vec<f64> = mean.iter().zip(&sigma).map(draw).collect();
    let reward = world.observed(&context, &action, random);
    data.push(&context, &action, reward);
}

pub fn hand_over(plan: &Plan, scale: &Scale, frozen: &Frozen, findings: &mut Findings) -> Result<(), LearnerError> {
    let mut table = Table::new(
        "From offline to online: half of each batch is logged, half is the policy's own",
        [
            "method",
            "online share of the admitted, first 10 updates",
            "last twentieth",
            "deepest dip of the reward",
            "reward at the end",
        ],
    );
    let (mut shares, mut rewards) = (Vec::new(), Vec::new());
    let tones = [Tone::Teal, Tone::Violet, Tone::Amber, Tone::Green, Tone::Gray];
    let (mut drpo, mut control) = (Vec::new(), Vec::new());
    for (recipe, tone) in plan.methods.iter().filter_map(|method| frozen.recipe(*method)).zip(tones) {
        let recipe = recipe.in_stream(plan.kappa);
        let runs = each(scale.seeds, |seed| hand_over_once(&recipe, plan, scale, seed as u64))?;
        let over = |value: &dyn Fn(&HandOver) -> f64| Estimate::of(&runs.iter().map(value).collect::<Vec<f64>>());
        let first = over(&|run| run.at_first);
        let last = over(&|run| run.online[run.online.len() - 1]);
        let dip = over(&|run| deepest_dip(&run.reward));
        let end = over(&|run| run.reward[run.reward.len() - 1]);
        table.row([recipe.describe()].into_iter().chain([&first, &last, &dip, &end].map(with_interval)));
        let ends = || runs.iter().map(|run| run.reward[run.reward.len() - 1]).collect::<Vec<f64>>();
        if recipe.method == Method::Bc {
            control = ends();
        }
        if recipe.method == Method::Drpo {
            drpo = ends();
            findings.at_most("10 hand-over, drpo: online share of the admitted at first", 0.03, &first);
            findings.at_least("10 hand-over, drpo: online share of the admitted at last", 0.9, &last);
            findings.at_most("10 hand-over, drpo: no dip of the reward", 0.05, &dip);
        }
        let line = |value: &dyn Fn(&HandOver) -> &Vec<f64>| {
            let point = |piece: usize| {
                let estimate = Estimate::of(&runs.iter().map(|run| value(run)[piece]).collect::<Vec<f64>>());
                let x = ((piece + 1) * scale.steps / PIECES) as f64;
                Point { x, y: estimate.mean, interval: Some((estimate.low, estimate.high)) }
            };
            Series::new(recipe.method.name(), tone, (0..PIECES).map(point).collect())
        };
        shares.push(line(&|run| &run.online));
        rewards.push(line(&|run| &run.reward));
    }
    findings.tables.push(table);
    if !(drpo.is_empty() || control.is_empty()) {
        let ahead = paired(&drpo, &control);
        findings.at_least("10 hand-over: drpo ends ahead of the unfiltered control (bc)", 0.2, &ahead);
    }
    findings
        .sentences
        .push(format!("Published, eCPM: {}; online share of the admitted from about .02 to .99.", paper::HAND_OVER));
    for (title, y_label, series) in
        [("Who is admitted", "online share of the admitted", shares), ("No dip", "reward at the mean action", rewards)]
    {
        findings.charts.push(Chart {
            title: title.to_owned(),
            explanation: "An unfiltered method admits what comes: half and half.".to_owned(),
            x_label: "updates".to_owned(),
            y_label: y_label.to_owned(),
            y_from_zero: true,
            series,
            levels: Vec::new(),
            marks: Vec::new(),
        });
    }
    Ok(())
}

/// How far the reward falls below what it had been.
fn deepest_dip(rewards: &[f64]) -> f64 {
    let (mut best, mut dip) = (f64::NEG_INFINITY, 0.0_f64);
    for &reward in rewards {
        best = best.max(reward);
        dip = dip.max(best - reward);
    }
    dip
}

pub fn streaming(plan: &Plan, scale: &Scale, frozen: &Frozen, findings: &mut Findings) -> Result<(), LearnerError> {
    let mut table = Table::new(
        "The same log in batch form (drawn at random, the best of each batch) and in one pass through the product's pipeline",
        ["method", "batch", "streaming", "streaming over batch", "admitted share"],
    );
    let setup = setup(plan, scale.steps, true);
    let mut streamed = Vec::new();
    for recipe in plan.methods.iter().filter_map(|method| frozen.recipe(*method)) {
        let in_stream = recipe.in_stream(plan.kappa);
        let runs = each(scale.seeds, |seed| {
            let mut random = generator(seed as u64, TOY);
            let world = ToyWorld::new(&plan.toy, &mut random);
            let data = world.log(scale.samples, MEDIUM, 0.0, &mut random);
            let batch = train(&data, &recipe, &setup, seed as u64)?;
            let (one_pass, admitted) =
                stream::train(&data, &in_stream, &stream::setup(plan), Stream::STATIONARY, 4, seed as u64)?;
            let share = admitted.shares.iter().sum::<f64>() / admitted.shares.len() as f64;
            Ok::<_, LearnerError>((world.measure(&batch.policy), world.measure(&one_pass.policy), share))
        })?;
        let batch: Vec<f64> = runs.iter().map(|run| run.0).collect();
        let stream: Vec<f64> = runs.iter().map(|run| run.1).collect();
        let ratio =
            Estimate::of(&batch.iter().zip(&stream).map(|(batch, stream)| stream / batch).collect::<Vec<f64>>());
        let share = Estimate::of(&runs.iter().map(|run| run.2).collect::<Vec<f64>>());
        let name = format!("{}; in the stream {}", recipe.describe(), short(in_stream.keep.kappa()));
        let cells = [&Estimate::of(&batch), &Estimate::of(&stream), &ratio, &share].map(with_interval);
        table.row([name].into_iter().chain(cells));
        if recipe.method == Method::Drpo {
            findings.at_least("streaming drpo within 3 % of batch drpo on a stationary log", 0.97, &ratio);
        }
        streamed.push((recipe.method, stream));
    }
    findings.tables.push(table);
    let drpo = streamed.iter().find(|(method, _)| *method == Method::Drpo);
    for (method, values) in &streamed {
        let Some((_, drpo)) = drpo.filter(|_| *method != Method::Drpo) else { continue };
        let ahead = paired(values, drpo);
        if ahead.mean > 0.0 {
            let by = with_interval(&ahead);
            findings.sentences.push(format!("{} is ahead of drpo in the stream, by {by}.", method.name()));
        }
    }
    Ok(())
}

/// What a threshold that was taken once does after a break, and what the sliding one does.
struct Recovery {
    stream_share: Vec<f64>,
    frozen_share: Vec<f64>,
    stream_reward: f64,
    frozen_reward: f64,
    drifts: f64,
}

fn recover_once(recipe: &Recipe, plan: &Plan, scale: &Scale, seed: u64) -> Result<Recovery, LearnerError> {
    let mut random = generator(seed, 0x6272);
    let (before, after) = (ToyWorld::new(&plan.toy, &mut random), ToyWorld::new(&plan.toy, &mut random));
    let half = scale.samples / 2;
    let mut data = before.log(half, MEDIUM, 0.0, &mut random);
    data.append(&after.log(half, EXTREME, 0.0, &mut random));
    let setup = setup(plan, scale.steps, true);
    let stream = Stream { window: 2_000, buffer: 1_000, drift_threshold: Some(50.0), ..Stream::STATIONARY };
    let (trained, admitted) = stream::train(&data, recipe, &setup, stream, PIECES, seed)?;

    // The batch form: a threshold from the first half, and everything above it, old and new.
    let mut sorted = data.rewards[..half].to_vec();
    sorted.sort_unstable_by(|left, right| right.total_cmp(left));
    let threshold = sorted.get((plan.kappa * half as f64) as usize).copied().unwrap_or(0.0);
    let passing: Vec<usize> = (0..data.len()).filter(|&row| data.rewards[row] >= threshold).collect();
    let piece = data.len() / PIECES;
    let share = |at: usize| passing.iter().filter(|&&row| row / piece == at).count() as f64 / piece as f64;
    let mut batch_learner = learner(&data, recipe, &setup, seed)?;
    for number in 0..trained.counters.updates {
        let rows: Vec<usize> =
            (0..256).map(|_| passing[random.random_range(0..passing.len() as u64) as usize]).collect();
        let _ =
            batch_learner.update(&gathered(&data, &rows, vec![threshold; rows.len()], vec![1.0; rows.len()], number));
    }
    Ok(Recovery {
        stream_share: admitted.shares,
        frozen_share: (0..PIECES).map(share).collect(),
        stream_reward: after.measure(&trained.policy),
        frozen_reward: after.measure(batch_learner.policy()),
        drifts: admitted.drifts as f64,
    })
}

pub fn recovery(plan: &Plan, scale: &Scale, findings: &mut Findings) -> Result<(), LearnerError> {
    let recipe = Recipe::new(Method::Drpo, Objective::Drpo, Keep::Best { kappa: plan.kappa });
    let runs = each(scale.seeds, |seed| recover_once(&recipe, plan, scale, seed as u64))?;
    let over = |value: &dyn Fn(&Recovery) -> f64| Estimate::of(&runs.iter().map(value).collect::<Vec<f64>>());
    let late = |shares: &[f64]| shares[PIECES - PIECES / 4..].iter().sum::<f64>() / (PIECES / 4) as f64;
    let (stream_share, frozen_share) = (over(&|run| late(&run.stream_share)), over(&|run| late(&run.frozen_share)));
    let (stream_reward, frozen_reward) = (over(&|run| run.stream_reward), over(&|run| run.frozen_reward));
    let mut table = Table::new(
        "After the mixture went from Medium to Extreme and taste changed at once, half-way",
        ["form", "admitted share in the last quarter", "reward in the new world"],
    );
    table.row(["sliding window, one pass".to_owned(), with_interval(&stream_share), with_interval(&stream_reward)]);
    table.row(["threshold of the first half".to_owned(), with_interval(&frozen_share), with_interval(&frozen_reward)]);
    findings.tables.push(table);
    findings.near("recovery: the sliding threshold admits kappa again", plan.kappa, 0.03, &stream_share);
    findings.at_most("recovery: the batch threshold does not", 0.07, &frozen_share);
    findings.at_least(
        "recovery: the stream's policy is ahead in the new world",
        0.1,
        &over(&|run| run.stream_reward - run.frozen_reward),
    );
    findings.at_least("recovery: the drift test noticed the break", 1.0, &over(&|run| run.drifts));
    let line = |name: &str, tone: Tone, value: &dyn Fn(&Recovery) -> &Vec<f64>| {
        let point = |piece: usize| {
            let estimate = Estimate::of(&runs.iter().map(|run| value(run)[piece]).collect::<Vec<f64>>());
            let x = (piece + 1) as f64 / PIECES as f64;
            Point { x, y: estimate.mean, interval: Some((estimate.low, estimate.high)) }
        };
        Series::new(name, tone, (0..PIECES).map(point).collect())
    };
    findings.charts.push(Chart {
        title: plan.title.clone(),
        explanation: "Share that passes, over the log; kappa is what should.".to_owned(),
        x_label: "share of the log".to_owned(),
        y_label: "admitted share".to_owned(),
        y_from_zero: true,
        series: vec![
            line("sliding window", Tone::Teal, &|run| &run.stream_share),
            line("threshold of the first half", Tone::Amber, &|run| &run.frozen_share),
        ],
        levels: vec![crate::report::Level { name: "kappa".to_owned(), tone: Tone::Gray, value: plan.kappa }],
        marks: vec![crate::report::Mark { name: "break".to_owned(), x: 0.5 }],
    });
    Ok(())
}
