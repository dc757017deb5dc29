//! Insert, expire and query at a million elements: the band window against a dual heap and a sorted vector.
//!
//! One iteration is one judged unit: the threshold is asked for, then the score goes in and the oldest goes out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use sluicebox::time::EventTime;
use sluicebox::window::{Level, Score, Window};

const LEN: usize = 1_000_000;
const LEVELS: [f64; 3] = [0.05, 0.2, 0.5];

#[derive(Clone, Copy)]
enum Data {
    Gauss,
    MostlyZero,
    Ascending,
}

impl Data {
    const ALL: [(&'static str, Data); 3] =
        [("gauss", Data::Gauss), ("zeros_80", Data::MostlyZero), ("ascending", Data::Ascending)];

    fn scores(self) -> impl FnMut() -> Score {
        let mut random = SmallRng::seed_from_u64(1);
        // Drawn beforehand: the generator is not what is measured.
        let noise: Vec<f32> = (0..1 << 20).map(|_| random.sample(StandardNormal)).collect();
        let zero: Vec<bool> = (0..1 << 20).map(|_| random.random_bool(0.8)).collect();
        let mut count = 0_usize;
        move || {
            count += 1;
            let index = count % (1 << 20);
            let value = match self {
                Data::Gauss => noise[index],
                Data::MostlyZero if zero[index] => 0.0,
                Data::MostlyZero => noise[index],
                Data::Ascending => count as f32,
            };
            Score::new(value).unwrap_or(Score::ZERO)
        }
    }
}

fn band_window(criterion: &mut Criterion) {
    for (name, data) in Data::ALL {
        for kappa in LEVELS {
            let (mut scores, level) = (data.scores(), Level::new(kappa));
            let mut window = Window::new(LEN, None);
            for _ in 0..LEN + LEN / 2 {
                window.push(scores(), EventTime::FIRST);
                window.quantile(level);
            }
            criterion.bench_function(&format!("band/{name}/{kappa}"), |bench| {
                bench.iter(|| {
                    let cut = window.quantile(level);
                    window.push(scores(), EventTime::FIRST);
                    black_box(cut)
                });
            });
        }
    }
}

/// The level as adaptive conformal inference moves it, with its usual rate; and the tail asked for every time.
fn moving_level(criterion: &mut Criterion) {
    for (name, len, with_tail) in [("1e4", 10_000, false), ("1e4_tail", 10_000, true), ("1e6", LEN, false)] {
        let mut scores = Data::Gauss.scores();
        let (kappa, gamma) = (0.1, 0.005);
        let mut level = kappa;
        let mut window = Window::new(len, None);
        let mut unit = move || {
            let score = scores();
            let cut = window.quantile(Level::new(level));
            level += gamma * (kappa - cut.map_or(kappa, |cut| cut.weight(score)));
            if with_tail {
                black_box(window.tail(Level::new(level)));
            }
            window.push(score, EventTime::FIRST);
        };
        (0..len + len / 2).for_each(|_| unit());
        criterion.bench_function(&format!("band_moving_level/{name}"), |bench| bench.iter(&mut unit));
    }
}

fn snapshot(criterion: &mut Criterion) {
    let mut scores = Data::Gauss.scores();
    let mut window = Window::new(LEN, None);
    (0..LEN).for_each(|_| window.push(scores(), EventTime::FIRST));
    criterion.bench_function("save/1e6", |bench| bench.iter(|| black_box(window.save())));
}

/// Two heaps with lazy deletion: `upper` has the greatest `rank` of the living, `lower` the rest.
struct DualHeap {
    upper: BinaryHeap<Reverse<(Score, usize)>>,
    lower: BinaryHeap<(Score, usize)>,
    in_upper: VecDeque<bool>,
    oldest: usize,
    upper_living: usize,
}

impl DualHeap {
    fn step(&mut self, score: Score, len: usize, rank: usize) -> Option<Score> {
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

fn dual_heap(criterion: &mut Criterion) {
    for (name, data) in Data::ALL {
        let mut scores = data.scores();
        let mut heaps = DualHeap {
            upper: BinaryHeap::new(),
            lower: BinaryHeap::new(),
            in_upper: VecDeque::new(),
            oldest: 0,
            upper_living: 0,
        };
        for _ in 0..LEN + LEN / 2 {
            black_box(heaps.step(scores(), LEN, LEN / 5));
        }
        criterion.bench_function(&format!("dual_heap/{name}/0.2"), |bench| {
            bench.iter(|| black_box(heaps.step(scores(), LEN, LEN / 5)));
        });
    }
}

fn sorted_vector(criterion: &mut Criterion) {
    let mut scores = Data::Gauss.scores();
    let mut ring: VecDeque<Score> = (0..LEN).map(|_| scores()).collect();
    let mut sorted: Vec<Score> = ring.iter().copied().collect();
    sorted.sort_unstable();
    criterion.bench_function("sorted_vector/gauss/0.2", |bench| {
        bench.iter(|| {
            let score = scores();
            ring.push_back(score);
            if let Some(oldest) = ring.pop_front() {
                sorted.remove(sorted.partition_point(|&other| other < oldest));
            }
            sorted.insert(sorted.partition_point(|&other| other < score), score);
            black_box(sorted[LEN - LEN / 5])
        });
    });
}

criterion_group!(benches, band_window, moving_level, snapshot, dual_heap, sorted_vector);
criterion_main!(benches);
