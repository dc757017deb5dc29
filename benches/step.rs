//! One update of the learner, beside the matrix products that it cannot do without.
//!
//! `cargo bench --bench step`. The figures are CPU time of the process, which a busy machine disturbs less than the
//! time on the wall.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use burn::tensor::{Device, Tensor, TensorData};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, criterion_group, criterion_main};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use sluicebox::batch::{Actions, Batch};
use sluicebox::learner::{Learner, LearnerSettings, PolicyKind, Sigma, Vectors};
use sluicebox::policy::ItemVectors;

// The product's allocator in the place of malloc: glibc's gives memory back between updates and fetches it again.
use libmimalloc_sys as _;

const ROWS: usize = 256;
const WIDTHS: [usize; 4] = [64, 256, 256, 32];

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..count).map(|_| generator.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0).collect()
}

fn batch(actions: Actions) -> Batch {
    Batch {
        number: 0,
        rows: ROWS,
        states: numbers(ROWS * WIDTHS[0], 1),
        actions,
        scores: numbers(ROWS, 2).iter().map(|score| score + 2.0).collect(),
        thresholds: vec![1.0; ROWS],
        weights: vec![1.0; ROWS],
        propensities: vec![None; ROWS],
    }
}

fn learner(policy: PolicyKind) -> Learner {
    let mut settings = LearnerSettings::new(WIDTHS[0], policy);
    settings.hidden = vec![WIDTHS[1], WIDTHS[2]];
    Learner::new(settings).expect("these settings are valid")
}

/// CPU time of all threads of the process.
struct CpuTime;

impl CpuTime {
    fn now() -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a valid timespec of our own, which the call fills.
        let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
        assert_eq!(result, 0, "the process has a CPU clock");
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        CpuTime::now()
    }

    fn end(&self, start: Duration) -> Duration {
        CpuTime::now() - start
    }

    fn add(&self, left: &Duration, right: &Duration) -> Duration {
        *left + *right
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn updates(criterion: &mut Criterion<CpuTime>) {
    let dimension = WIDTHS[3];
    let gaussian = batch(Actions::Embeddings { dimension, values: numbers(ROWS * dimension, 3) });
    let mut under_test = learner(PolicyKind::Gaussian { dimension, sigma: Sigma::Learned { initial: 1.0 } });
    criterion.bench_function("gaussian 64-256-256-32, 256 rows", |bencher| {
        bencher.iter(|| under_test.update(black_box(&gaussian)).expect("the batch fits"));
    });

    for items in [50_usize, 1000, 10_000] {
        let chosen: Vec<u32> = (0..ROWS).map(|row| (row * 7919 % items) as u32).collect();
        let catalog = ItemVectors::new(dimension, numbers(items * dimension, 4)).expect("whole rows");
        let mut under_test = learner(PolicyKind::Softmax { vectors: Vectors::Given(Arc::new(catalog)) });
        let batch = batch(Actions::Items { chosen, candidates: vec![None; ROWS] });
        criterion.bench_function(&format!("softmax over {items} given items, 256 rows"), |bencher| {
            bencher.iter(|| under_test.update(black_box(&batch)).expect("the batch fits"));
        });
    }
}

/// Forward, backward to the weights, and backward to the inputs of every layer but the first.
fn products(criterion: &mut Criterion<CpuTime>) {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread starts");
    let device = Device::flex();
    let matrix = |rows: usize, columns: usize| {
        Tensor::<2>::from_data(TensorData::new(numbers(rows * columns, 5), [rows, columns]), &device)
    };
    let layers: Vec<_> = WIDTHS
        .windows(2)
        .map(|pair| (matrix(ROWS, pair[0]), matrix(pair[0], pair[1]), matrix(ROWS, pair[1])))
        .collect();
    criterion.bench_function("matrix products of 64-256-256-32, 256 rows", |bencher| {
        one.install(|| {
            bencher.iter(|| {
                for (index, (input, weight, gradient)) in layers.iter().enumerate() {
                    black_box(input.clone().matmul(weight.clone()));
                    black_box(input.clone().transpose().matmul(gradient.clone()));
                    if index > 0 {
                        black_box(gradient.clone().matmul(weight.clone().transpose()));
                    }
                }
            });
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = products, updates
}
criterion_main!(benches);
