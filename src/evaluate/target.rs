//! The policy that is evaluated, asked about one logged decision at a time.

use std::collections::HashMap;
use std::sync::Arc;

use thiserror::Error;

use super::reward_model::{RewardModel, position_of};
use super::sample::LoggedStep;
use super::table::{Circumstances, PolicyTable, probability};
use crate::position::Place;
use crate::serve::{Draw, Recommender, ServeError, Situation};
use crate::state::StateEncoder;
use crate::trajectory::{Step, Trajectory};

/// A policy, and what it has been found to expect.
#[derive(Debug)]
pub enum Target {
    Table {
        table: PolicyTable,
        /// v by position, for tables in which nothing else matters.
        expected: HashMap<u32, f64>,
    },
    /// A published policy as it is served, over the state vectors that the settings build.
    Published { recommender: Box<Recommender>, encoder: Arc<StateEncoder> },
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
    #[error("the policy cannot answer for the decision at {}", in_words(place))]
    Policy { place: Place, source: ServeError },
    #[error("the policy table has no distribution for the decision at {} ({circumstances})", in_words(place))]
    NoDistribution { place: Place, circumstances: String },
}

fn in_words(place: &Place) -> String {
    format!("offset {}, index {}", place.offset, place.index)
}

impl Target {
    pub fn table(table: PolicyTable) -> Target {
        Target::Table { table, expected: HashMap::new() }
    }

    /// What estimators need to know of the decision `trajectory.steps[index]`.
    pub fn look(&mut self, trajectory: &Trajectory, index: usize, model: &RewardModel) -> Result<LoggedStep, Refusal> {
        let step = &trajectory.steps[index];
        let propensity = step.decision.propensity.ok_or(Refusal::NoPropensity(step.place))?;
        let (probability, expected) = match self {
            Target::Table { table, expected } => by_table(table, expected, (trajectory, index), model)?,
            Target::Published { recommender, encoder } => {
                let answered = by_policy(recommender, encoder, (trajectory, index), model);
                answered.map_err(|source| Refusal::Policy { place: step.place, source })?
            }
        };
        let weight = probability / propensity;
        if !weight.is_finite() {
            return Err(Refusal::TinyPropensity { place: step.place, propensity });
        }
        let model = model.guess(&step.decision.item, position_of(step));
        Ok(LoggedStep { weight, reward: step.reward, model, expected })
    }
}

/// pi(a | x) of what was shown, and v(x).
fn by_table(
    table: &PolicyTable,
    expected: &mut HashMap<u32, f64>,
    (trajectory, index): (&Trajectory, usize),
    model: &RewardModel,
) -> Result<(f64, f64), Refusal> {
    let step = &trajectory.steps[index];
    let position = position_of(step);
    let circumstances = Circumstances {
        position: step.decision.position,
        session: trajectory.session.as_deref(),
        step: u32::try_from(index).unwrap_or(u32::MAX),
    };
    let distribution = table.at(circumstances).ok_or_else(|| refusal(table, step, circumstances))?;
    let value = match expected.get(&position) {
        Some(value) => *value,
        None => {
            let value = distribution.iter().map(|(item, p)| p * model.guess(item, position)).sum();
            if table.is_fixed() {
                expected.insert(position, value);
            }
            value
        }
    };
    Ok((probability(distribution, &step.decision.item), value))
}

/// The same of a policy that is served. What it does not know it never shows.
fn by_policy(
    recommender: &Recommender,
    encoder: &StateEncoder,
    (trajectory, index): (&Trajectory, usize),
    model: &RewardModel,
) -> Result<(f64, f64), ServeError> {
    let step = &trajectory.steps[index];
    let (decision, position) = (&step.decision, position_of(step));
    let state = encoder.encode(&trajectory.steps, index);
    let situation = Situation { state, candidates: decision.candidates.clone() };
    let choices = recommender.choose(&situation, usize::MAX, &mut Draw::BestFirst)?;
    let shown = choices.iter().find(|choice| *choice.item == *decision.item);
    let value = choices.iter().map(|choice| choice.propensity * model.guess(&choice.item, position)).sum();
    Ok((shown.map_or(0.0, |choice| choice.propensity), value))
}

fn refusal(table: &PolicyTable, step: &Step, circumstances: Circumstances<'_>) -> Refusal {
    if table.needs_position() && circumstances.position.is_none() {
        return Refusal::NoPosition(step.place);
    }
    let Circumstances { position, session, step: number } = circumstances;
    let position = position.map_or("no position".to_owned(), |position| format!("position {position}"));
    let circumstances = format!("{position}, session {}, step {number}", session.unwrap_or("(none)"));
    Refusal::NoDistribution { place: step.place, circumstances }
}
