//! Insert, expire and query at a million elements: the band window against a dual heap and a sorted vector.
//!
//! One iteration is one judged unit: the threshold is asked for, then the score goes in and the oldest goes out.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use sluicebox::bench::baselines::{DualHeap, SortedVector};
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

fn dual_heap(criterion: &mut Criterion) {
    for (name, data) in Data::ALL {
        let mut scores = data.scores();
        let mut heaps = DualHeap::default();
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
    let mut sorted = SortedVector::new((0..LEN).map(|_| scores()));
    criterion.bench_function("sorted_vector/gauss/0.2", |bench| {
        bench.iter(|| black_box(sorted.step(scores(), LEN / 5)));
    });
}

criterion_group!(benches, band_window, moving_level, snapshot, dual_heap, sorted_vector);
criterion_main!(benches);
