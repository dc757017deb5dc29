//! Means over seeds with their 95 % intervals.

use serde::Serialize;

/// A mean over seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    pub seeds: usize,
}

/// 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

impl Estimate {
    /// One value alone has no interval: its ends are the value.
    pub fn of(values: &[f64]) -> Estimate {
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let half = match values.len() {
            0 | 1 => 0.0,
            seeds => STUDENT.get(seeds - 2).copied().unwrap_or(1.96) * (squares / (count - 1.0) / count).sqrt(),
        };
        Estimate { mean, low: mean - half, high: mean + half, seeds: values.len() }
    }

    pub fn half(&self) -> f64 {
        self.high - self.mean
    }
}

/// The mean difference of two paired lists.
pub fn paired(left: &[f64], right: &[f64]) -> Estimate {
    Estimate::of(&left.iter().zip(right).map(|(left, right)| left - right).collect::<Vec<f64>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_students() {
        let found = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        // sd 1.5811, over sqrt 5 .7071, t(4) 2.776.
        assert!((found.mean - 3.0).abs() < 1e-12 && (found.half() - 1.9629).abs() < 1e-3, "{found:?}");
        assert_eq!(Estimate::of(&[2.0]).half(), 0.0);
        assert_eq!(paired(&[2.0, 4.0], &[1.0, 3.0]).half(), 0.0);
    }
}
