//! One line of the decision log: a unit, its verdict, and all that is needed to compute the verdict again.

use serde::{Deserialize, Serialize};

use crate::event::Id;
use crate::filter::{Judgement, Reason, Verdict};
use crate::score::Scored;
use crate::trajectory::{Ending, Trajectory};

/// Numbers print in their shortest form that reads back to the same bits; `schemas/decision.v1.schema.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Count of trajectories merged before this unit's.
    pub sequence: u64,
    pub session: Option<Id>,
    pub user: Id,
    pub partition: u32,
    pub first_offset: u64,
    pub last_offset: u64,
    /// The unit's first step within its trajectory; with `steps` it says which steps were judged.
    pub step: u64,
    pub steps: u64,
    pub ended: Ending,
    /// Discounted return from the unit's first step on.
    pub r#return: f64,
    pub score: Option<f32>,
    pub threshold: Option<f32>,
    pub atom_share: Option<f64>,
    pub level: f64,
    pub kappa: f64,
    /// Units in the window before this one was inserted.
    pub window_len: u64,
    pub verdict: Verdict,
    pub reason: Reason,
    pub weight: f64,
    /// Batches emitted before this unit.
    pub batches: u64,
}

impl Judged {
    pub(super) fn new(
        sequence: u64,
        trajectory: &Trajectory,
        scored: &Scored,
        judgement: &Judgement,
        kappa: f64,
        batches: u64,
    ) -> Judged {
        Judged {
            sequence,
            session: trajectory.session.clone(),
            user: trajectory.user.clone(),
            partition: trajectory.key.partition.0,
            first_offset: trajectory.first.offset.raw(),
            last_offset: trajectory.last.offset.raw(),
            step: scored.first_step as u64,
            steps: scored.steps as u64,
            ended: trajectory.ending,
            r#return: scored.value,
            score: scored.score.map(|score| score.value()),
            threshold: judgement.cut.as_ref().map(|cut| cut.threshold.value()),
            atom_share: judgement.cut.as_ref().map(|cut| cut.atom_share),
            level: judgement.level,
            kappa,
            window_len: judgement.window_len as u64,
            verdict: judgement.verdict,
            reason: judgement.reason,
            weight: judgement.weight,
            batches,
        }
    }
}
