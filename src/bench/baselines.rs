//! Two other ways to keep a quantile of a sliding window.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::window::Score;

/// Two heaps with lazy deletion: `upper` has the greatest `rank` of the living, `lower` the rest.
#[derive(Debug, Default)]
pub struct DualHeap {
    upper: BinaryHeap<Reverse<(Score, usize)>>,
    lower: BinaryHeap<(Score, usize)>,
    in_upper: VecDeque<bool>,
    oldest: usize,
    upper_living: usize,
}

impl DualHeap {
    /// Takes a score in, the oldest out beyond `len`, and answers the element of this rank from above.
    pub fn step(&mut self, score: Score, len: usize, rank: usize) -> Option<Score> {
        let number = self.oldest + self.in_upper.len();
        let above = self.upper.peek().is_some_and(|&Reverse(least)| (score, number) > least);
        self.in_upper.push_back(above);
        self.upper_living += usize::from(above);
        if above {
            self.upper.push(Reverse((score, number)))
        } else {
            self.lower.push((score, number))
        }
        if self.in_upper.len() > len {
            self.upper_living -= usize::from(self.in_upper.pop_front() == Some(true));
            self.oldest += 1;
        }
        while self.upper_living > rank {
            let Some(Reverse(moved)) = self.upper.pop() else { break };
            if self.hold(moved.1, false) {
                self.upper_living -= 1;
                self.lower.push(moved);
            }
        }
        while self.upper_living < rank {
            let Some(moved) = self.lower.pop() else { break };
            if self.hold(moved.1, true) {
                self.upper_living += 1;
                self.upper.push(Reverse(moved));
            }
        }
        while self.upper.peek().is_some_and(|&Reverse((_, number))| number < self.oldest) {
            self.upper.pop();
        }
        self.upper.peek().map(|&Reverse((score, _))| score)
    }

    /// Notes the element's side; `false` if it has expired.
    fn hold(&mut self, number: usize, upper: bool) -> bool {
        let Some(index) = number.checked_sub(self.oldest) else { return false };
        if let Some(side) = self.in_upper.get_mut(index) {
            *side = upper;
        }
        true
    }
}

/// The window twice: in order of arrival and in order of size.
#[derive(Debug)]
pub struct SortedVector {
    arrivals: VecDeque<Score>,
    sorted: Vec<Score>,
}

impl SortedVector {
    pub fn new(scores: impl Iterator<Item = Score>) -> SortedVector {
        let arrivals: VecDeque<Score> = scores.collect();
        let mut sorted: Vec<Score> = arrivals.iter().copied().collect();
        sorted.sort_unstable();
        SortedVector { arrivals, sorted }
    }

    /// Takes a score in and the oldest out, and answers the element of this rank from above.
    pub fn step(&mut self, score: Score, rank: usize) -> Option<Score> {
        self.arrivals.push_back(score);
        if let Some(oldest) = self.arrivals.pop_front() {
            self.sorted.remove(self.sorted.partition_point(|&other| other < oldest));
        }
        self.sorted.insert(self.sorted.partition_point(|&other| other < score), score);
        self.sorted.get(self.sorted.len().saturating_sub(rank)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::EventTime;
    use crate::window::{Level, Window};

    #[test]
    fn the_baselines_give_the_same_threshold_as_the_window() {
        const LEN: usize = 200;
        let rank = LEN / 5;
        let score = |index: u64| Score::new((index.wrapping_mul(2_654_435_761) % 1_000) as f32).unwrap();
        let mut window = Window::new(LEN, None);
        let mut heaps = DualHeap::default();
        (0..LEN as u64).for_each(|index| {
            window.push(score(index), EventTime::FIRST);
            heaps.step(score(index), LEN, rank);
        });
        let mut sorted = SortedVector::new((0..LEN as u64).map(score));
        for index in LEN as u64..2_000 {
            window.push(score(index), EventTime::FIRST);
            let threshold = window.quantile(Level::new(0.2)).map(|cut| cut.threshold);
            assert_eq!(heaps.step(score(index), LEN, rank), threshold, "unit {index}");
            assert_eq!(sorted.step(score(index), rank), threshold, "unit {index}");
        }
    }
}
