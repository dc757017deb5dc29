//! Whether a policy may take the place of the one before it.

use super::Evaluation;

/// How far an estimate may fall below that of the policy that is current, as a share of its size. Of estimates with
/// intervals the nearest ends are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    pub margin: f64,
}

impl Gate {
    /// `Err` says why not. Where one of the two has no estimate there is nothing to compare: that is no objection.
    pub fn judge(self, parent: Option<&Evaluation>, new: Option<&Evaluation>) -> Result<(), String> {
        let (Some(parent), Some(new)) = (parent, new) else { return Ok(()) };
        if parent.estimate != new.estimate {
            return Ok(());
        }
        // Worse must be worse beyond chance: else one lucky estimate would keep all later policies out.
        let [parent_low, _] = parent.range();
        let [_, high] = new.range();
        let bar = parent_low - self.margin * parent.value.abs();
        // A number that is none fails too.
        if high >= bar {
            return Ok(());
        }
        Err(format!(
            "its {} is {:.6} (at most {high:.6}, n = {}), that of the current policy {:.6} (at least {parent_low:.6}), and \
             publish.gate = {} allows no less than {bar:.6}",
            new.estimate, new.value, new.n, parent.value, self.margin
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluated(value: f64) -> Option<Evaluation> {
        Some(Evaluation { estimate: "snips".to_owned(), value, interval: None, n: 100 })
    }

    #[test]
    fn a_policy_may_fall_by_the_margin_and_no_further() {
        let gate = Gate { margin: 0.1 };
        let judge = |parent, new| gate.judge(evaluated(parent).as_ref(), evaluated(new).as_ref());
        assert_eq!(judge(10.0, 9.0), Ok(()));
        assert_eq!(judge(10.0, 20.0), Ok(()));
        assert!(judge(10.0, 8.99).unwrap_err().contains("snips"));
        // Of a log-likelihood, which is negative, the margin is a share as well.
        assert_eq!(judge(-2.0, -2.2), Ok(()));
        assert!(judge(-2.0, -2.3).is_err());
        assert!(judge(1.0, f64::NAN).is_err());
    }

    #[test]
    fn what_chance_can_do_is_no_objection() {
        let gate = Gate { margin: 0.1 };
        let with = |value: f64, width: f64| {
            evaluated(value).map(|new| Evaluation { interval: Some([value - width, value + width]), ..new })
        };
        assert_eq!(gate.judge(with(10.0, 2.0).as_ref(), with(6.0, 1.5).as_ref()), Ok(()));
        assert!(gate.judge(with(10.0, 2.0).as_ref(), with(6.0, 0.5).as_ref()).is_err());
        assert!(gate.judge(with(10.0, 1.0).as_ref(), with(6.0, 1.5).as_ref()).is_err());
    }

    #[test]
    fn what_cannot_be_compared_is_no_objection() {
        let gate = Gate { margin: 0.0 };
        let other = Evaluation { estimate: "log_likelihood".to_owned(), ..evaluated(-9.0).unwrap() };
        for (parent, new) in [(None, evaluated(1.0)), (evaluated(1.0), None), (evaluated(1.0), Some(other))] {
            assert_eq!(gate.judge(parent.as_ref(), new.as_ref()), Ok(()));
        }
    }
}
