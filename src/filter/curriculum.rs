//! How kappa moves: not at all, by the paper's rule, or so that a set share of a batch really counts.
//!
//! After each training batch [`SAMPLE`] units are drawn at random from the window, and the best kappa of them are looked
//! at. *Consecutive* units will not do: they come from one or two sessions, vary little, and drive kappa up to where
//! nothing is filtered. The paper's rule compares two standard deviations, so it is free of scale and blind to the noise
//! of rewards; on heavy tails it ends at its floor, which is a constant.
//!
//! kappa, generator and count are part of the state: the path of kappa is a function of the log.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use crate::window::Window;

/// Units of a batch in the paper.
pub const SAMPLE: usize = 320;
/// The paper's first kappa and its least one.
const PAPER_START: f64 = 0.5;
const PAPER_FLOOR: f64 = 0.05;
/// Below this the warm-up of a window would grow longer than most logs are.
const FLOOR: f64 = 0.005;
const UP: f64 = 1.02;
const DOWN: f64 = 0.98;

/// The rule by which kappa moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Curriculum {
    Fixed,
    /// Up by 2 % while std(kept) < std(batch) / 2, else down by 2 %, in [0.05, 1], from 0.5 on.
    Paper,
    /// Up by 2 % while the effective sample size of drpo's weights is below this share of the units drawn, else down.
    Ess {
        share: f64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Fixed,
    Paper,
    Ess,
}

/// Where on its way kappa is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Course {
    kind: Kind,
    kappa: f64,
    steps: u64,
    generator: Xoshiro256PlusPlus,
}

impl Curriculum {
    fn kind(self) -> Kind {
        match self {
            Curriculum::Fixed => Kind::Fixed,
            Curriculum::Paper => Kind::Paper,
            Curriculum::Ess { .. } => Kind::Ess,
        }
    }

    /// The kappa after a batch of these scores, whose order does not matter.
    pub fn next(self, kappa: f64, scores: &mut [f64]) -> f64 {
        scores.sort_unstable_by(|left, right| right.total_cmp(left));
        let kept = ((kappa * scores.len() as f64).round() as usize).clamp(1, scores.len().max(1));
        let Some(best) = scores.get(..kept) else { return kappa };
        let (is_low, floor) = match self {
            Curriculum::Fixed => return kappa,
            Curriculum::Paper => (deviation(best) < 0.5 * deviation(scores), PAPER_FLOOR),
            Curriculum::Ess { share } => (effective_sample_size(best) < share * scores.len() as f64, FLOOR),
        };
        if is_low { (UP * kappa).min(1.0) } else { (DOWN * kappa).max(floor) }
    }
}

impl Course {
    pub fn new(curriculum: Curriculum, kappa: f64, seed: u64) -> Course {
        let kappa = match curriculum {
            Curriculum::Fixed | Curriculum::Ess { .. } => kappa,
            Curriculum::Paper => PAPER_START,
        };
        Course { kind: curriculum.kind(), kappa, steps: 0, generator: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// The same way under the present settings: begun anew where the rule is another one, or has none to follow.
    pub fn tuned(self, curriculum: Curriculum, kappa: f64, seed: u64) -> Course {
        let goes_on = self.kind == curriculum.kind() && self.kind != Kind::Fixed && self.is_sound();
        if goes_on { self } else { Course::new(curriculum, kappa, seed) }
    }

    pub fn kappa(&self) -> f64 {
        self.kappa
    }

    /// Batches that kappa has followed.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// A training batch has been emitted.
    pub fn advance(&mut self, curriculum: Curriculum, window: &Window) {
        if curriculum == Curriculum::Fixed || window.is_empty() {
            return;
        }
        let draw = |_| window.score_at(self.generator.random_range(0..window.len() as u64) as usize);
        let mut scores: Vec<f64> = (0..SAMPLE).filter_map(draw).map(|score| f64::from(score.value())).collect();
        self.kappa = curriculum.next(self.kappa, &mut scores);
        self.steps += 1;
    }

    fn is_sound(&self) -> bool {
        self.kappa > 0.0 && self.kappa <= 1.0
    }
}

fn deviation(values: &[f64]) -> f64 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count).sqrt()
}

/// (sum w)^2 / sum w^2 of w = score - least score; ties weigh the same.
fn effective_sample_size(best: &[f64]) -> f64 {
    let least = best.last().copied().unwrap_or(0.0);
    let (sum, squares) = best.iter().map(|score| score - least).fold((0.0, 0.0), |(s, q), w| (s + w, q + w * w));
    if squares == 0.0 { best.len() as f64 } else { sum * sum / squares }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::EventTime;
    use crate::window::Score;

    /// Mean kappa over the second half of the way, drawing fresh scores.
    fn fixed_point(mut draw: impl FnMut(&mut Xoshiro256PlusPlus) -> f64) -> f64 {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(4);
        let mut kappa = PAPER_START;
        let mut total = 0.0;
        for step in 0..2_000 {
            let mut scores: Vec<f64> = (0..SAMPLE).map(|_| draw(&mut generator)).collect();
            kappa = Curriculum::Paper.next(kappa, &mut scores);
            total += if step >= 1_000 { kappa } else { 0.0 };
        }
        total / 1_000.0
    }

    #[test]
    fn the_papers_rule_ends_where_its_two_deviations_say() {
        let uniform = fixed_point(|generator| generator.random::<f64>());
        assert!((uniform - 0.5).abs() < 0.02, "{uniform}");
        let clicks = fixed_point(|generator| f64::from(u8::from(generator.random_bool(0.2))));
        assert!((clicks - 0.21).abs() < 0.02, "{clicks}");
        let exponential = fixed_point(|generator| -(1.0 - generator.random::<f64>()).ln());
        assert!((exponential - PAPER_FLOOR).abs() < 0.005, "{exponential}");
    }

    #[test]
    fn the_effective_share_is_held_at_its_target() {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(5);
        let (mut kappa, mut late) = (0.5, Vec::new());
        let curriculum = Curriculum::Ess { share: 0.05 };
        for step in 0..1_500 {
            let mut scores: Vec<f64> = (0..SAMPLE).map(|_| -(1.0 - generator.random::<f64>()).ln()).collect();
            kappa = curriculum.next(kappa, &mut scores);
            if step >= 500 {
                let kept = (kappa * SAMPLE as f64).round() as usize;
                late.push(effective_sample_size(&scores[..kept]) / SAMPLE as f64);
            }
        }
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        assert!((mean - 0.05).abs() < 0.01, "{mean}, kappa {kappa}");
    }

    #[test]
    fn the_way_goes_on_from_a_copy_and_begins_anew_under_another_rule() {
        let mut window = Window::new(1_000, None);
        (0..1_000).filter_map(|i| Score::new((i * 7 % 1_000) as f32)).for_each(|s| window.push(s, EventTime::FIRST));
        let mut straight = Course::new(Curriculum::Paper, 0.1, 3);
        (0..40).for_each(|_| straight.advance(Curriculum::Paper, &window));
        let mut resumed = Course::new(Curriculum::Paper, 0.1, 3);
        for _ in 0..40 {
            resumed = resumed.tuned(Curriculum::Paper, 0.3, 3);
            resumed.advance(Curriculum::Paper, &window);
        }
        assert_eq!(straight, resumed);
        assert_eq!(straight.steps(), 40);
        assert_eq!(straight.clone().tuned(Curriculum::Fixed, 0.3, 3).kappa(), 0.3);
        assert_eq!(straight.tuned(Curriculum::Ess { share: 0.1 }, 0.2, 3).kappa(), 0.2);
    }
}
