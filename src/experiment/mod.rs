//! The studies of the paper (arXiv 2602.10430), re-run: what it claims, what we expect, what we measure, with intervals.
//!
//! A study is a [`plan`] with its constants; it gives [`findings`]: checks, tables, charts and the sentences that an honest
//! page needs. Batch forms draw from the whole log as the paper does ([`train`]); streaming forms go once through the
//! product's own pipeline and learner ([`stream`]). Methods are tuned once, on logs of their own, and then frozen
//! ([`tune`]). Everything is a function of the plans: no clock, no shared generator.

mod baseline;
mod cu1;
mod data;
mod findings;
mod formulas;
mod jobs;
mod main_table;
mod online;
mod paper;
pub mod plan;
mod recipe;
mod stats;
mod stream;
mod toy;
mod train;
mod tune;
mod worlds;

pub use findings::{Check, Findings};
pub use plan::{Plan, PlanError, Scale, Study};
pub use tune::Frozen;

use crate::learner::LearnerError;

/// Runs a study at the scale that its plan or, when short of time, its quick form names.
///
/// # Errors
/// When a learner's settings are out of range.
pub fn run(plan: &Plan, quick: bool, frozen: &mut Frozen) -> Result<Findings, LearnerError> {
    let scale = if quick { &plan.quick } else { &plan.full };
    let mut findings = Findings { title: plan.title.clone(), about: plan.about.clone(), ..Findings::default() };
    // Tuning is done on the small world, whatever the study.
    frozen.tune(&plan.methods, if quick { 1_000 } else { 2_500 })?;
    match plan.study {
        Study::Phantom => formulas::phantom(scale, &mut findings),
        Study::Curriculum => formulas::curriculum(scale, &mut findings),
        Study::Ablation => worlds::ablation(plan, scale, &mut findings)?,
        Study::Noise => worlds::noise(plan, scale, frozen, &mut findings)?,
        Study::RewardNoise => worlds::reward_noise(plan, scale, frozen, &mut findings)?,
        Study::Cu1 => cu1::cu1(plan, scale, &mut findings)?,
        Study::HandOver => online::hand_over(plan, scale, frozen, &mut findings)?,
        Study::Main => main_table::main_table(plan, scale, frozen, &mut findings)?,
        Study::Streaming => online::streaming(plan, scale, frozen, &mut findings)?,
        Study::Baseline => baseline::baselines(plan, scale, &mut findings)?,
        Study::Recovery => online::recovery(plan, scale, &mut findings)?,
    }
    Ok(findings)
}
