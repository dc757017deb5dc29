//! Notices a threshold that has lost touch with the log: nothing passes for 16/kappa units, or far too much does.

use serde::{Deserialize, Serialize};

/// Silence and excess are both judged over a horizon of 16/kappa units, in which 16 admissions are expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    kappa: f64,
    since_admission: u64,
    /// Exponentially weighted mean of the weights, with the horizon as its time constant.
    passing: f64,
}

/// Standard deviations above kappa at which too much passes.
const EXCESS: f64 = 5.0;

impl Alarm {
    pub fn new(kappa: f64) -> Alarm {
        Alarm { kappa, since_admission: 0, passing: kappa }
    }

    /// The same history under another kappa.
    pub fn tuned(self, kappa: f64) -> Alarm {
        if kappa == self.kappa { self } else { Alarm::new(kappa) }
    }

    /// Goes on while kappa moves a little.
    pub fn follow(&mut self, kappa: f64) {
        self.passing *= kappa / self.kappa;
        self.kappa = kappa;
    }

    pub fn horizon(&self) -> usize {
        (16.0 / self.kappa).ceil() as usize
    }

    /// `true` when the window should forget all but the last horizon; the alarm then starts anew.
    pub fn record(&mut self, weight: f64) -> bool {
        let gain = self.kappa / 16.0;
        self.passing += gain * (weight - self.passing);
        self.since_admission = if weight > 0.0 { 0 } else { self.since_admission + 1 };
        // Standard deviation of an exponentially weighted mean of independent admissions.
        let deviation = (self.kappa * (1.0 - self.kappa) * gain / (2.0 - gain)).sqrt();
        let silent = self.since_admission >= self.horizon() as u64;
        let excessive = self.kappa < 1.0 && self.passing > self.kappa + EXCESS * deviation;
        if silent || excessive {
            *self = Alarm::new(self.kappa);
        }
        silent || excessive
    }
}
