//! Figures that were published (arXiv 2602.10430), to stand beside ours. The order and the relative gaps are the test:
//! number of items, users, width and noise of the reward are not given there.

use super::recipe::Method;

/// Main table: reward in the Medium and the Extreme mixture.
#[expect(clippy::approx_constant, reason = "a measured .318 is no 1/pi")]
pub fn main(method: Method) -> Option<[f64; 2]> {
    match method {
        Method::Bc => Some([0.338, 0.268]),
        Method::Crr => Some([0.222, 0.217]),
        Method::Bppo => Some([0.341, 0.124]),
        Method::Awr => Some([0.333, 0.254]),
        Method::Iql | Method::IqlPublished => Some([0.337, 0.289]),
        Method::AdaptiveBc => Some([0.367, 0.297]),
        Method::DrpoExp => Some([0.372, 0.318]),
        Method::Drpo => Some([0.374, 0.308]),
        Method::Apg => Some([0.01, 0.01]),
        Method::Asymre | Method::Remoteness => None,
    }
}

/// eCPM (five times the reward) at 0, 20, 40, 60 and 80 % of random behavior.
pub fn noise(method: Method) -> Option<[f64; 5]> {
    match method {
        Method::Drpo => Some([1.458, 1.472, 1.454, 1.408, 1.333]),
        Method::DrpoExp => Some([1.501, 1.440, 1.449, 1.420, 1.349]),
        Method::Iql | Method::IqlPublished => Some([1.479, 1.402, 1.350, 1.278, 1.146]),
        Method::Awr => Some([1.290, 1.164, 1.085, 1.034, 1.060]),
        Method::Crr => Some([1.122, 1.117, 1.124, 1.010, 0.756]),
        Method::Bc | Method::Bppo | Method::AdaptiveBc | Method::Asymre | Method::Remoteness | Method::Apg => None,
    }
}

/// eCPM of the ablation: mean baseline, least score as the baseline, with a fixed filter, with the curriculum.
pub const ABLATION: [f64; 4] = [0.12, 1.15, 1.31, 1.42];

/// Offline to online, eCPM: AsymRe, AWR, IQL, DRPO-Exp, DRPO.
pub const HAND_OVER: &str = "AsymRe 1.05, AWR 1.21, IQL 1.84, DRPO-Exp 1.93, DRPO 1.96";
