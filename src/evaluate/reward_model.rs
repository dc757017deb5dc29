//! What an item earns at a position, as a table: q = (sum of rewards + 1) / (times shown + 100).
//!
//! The counts that are added pull what was rarely shown towards 0.01, a click rate as they are; what was never shown has
//! exactly that. The table is filled from the log that is evaluated.

use std::collections::HashMap;

use crate::event::Id;
use crate::trajectory::Step;

const PRIOR_REWARD: f64 = 1.0;
const PRIOR_SHOWN: f64 = 100.0;

#[derive(Debug, Clone, Default)]
pub struct RewardModel {
    /// By position, then item.
    cells: HashMap<u32, HashMap<Id, Cell>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    reward: f64,
    shown: f64,
}

impl RewardModel {
    pub fn observe(&mut self, step: &Step) {
        let items = self.cells.entry(position_of(step)).or_default();
        if !items.contains_key(&step.decision.item) {
            items.insert(step.decision.item.clone(), Cell::default());
        }
        if let Some(cell) = items.get_mut(&step.decision.item) {
            cell.reward += step.reward;
            cell.shown += 1.0;
        }
    }

    /// Adds what another part of the log says.
    pub fn merge(&mut self, other: RewardModel) {
        for (position, items) in other.cells {
            let own = self.cells.entry(position).or_default();
            for (item, cell) in items {
                let sum = own.entry(item).or_default();
                sum.reward += cell.reward;
                sum.shown += cell.shown;
            }
        }
    }

    /// q(item, position).
    pub fn guess(&self, item: &str, position: u32) -> f64 {
        let cell = self.cells.get(&position).and_then(|items| items.get(item)).copied().unwrap_or_default();
        (cell.reward + PRIOR_REWARD) / (cell.shown + PRIOR_SHOWN)
    }
}

/// A log without positions has one.
pub fn position_of(step: &Step) -> u32 {
    step.decision.position.unwrap_or(0)
}
