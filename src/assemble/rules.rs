//! The settings of a lane, as plain numbers.

use crate::time::Span;

/// When a session ends, how long its rewards are waited for, and how much a lane may hold. All limits are per partition.
///
/// Structural: a state written under other rules is not the state that these rules would have led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRules {
    /// A session ends when nothing of it happens for longer than this.
    pub gap: Span,
    /// The step that makes a session this long ends it.
    pub max_steps: u32,
    /// Nothing later than this after its first decision belongs to a session.
    pub max_duration: Span,
    /// How long after its decision feedback may still come, also when the session has ended.
    pub reward_wait: Span,
    /// How far the watermark stays behind the greatest event time seen.
    pub lateness: Span,
    /// An event further ahead than this does not move time on its own.
    pub jump_max: Span,
    /// Events that wait for the watermark; as many again for feedback that waits for its decision.
    pub max_waiting_events: u64,
    /// Open sessions; as many again for remembered keys of closed ones.
    pub max_open: u64,
    /// Bytes of open and immature sessions by the fixed formula of `footprint`; as many again for waiting events.
    pub max_bytes: u64,
}

/// A setting under which no session could ever hold anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{setting} must not be zero")]
pub struct ZeroRule {
    /// The field's name.
    pub setting: &'static str,
}

impl Default for SessionRules {
    fn default() -> SessionRules {
        SessionRules {
            gap: Span::from_millis(30 * 60 * 1000),
            max_steps: 500,
            max_duration: Span::from_millis(24 * 60 * 60 * 1000),
            reward_wait: Span::ZERO,
            lateness: Span::from_millis(10 * 1000),
            jump_max: Span::from_millis(24 * 60 * 60 * 1000),
            max_waiting_events: 1_000_000,
            max_open: 1_000_000,
            max_bytes: 1 << 30,
        }
    }
}

impl SessionRules {
    /// The rules themselves if they make sense. A lane stays safe under others, but every session would be one event.
    pub fn checked(self) -> Result<SessionRules, ZeroRule> {
        let positive = [
            ("gap", self.gap > Span::ZERO),
            ("max_steps", self.max_steps > 0),
            ("max_duration", self.max_duration > Span::ZERO),
            ("jump_max", self.jump_max > Span::ZERO),
            ("max_waiting_events", self.max_waiting_events > 0),
            ("max_open", self.max_open > 0),
            ("max_bytes", self.max_bytes > 0),
        ];
        match positive.into_iter().find(|(_, is_positive)| !is_positive) {
            Some((setting, _)) => Err(ZeroRule { setting }),
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense_and_a_zero_is_named() {
        assert_eq!(SessionRules::default().checked(), Ok(SessionRules::default()));
        let rules = SessionRules { max_open: 0, ..SessionRules::default() };
        assert_eq!(rules.checked(), Err(ZeroRule { setting: "max_open" }));
    }
}
