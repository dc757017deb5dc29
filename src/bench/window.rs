//! One judged unit at a full window: the threshold is asked for, then the score goes in and the oldest goes out.

use std::hint::black_box;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use super::baselines::{DualHeap, SortedVector};
use super::usage;
use crate::time::EventTime;
use crate::window::{Level, Score, Window};

/// A sorted vector moves megabytes for every unit.
const SORTED_OPERATIONS: usize = 400;

/// CPU time per unit at one level, and memory per element.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AtLevel {
    pub kappa: f64,
    pub ns_per_op: f64,
    /// By what the process has grown; `None` where the system does not tell.
    pub bytes_per_element: Option<f64>,
    pub dual_heap_ns: f64,
    pub sorted_vec_ns: f64,
}

/// Gaussian scores, drawn beforehand.
struct Scores {
    drawn: Vec<Score>,
    next: usize,
}

impl Scores {
    fn new(seed: u64) -> Scores {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let score = |_| Score::new(random.sample(StandardNormal)).unwrap_or(Score::ZERO);
        Scores { drawn: (0..1 << 20).map(score).collect(), next: 0 }
    }

    #[inline]
    fn next(&mut self) -> Score {
        self.next = (self.next + 1) % self.drawn.len();
        self.drawn[self.next]
    }
}

/// Measures a window of `len` at `kappa` over so many units.
pub fn measure(len: usize, kappa: f64, operations: usize, seed: u64) -> AtLevel {
    let mut scores = Scores::new(seed);
    let (ns_per_op, bytes) = band(&mut scores, len, kappa, operations);
    let rank = ((len as f64 * kappa) as usize).max(1);
    let mut heaps = DualHeap::default();
    for _ in 0..len + len / 2 {
        heaps.step(scores.next(), len, rank);
    }
    let dual_heap_ns = per_operation(operations, || {
        black_box(heaps.step(scores.next(), len, rank));
    });
    drop(heaps);
    let mut sorted = SortedVector::new((0..len).map(|_| scores.next()));
    let sorted_vec_ns = per_operation(SORTED_OPERATIONS.min(operations), || {
        black_box(sorted.step(scores.next(), rank));
    });
    let bytes_per_element = bytes.map(|bytes| bytes as f64 / len.max(1) as f64);
    AtLevel { kappa, ns_per_op, bytes_per_element, dual_heap_ns, sorted_vec_ns }
}

fn band(scores: &mut Scores, len: usize, kappa: f64, operations: usize) -> (f64, Option<u64>) {
    let level = Level::new(kappa);
    let before = usage::resident_bytes();
    let mut window = Window::new(len, None);
    let mut unit = |window: &mut Window| {
        black_box(window.quantile(level));
        window.push(scores.next(), EventTime::FIRST);
    };
    (0..len + len / 2).for_each(|_| unit(&mut window));
    let ns_per_op = per_operation(operations, || unit(&mut window));
    let bytes = usage::resident_bytes().zip(before).map(|(after, before)| after.saturating_sub(before));
    black_box(&window);
    (ns_per_op, bytes)
}

/// Nanoseconds of CPU time.
fn per_operation(operations: usize, mut operation: impl FnMut()) -> f64 {
    let before = usage::cpu_time();
    (0..operations).for_each(|_| operation());
    let took: Duration = usage::cpu_time() - before;
    took.as_nanos() as f64 / operations.max(1) as f64
}
