//! Keep-the-best invites bots: nobody may own more than a set share of what is admitted.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::event::Fingerprint;

/// Who was admitted among the last 256/kappa judged units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    horizon: usize,
    /// Most admitted units that one user may have inside the horizon; `None` when the rule is off.
    limit: Option<u32>,
    recent: VecDeque<Option<Fingerprint>>,
    admitted: BTreeMap<Fingerprint, u32>,
}

/// Above this the horizon of a tiny kappa would cost more memory than it protects.
const HORIZON_MAX: usize = 1 << 20;

impl Shares {
    pub fn new(kappa: f64, max_share: f64) -> Shares {
        let horizon = ((256.0 / kappa).ceil() as usize).min(HORIZON_MAX);
        let limit = (max_share < 1.0).then(|| ((max_share * horizon as f64) as u32).max(1));
        Shares { horizon, limit, recent: VecDeque::new(), admitted: BTreeMap::new() }
    }

    /// The same history under other limits.
    pub fn tuned(self, kappa: f64, max_share: f64) -> Shares {
        let mut shares = Shares { recent: self.recent, admitted: self.admitted, ..Shares::new(kappa, max_share) };
        if shares.limit.is_none() {
            shares.recent.clear();
            shares.admitted.clear();
        }
        while shares.recent.len() > shares.horizon {
            shares.forget_oldest();
        }
        shares
    }

    pub fn is_full(&self, user: &str) -> bool {
        self.limit
            .is_some_and(|limit| self.admitted.get(&Fingerprint::of(user)).is_some_and(|admitted| *admitted >= limit))
    }

    pub fn record(&mut self, user: &str, admitted: bool) {
        if self.limit.is_none() {
            return;
        }
        if self.recent.len() == self.horizon {
            self.forget_oldest();
        }
        let entry = admitted.then(|| Fingerprint::of(user));
        if let Some(user) = entry {
            *self.admitted.entry(user).or_insert(0) += 1;
        }
        self.recent.push_back(entry);
    }

    fn forget_oldest(&mut self) {
        let Some(Some(user)) = self.recent.pop_front() else { return };
        if let Some(count) = self.admitted.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                self.admitted.remove(&user);
            }
        }
    }
}
