//! The policy that is evaluated, asked about one logged decision at a time.

use std::collections::HashMap;

use thiserror::Error;

use super::reward_model::{RewardModel, position_of};
use super::sample::LoggedStep;
use super::table::{Circumstances, Distribution, PolicyTable, probability};
use crate::position::Place;
use crate::trajectory::{Step, Trajectory};

/// A policy, and what it has been found to expect.
#[derive(Debug)]
pub struct Target {
    table: PolicyTable,
    /// v by position, for tables in which nothing else matters.
    expected: HashMap<u32, f64>,
}

/// Why a log cannot be evaluated.
#[derive(Debug, Error)]
pub enum Refusal {
    #[error(
        "the decision at {} has no propensity: without the probability with which the logger chose, no other policy can \
         be evaluated. Log it and map it (mapping.propensity or mapping.log_prob)",
        in_words(.0)
    )]
    NoPropensity(Place),
    #[error("the decision at {} has the propensity {propensity:e}, which makes its weight infinite", in_words(place))]
    TinyPropensity { place: Place, propensity: f64 },
    #[error(
        "the decision at {} has no position, and the policy table has a distribution for each: map mapping.position",
        in_words(.0)
    )]
    NoPosition(Place),
    #[error("the policy table has no distribution for the decision at {} ({circumstances})", in_words(place))]
    NoDistribution { place: Place, circumstances: String },
}

fn in_words(place: &Place) -> String {
    format!("offset {}, index {}", place.offset, place.index)
}

impl Target {
    pub fn table(table: PolicyTable) -> Target {
        Target { table, expected: HashMap::new() }
    }

    /// What estimators need to know of the decision `trajectory.steps[index]`.
    pub fn look(&mut self, trajectory: &Trajectory, index: usize, model: &RewardModel) -> Result<LoggedStep, Refusal> {
        let step = &trajectory.steps[index];
        let propensity = step.decision.propensity.ok_or(Refusal::NoPropensity(step.place))?;
        let position = position_of(step);
        let distribution = self.distribution(trajectory, index)?;
        let weight = probability(distribution, &step.decision.item) / propensity;
        if !weight.is_finite() {
            return Err(Refusal::TinyPropensity { place: step.place, propensity });
        }
        let expected = match self.expected.get(&position) {
            Some(expected) => *expected,
            None => {
                let expected = distribution.iter().map(|(item, p)| p * model.guess(item, position)).sum();
                if self.table.is_fixed() {
                    self.expected.insert(position, expected);
                }
                expected
            }
        };
        Ok(LoggedStep { weight, reward: step.reward, model: model.guess(&step.decision.item, position), expected })
    }

    fn distribution(&self, trajectory: &Trajectory, index: usize) -> Result<&Distribution, Refusal> {
        let step = &trajectory.steps[index];
        let circumstances = Circumstances {
            position: step.decision.position,
            session: trajectory.session.as_deref(),
            step: u32::try_from(index).unwrap_or(u32::MAX),
        };
        self.table.at(circumstances).ok_or_else(|| self.refusal(step, circumstances))
    }

    fn refusal(&self, step: &Step, circumstances: Circumstances<'_>) -> Refusal {
        if self.table.needs_position() && circumstances.position.is_none() {
            return Refusal::NoPosition(step.place);
        }
        let Circumstances { position, session, step: number } = circumstances;
        let position = position.map_or("no position".to_owned(), |position| format!("position {position}"));
        let circumstances = format!("{position}, session {}, step {number}", session.unwrap_or("(none)"));
        Refusal::NoDistribution { place: step.place, circumstances }
    }
}
