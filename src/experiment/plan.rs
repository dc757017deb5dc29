//! What is to be run, as it is written in `configs/experiments/*.toml`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use toml::{Table, Value};

use super::recipe::Method;
use crate::settings::{self, SettingsError};

/// Mixtures of expert, popular and random behavior.
pub const MEDIUM: [f64; 3] = [0.10, 0.60, 0.30];
pub const EXTREME: [f64; 3] = [0.05, 0.05, 0.90];

/// One study of the set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub study: Study,
    pub title: String,
    /// What it shows and how, in a few sentences.
    pub about: String,
    pub full: Scale,
    /// What `--quick` runs instead.
    pub quick: Scale,
    /// Compared with each other, in this order.
    #[serde(default)]
    pub methods: Vec<Method>,
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    #[serde(default = "hidden")]
    pub hidden: Vec<usize>,
    /// Who wrote the log: shares of expert, popular and random behavior.
    #[serde(default = "medium")]
    pub mixture: [f64; 3],
    /// Share that is kept where a stream is filtered: a curriculum that begins at one half is for a learner that sees its log
    /// many times.
    #[serde(default = "kappa")]
    pub kappa: f64,
    #[serde(default)]
    pub toy: Toy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Study {
    /// Checks 1 to 3: what follows from the formulas alone.
    Phantom,
    /// Check 9.
    Curriculum,
    /// Check 4.
    Ablation,
    /// Checks 5 and 6.
    Noise,
    /// Check 7.
    RewardNoise,
    /// Check 8.
    Cu1,
    /// Check 10.
    HandOver,
    Main,
    Streaming,
    Recovery,
    /// Of the product, not of the paper: what the score is measured from.
    Baseline,
}

/// How much of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    pub seeds: usize,
    #[serde(default)]
    pub steps: usize,
    /// Rows of the log; random linear programs of the check of the filter.
    #[serde(default)]
    pub samples: usize,
    /// Of what the study varies.
    #[serde(default)]
    pub levels: Vec<f64>,
    /// Items of the catalog, in the main table.
    #[serde(default)]
    pub items: usize,
    /// Rows of the log that the streaming form reads once; 0 leaves that form out.
    #[serde(default)]
    pub stream_samples: usize,
}

/// The constants of the small world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Toy {
    pub context: usize,
    pub hidden: usize,
    /// Standard deviation of the weights before the tanh: the larger, the harder taste is to learn.
    pub bend: f64,
    pub dimension: usize,
    /// Width of the reward.
    pub delta: f64,
    pub reward_noise: f64,
    /// Of the contexts in which policies are measured.
    pub measure_seed: u64,
}

impl Default for Toy {
    fn default() -> Toy {
        Toy { context: 8, hidden: 16, bend: 0.7, dimension: 10, delta: 0.5, reward_noise: 0.1, measure_seed: 999 }
    }
}

fn learning_rate() -> f64 {
    1e-3
}

fn hidden() -> Vec<usize> {
    vec![64, 64]
}

fn kappa() -> f64 {
    0.1
}

fn medium() -> [f64; 3] {
    MEDIUM
}

#[derive(Debug, Error)]
pub enum PlanError {
    #[error("could not read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    #[error("{0}")]
    Parse(String),
    #[error(transparent)]
    Override(#[from] SettingsError),
}

/// What a study is, not how it is run: `--set` leaves it alone.
const FIXED: [&str; 3] = ["study", "title", "about"];

/// The studies that the program carries with it, by the names of their files.
pub const BUILT_IN: [(&str, &str); 11] = [
    ("phantom", include_str!("../../configs/experiments/phantom.toml")),
    ("curriculum", include_str!("../../configs/experiments/curriculum.toml")),
    ("ablation", include_str!("../../configs/experiments/ablation.toml")),
    ("noise", include_str!("../../configs/experiments/noise.toml")),
    ("reward-noise", include_str!("../../configs/experiments/reward-noise.toml")),
    ("cu1", include_str!("../../configs/experiments/cu1.toml")),
    ("hand-over", include_str!("../../configs/experiments/hand-over.toml")),
    ("main", include_str!("../../configs/experiments/main.toml")),
    ("streaming", include_str!("../../configs/experiments/streaming.toml")),
    ("recovery", include_str!("../../configs/experiments/recovery.toml")),
    ("baseline", include_str!("../../configs/experiments/baseline.toml")),
];

impl Plan {
    /// The study of a file, with `key=value` texts over it.
    pub fn parse(name: &str, text: &str, set: &[String]) -> Result<Plan, PlanError> {
        let plan: Plan = toml::from_str(text).map_err(|error| PlanError::Parse(format!("{name}: {error}")))?;
        let plan = if set.is_empty() { plan } else { plan.with(name, set)? };
        let wrong = |problem: &str| Err(PlanError::Parse(format!("{name}: {problem}")));
        if plan.full.seeds == 0 || plan.quick.seeds == 0 {
            return wrong("seeds must be at least 1");
        }
        if !(plan.learning_rate > 0.0 && plan.learning_rate <= 1.0) {
            return wrong("learning_rate must be in (0, 1]");
        }
        if !(plan.kappa > 0.0 && plan.kappa <= 1.0) {
            return wrong("kappa must be in (0, 1]");
        }
        let toy = &plan.toy;
        if toy.context == 0 || toy.hidden == 0 || toy.dimension == 0 || toy.delta.is_nan() || toy.delta <= 0.0 {
            return wrong("toy.context, toy.hidden, toy.dimension and toy.delta must be above 0");
        }
        Ok(plan)
    }

    pub fn read(path: &Path, set: &[String]) -> Result<Plan, PlanError> {
        let text = std::fs::read_to_string(path).map_err(|error| PlanError::Read(path.to_owned(), error))?;
        Plan::parse(&path.display().to_string(), &text, set)
    }

    /// All that the program carries.
    pub fn built_in(set: &[String]) -> Result<Vec<Plan>, PlanError> {
        BUILT_IN.iter().map(|(name, text)| Plan::parse(name, text, set)).collect()
    }

    fn with(&self, name: &str, set: &[String]) -> Result<Plan, PlanError> {
        let table = Table::try_from(self).map_err(|error| PlanError::Parse(format!("{name}: {error}")))?;
        let mut names = Vec::new();
        keys("", &table, &mut names);
        let names: Vec<&str> = names.iter().map(String::as_str).filter(|key| !FIXED.contains(key)).collect();
        let table = settings::lay_over(table, set, &names)?;
        table.try_into().map_err(|error: toml::de::Error| {
            PlanError::Parse(format!("{name} with --set {}: {}", set.join(" --set "), error.message()))
        })
    }
}

/// The dotted keys of all values.
fn keys(prefix: &str, table: &Table, into: &mut Vec<String>) {
    for (key, value) in table {
        match value {
            Value::Table(inner) => keys(&format!("{prefix}{key}."), inner, into),
            _ => into.push(format!("{prefix}{key}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(set: &[&str]) -> Result<Plan, PlanError> {
        let set: Vec<String> = set.iter().map(|text| (*text).to_owned()).collect();
        Plan::parse("noise", include_str!("../../configs/experiments/noise.toml"), &set)
    }

    #[test]
    fn keys_of_the_file_and_those_with_a_default_can_be_overridden() {
        let plan =
            with(&["full.seeds=3", "methods=[\"bc\"]", "learning_rate=1e-2", "kappa=.3", "toy.delta=.7"]).unwrap();
        assert_eq!((plan.full.seeds, plan.learning_rate, plan.kappa, plan.toy.delta), (3, 1e-2, 0.3, 0.7));
        assert_eq!(plan.methods, [Method::Bc]);
        assert_eq!(plan.full.steps, with(&[]).unwrap().full.steps);
    }

    #[test]
    fn a_wrong_override_names_the_key_and_what_was_likely_meant() {
        for (written, reason) in [
            ("full.seed=3", "did you mean full.seeds?"),
            ("lerning_rate=1", "did you mean learning_rate?"),
            ("study=cu1", "there is no such key"),
            ("learning_rate=7", "learning_rate must be in (0, 1]"),
            ("full.seeds=many", "noise with --set full.seeds=many"),
            ("seeds", "not of the form"),
        ] {
            let error = with(&[written]).unwrap_err();
            assert!(error.to_string().contains(reason), "{written}: {error}");
        }
    }
}
