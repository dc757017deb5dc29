//! Repulsion that fades with distance: what far-off bad behavior may still push.
//!
//! A negative advantage repels the policy from an action, and the further the action, the harder the push (the mean's
//! score grows with the distance). Tapered, A = A+ - omega(D) A-, omega = exp(-lambda ((D - start) / width)_+), D being
//! the mean squared z over the dimensions (Gaussian) or -log pi (softmax), measured anew at each step and not
//! differentiated.
//!
//! With positive mass p = E[A+] and negative mass q = E[omega A-] a stable point exists only while q/p < 1, and sigma,
//! where it is learned, stays alive only while E[A+ D] > E[omega A- D], which binds earlier. [`Balance`] keeps running
//! means of the four; a batch after which they do not hold is trained without its negatives, and counted.

use serde::{Deserialize, Serialize};

/// How far q/p must stay below 1.
const MARGIN: f64 = 0.05;
/// Weight of a new batch in the running means.
const SHARE: f64 = 0.05;

/// The constants of omega.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taper {
    /// lambda.
    pub rate: f64,
    pub start: f64,
    pub width: f64,
}

/// Running means of the masses that decide whether repulsion has a stable point.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Balance {
    batches: u64,
    positive: f64,
    negative: f64,
    positive_spread: f64,
    negative_spread: f64,
}

impl Default for Taper {
    /// From 0 on: advantages about their mean have as much negative mass as positive, so that without any fading of the
    /// near ones there is no stable point, and the balance would drop them all.
    fn default() -> Taper {
        Taper { rate: 1.0, start: 0.0, width: 1.0 }
    }
}

impl Taper {
    pub fn at(self, distance: f64) -> f64 {
        // `max` would hide a NaN.
        let beyond = (distance - self.start) / self.width;
        if beyond <= 0.0 { 1.0 } else { (-self.rate * beyond).exp() }
    }

    pub(super) fn validate(self) -> Result<(), String> {
        let holds = self.rate >= 0.0 && self.start >= 0.0 && self.width > 0.0;
        let is_finite = self.rate.is_finite() && self.start.is_finite() && self.width.is_finite();
        if holds && is_finite {
            Ok(())
        } else {
            Err("rate and start must be at least 0, and width above 0".to_string())
        }
    }
}

impl Balance {
    /// What each row keeps of a negative advantage, the balance after this batch, and whether it made all of them 0.
    pub fn tapers(self, taper: Taper, scores: &[f32], distances: &[f64]) -> (Vec<f64>, Balance, bool) {
        let tapers: Vec<f64> = distances.iter().map(|&distance| taper.at(distance)).collect();
        let count = scores.len().max(1) as f64;
        let mean = scores.iter().map(|&score| f64::from(score)).sum::<f64>() / count;
        let (mut positive, mut negative, mut positive_spread, mut negative_spread) = (0.0, 0.0, 0.0, 0.0);
        for ((&score, &distance), omega) in scores.iter().zip(distances).zip(&tapers) {
            let a = f64::from(score) - mean;
            if a > 0.0 {
                positive += a / count;
                positive_spread += a * distance / count;
            } else {
                negative -= omega * a / count;
                negative_spread -= omega * a * distance / count;
            }
        }
        let share = SHARE.max(1.0 / (self.batches + 1) as f64);
        let follow = |old: f64, new: f64| old + share * (new - old);
        let next = Balance {
            batches: self.batches.saturating_add(1),
            positive: follow(self.positive, positive),
            negative: follow(self.negative, negative),
            positive_spread: follow(self.positive_spread, positive_spread),
            negative_spread: follow(self.negative_spread, negative_spread),
        };
        if next.is_stable() { (tapers, next, false) } else { (vec![0.0; scores.len()], next, true) }
    }

    fn is_stable(self) -> bool {
        self.negative < (1.0 - MARGIN) * self.positive && self.negative_spread < self.positive_spread
    }

    pub(super) fn is_sound(self) -> bool {
        [self.positive, self.negative, self.positive_spread, self.negative_spread].iter().all(|mass| mass.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_rows_push_in_full_and_far_ones_fade() {
        let taper = Taper { rate: 2.0, start: 1.0, width: 4.0 };
        assert_eq!((taper.at(0.0), taper.at(1.0)), (1.0, 1.0));
        assert!((taper.at(9.0) - (-4.0_f64).exp()).abs() < 1e-12);
        assert!(taper.at(f64::NAN).is_nan());
    }

    #[test]
    fn repulsion_is_kept_while_it_is_weaker_and_dropped_when_it_is_not() {
        let taper = Taper { rate: 1.0, start: 1.0, width: 1.0 };
        // A = 1 and -1; the bad row lies twelve e-folds off: q is nearly 0.
        let (tapers, balance, dropped) = Balance::default().tapers(taper, &[1.0, -1.0], &[1.0, 13.0]);
        assert!(!dropped && (tapers[1] - (-12.0_f64).exp()).abs() < 1e-12, "{tapers:?} {balance:?}");
        // As near as the good one, it pushes as hard as that pulls: no stable point.
        let (tapers, _, dropped) = Balance::default().tapers(taper, &[1.0, -1.0], &[1.0, 1.0]);
        assert!(dropped && tapers == [0.0, 0.0]);
    }

    #[test]
    fn sigma_binds_before_the_mean_does() {
        // q/p = e^-1 < 1, but the repelled row is so far out that it takes more spread away than the good one gives.
        let (_, _, dropped) =
            Balance::default().tapers(Taper { rate: 1.0, start: 1.0, width: 1.0 }, &[1.0, -1.0], &[0.5, 2.0]);
        assert!(dropped);
    }

    /// Advantages about their mean: as much to push from as to pull to.
    #[test]
    fn by_default_bad_rows_as_near_as_the_good_ones_still_push_a_little() {
        let (tapers, _, dropped) = Balance::default().tapers(Taper::default(), &[1.0, -1.0], &[1.0, 1.0]);
        assert!(!dropped && (tapers[1] - (-1.0_f64).exp()).abs() < 1e-12, "{tapers:?}");
    }
}
