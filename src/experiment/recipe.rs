//! A way to learn: an objective, and what is kept for it.

use serde::{Deserialize, Serialize};

use crate::filter::Curriculum;
use crate::learner::{CrrWeight, Objective, Sigma, Taper, Temperature};

#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub method: Method,
    pub objective: Objective,
    pub keep: Keep,
    pub sigma: Sigma,
}

/// Which rows of a batch, or units of a stream, are trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Keep {
    All,
    Best {
        kappa: f64,
    },
    /// The best kappa, kappa moving by the paper's rule.
    Paper,
}

/// What the tables call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    Bc,
    Crr,
    Bppo,
    Awr,
    Iql,
    IqlPublished,
    AdaptiveBc,
    DrpoExp,
    Drpo,
    Asymre,
    Remoteness,
    Apg,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Method::Bc => "bc",
            Method::Crr => "crr",
            Method::Bppo => "bppo",
            Method::Awr => "awr",
            Method::Iql => "iql",
            Method::IqlPublished => "iql-published",
            Method::AdaptiveBc => "adaptive-bc",
            Method::DrpoExp => "drpo-exp",
            Method::Drpo => "drpo",
            Method::Asymre => "asymre",
            Method::Remoteness => "remoteness",
            Method::Apg => "apg",
        }
    }

    /// Whether the studies show it in one pass as well.
    pub fn is_streamed(self) -> bool {
        match self {
            Method::Drpo | Method::DrpoExp | Method::AdaptiveBc | Method::Bc | Method::Awr => true,
            Method::Crr | Method::Bppo | Method::Iql | Method::IqlPublished => false,
            Method::Asymre | Method::Remoteness | Method::Apg => false,
        }
    }

    /// What tuning chooses among; the first is taken where nothing is tuned. The paper's own three are not tuned: they come as
    /// published, with its curriculum.
    pub fn candidates(self) -> Vec<Recipe> {
        let recipe = |objective: Objective, keep: Keep| Recipe::new(self, objective, keep);
        let kept = |objective: Objective| vec![recipe(objective, Keep::Paper)];
        let temperatures = || {
            let taus = [0.05, 0.1, 1.0];
            taus.into_iter().map(Temperature::Raw).chain(taus.into_iter().map(Temperature::Std))
        };
        let all = |objectives: Vec<Objective>| {
            objectives.into_iter().map(|objective| recipe(objective, Keep::All)).collect::<Vec<Recipe>>()
        };
        match self {
            Method::Drpo => kept(Objective::Drpo),
            Method::DrpoExp => kept(Objective::DrpoExp { temperature: Temperature::Std(1.0) }),
            Method::AdaptiveBc => kept(Objective::AdaptiveBc),
            Method::Bc => all(vec![Objective::Bc]),
            Method::Apg => all(vec![Objective::Apg]),
            Method::Asymre => all(vec![Objective::Asymre { negative_share: 0.1 }]),
            Method::Remoteness => [Recipe::SIGMA, Sigma::Fixed(0.5)]
                .into_iter()
                .flat_map(|sigma| [0.5, 1.0, 2.0].map(|width| (sigma, width)))
                .map(|(sigma, width)| {
                    let taper = Taper { rate: 1.0, start: 0.0, width };
                    Recipe { sigma, ..recipe(Objective::Remoteness { taper }, Keep::All) }
                })
                .collect(),
            Method::Awr => all(temperatures().map(|temperature| Objective::Awr { temperature }).collect()),
            Method::Iql => {
                all(temperatures().map(|temperature| Objective::Iql { expectile: 0.7, temperature }).collect())
            }
            // Expectile .7 and exp(3 A), A in rewards: the constants of its own paper (arXiv 2110.06169), for those who
            // publish it untuned.
            Method::IqlPublished => {
                all(vec![Objective::Iql { expectile: 0.7, temperature: Temperature::Raw(1.0 / 3.0) }])
            }
            Method::Crr => {
                let temperature = Temperature::Std(1.0);
                let weights = [CrrWeight::Indicator, CrrWeight::Exponential { temperature }];
                all(weights.into_iter().map(|weight| Objective::Crr { weight }).collect())
            }
            Method::Bppo => all(vec![Objective::Bppo { clip: 0.2, behavior_updates: 500 }]),
        }
    }
}

impl Keep {
    pub fn curriculum(self) -> Curriculum {
        match self {
            Keep::All | Keep::Best { .. } => Curriculum::Fixed,
            Keep::Paper => Curriculum::Paper,
        }
    }

    /// kappa at the start.
    pub fn kappa(self) -> f64 {
        match self {
            Keep::All => 1.0,
            Keep::Best { kappa } => kappa,
            Keep::Paper => 0.5,
        }
    }
}

impl Recipe {
    const SIGMA: Sigma = Sigma::Learned { initial: 1.0 };

    /// With a learned sigma.
    pub fn new(method: Method, objective: Objective, keep: Keep) -> Recipe {
        Recipe { method, objective, keep, sigma: Recipe::SIGMA }
    }

    /// For a stream, in which nothing is seen often enough for a curriculum.
    pub fn in_stream(&self, kappa: f64) -> Recipe {
        let keep = match self.keep {
            Keep::Paper | Keep::Best { .. } => Keep::Best { kappa },
            Keep::All => Keep::All,
        };
        Recipe { keep, ..self.clone() }
    }

    pub fn untuned(method: Method) -> Option<Recipe> {
        method.candidates().into_iter().next()
    }

    /// In words, for the page.
    pub fn describe(&self) -> String {
        let temperature = |temperature: Temperature| match temperature {
            Temperature::Raw(tau) => format!(", tau {} in rewards", (tau * 1e3).round() / 1e3),
            Temperature::Std(tau) => format!(", tau {tau} in standard deviations"),
        };
        let constants = match self.objective {
            Objective::DrpoExp { temperature: t } | Objective::Awr { temperature: t } => temperature(t),
            Objective::Iql { expectile, temperature: t } => format!(", expectile {expectile}{}", temperature(t)),
            Objective::Crr { weight: CrrWeight::Indicator } => ", indicator".to_owned(),
            Objective::Crr { weight: CrrWeight::Exponential { temperature: t } } => temperature(t),
            Objective::Asymre { negative_share } => format!(", {negative_share} of a negative"),
            Objective::Bppo { clip, .. } => format!(", clip {clip}"),
            Objective::Drpo | Objective::AdaptiveBc | Objective::Bc | Objective::Apg | Objective::Given => {
                String::new()
            }
            Objective::Remoteness { taper } => format!(", taper from {} over {}", taper.start, taper.width),
        };
        let sigma = match self.sigma {
            Sigma::Learned { .. } => String::new(),
            Sigma::Fixed(sigma) => format!(", sigma {sigma}"),
        };
        let keep = match self.keep {
            Keep::All => "all rows".to_owned(),
            Keep::Best { kappa } => format!("best {kappa}"),
            Keep::Paper => "the paper's curriculum".to_owned(),
        };
        format!("{}: {keep}{constants}{sigma}", self.method.name())
    }
}
