//! The window against a sorted vector, after every operation.

use std::collections::VecDeque;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::pivot::{Pivot, Tuning};
use super::*;

/// What a window is, written down in the plainest way.
struct Naive {
    capacity: usize,
    max_age: Option<i64>,
    content: VecDeque<(f32, i64)>,
    sorted: Vec<f32>,
}

impl Naive {
    fn new(capacity: usize, max_age: Option<i64>) -> Naive {
        Naive { capacity, max_age, content: VecDeque::new(), sorted: Vec::new() }
    }

    fn push(&mut self, value: f32, time: i64) {
        let last = self.content.back().map_or(time, |&(_, last)| last);
        self.content.push_back((value, time.max(last)));
        self.sorted.insert(self.sorted.partition_point(|&other| other < value), value);
        if self.content.len() > self.capacity {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some((value, _)) = self.content.pop_front() {
            self.sorted.remove(self.sorted.partition_point(|&other| other < value));
        }
    }

    fn expire(&mut self, now: i64) {
        let Some(max_age) = self.max_age else { return };
        while self.content.front().is_some_and(|&(_, time)| now - time > max_age) {
            self.drop_first();
        }
    }

    fn keep_last(&mut self, count: usize) {
        while self.content.len() > count {
            self.drop_first();
        }
    }

    /// Threshold, count above, count equal, by the definition of the nearest rank.
    fn cut(&self, level: Level) -> Option<(f32, u64, u64)> {
        let len = self.sorted.len() as u128;
        let from_least = (u128::from((1 << 32) - level.fixed()) * len).div_ceil(1 << 32).max(1);
        let threshold = *self.sorted.get(usize::try_from(from_least).unwrap() - 1)?;
        let above = self.sorted.len() - self.sorted.partition_point(|&value| value <= threshold);
        let equal = self.sorted.len() - above - self.sorted.partition_point(|&value| value < threshold);
        Some((threshold, above as u64, equal as u64))
    }

    fn assert_cut(&self, window: &mut Window, level: Level) {
        assert_eq!(window.len(), self.content.len());
        let cut = window.quantile(level);
        let Some((threshold, above, equal)) = self.cut(level) else { return assert_eq!(cut, None) };
        let cut = cut.unwrap();
        assert_eq!(
            (cut.threshold.value().to_bits(), cut.above, cut.equal, cut.len),
            (threshold.to_bits(), above, equal, self.sorted.len() as u64)
        );
        assert!((0.0..=1.0).contains(&cut.atom_share), "{cut:?}");
        let share = (level.to_f64() * self.sorted.len() as f64 - above as f64) / equal as f64;
        assert!((share - cut.atom_share).abs() < 1e-9, "{share} for {cut:?}");
    }

    /// The weights over the content sum to level * len to the last bit.
    fn assert_mass(&self, window: &mut Window, level: Level) {
        let Some(cut) = window.quantile(level) else { return };
        let sum: u128 = self.sorted.iter().map(|&value| cut.weight_units(Score::new(value).unwrap())).sum();
        assert_eq!(sum << 32, u128::from(level.fixed()) * u128::from(cut.len) * cut.weight_unit(), "{cut:?}");
        for &value in &self.sorted {
            let score = Score::new(value).unwrap();
            let exact = cut.weight_units(score) as f64 / cut.weight_unit() as f64;
            assert_eq!(cut.weight(score), exact, "{score} at {cut:?}");
        }
    }

    fn assert_tail(&self, window: &mut Window, level: Level) {
        let tail = window.tail(level);
        let Some((threshold, above, _)) = self.cut(level).filter(|_| level > Level::ZERO) else {
            return assert_eq!(tail, None);
        };
        let tail = tail.unwrap();
        let mass = level.to_f64() * self.sorted.len() as f64;
        let share = mass - above as f64;
        let moment = |power: i32| {
            let terms = self.sorted.iter().rev().take(above as usize).map(|&value| f64::from(value).powi(power));
            terms.clone().sum::<f64>() / mass + f64::from(threshold).powi(power) * (share / mass)
        };
        let scale = moment(2).sqrt();
        assert_eq!(tail.above, above);
        assert!((tail.mass - mass).abs() <= 1e-12 * mass);
        assert!((tail.mean - moment(1)).abs() <= 1e-10 * scale, "mean {} for {}", tail.mean, moment(1));
        assert!(
            (tail.second_moment - moment(2)).abs() <= 1e-10 * moment(2),
            "{} for {}",
            tail.second_moment,
            moment(2)
        );
    }

    fn assert_sound(&self, window: &Window) {
        let keys: Vec<Key> = self.sorted.iter().map(|&value| Score::new(value).unwrap().key()).collect();
        window.pivot.band.assert_sound(&keys);
    }
}

/// The streams that the issue of ties, extremes and drift is made of.
#[derive(Debug, Clone, Copy)]
enum Values {
    Gauss,
    MostlyZero,
    FewTies,
    AllEqual,
    Ascending,
    Descending,
    AlternatingExtremes,
    Awkward,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Push(Values, usize),
    /// Push on, with the level wandering as under adaptive conformal inference.
    Wander(Values, usize),
    JumpTo(u64),
    Expire(i64),
    KeepLast(usize),
    SaveAndRestore,
}

fn values() -> impl Strategy<Value = Values> {
    prop_oneof![
        Just(Values::Gauss),
        Just(Values::MostlyZero),
        Just(Values::FewTies),
        Just(Values::AllEqual),
        Just(Values::Ascending),
        Just(Values::Descending),
        Just(Values::AlternatingExtremes),
        Just(Values::Awkward),
    ]
}

fn level() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(1 << 32), Just((1 << 32) - 1), Just(1 << 31), Just(1 << 30), 0..=1_u64 << 32]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (values(), 1..400_usize).prop_map(|(values, count)| Act::Push(values, count)),
        4 => (values(), 1..400_usize).prop_map(|(values, count)| Act::Wander(values, count)),
        2 => level().prop_map(Act::JumpTo),
        2 => (-50..600_i64).prop_map(Act::Expire),
        1 => (0..300_usize).prop_map(Act::KeepLast),
        2 => Just(Act::SaveAndRestore),
    ]
}

fn tuning() -> impl Strategy<Value = Tuning> {
    // The last ones build bands all the time, miss with most brackets, and trim after nearly every split.
    prop_oneof![
        Just(Tuning::DEFAULT),
        Just(Tuning { sample: 16, deviations: 1.0, reach_min: 0.02, reach_max: 0.3, blocks_min: 3 }),
        Just(Tuning { sample: 3, deviations: 0.0, reach_min: 0.0, reach_max: 0.1, blocks_min: 1 }),
        Just(Tuning { sample: 100_000, deviations: 0.0, reach_min: 0.0, reach_max: 0.0, blocks_min: 0 }),
    ]
}

/// Both sides of the comparison, and what drives them.
struct Bench {
    naive: Naive,
    window: Window,
    tuning: Tuning,
    level: Level,
    now: i64,
    pushed: u64,
    state: u64,
}

impl Bench {
    fn new(capacity: usize, max_age: Option<u32>, tuning: Tuning, seed: u64) -> Bench {
        let mut window = Window::new(capacity, max_age.map(Span::from_millis));
        window.pivot = Pivot::new(tuning, Band::empty());
        let naive = Naive::new(capacity, max_age.map(i64::from));
        let now = EventTime::FIRST.millis() + 1_000_000;
        Bench { naive, window, tuning, level: Level::new(0.2), now, pushed: 0, state: seed | 1 }
    }

    fn random(&mut self) -> u64 {
        // Xorshift64*: the code under test has a generator of its own.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn unit(&mut self) -> f64 {
        self.random() as f64 / (1_u64 << 53) as f64
    }

    fn value(&mut self, values: Values) -> f32 {
        let awkward = [0.0, -0.0, 1.0, -1.0, f32::MAX, f32::MIN, 1e-45, -1e-45, f32::MIN_POSITIVE, 1e17, 0.1];
        match values {
            Values::Gauss => ((0..12).map(|_| self.unit()).sum::<f64>() - 6.0) as f32,
            Values::MostlyZero if self.unit() < 0.8 => 0.0,
            Values::MostlyZero => (self.unit() * 3.0 - 1.0) as f32,
            Values::FewTies => (self.random() % 9) as f32 - 4.0,
            Values::AllEqual => 2.5,
            Values::Ascending => self.pushed as f32 * 0.01,
            Values::Descending => self.pushed as f32 * -0.01,
            Values::AlternatingExtremes if self.pushed.is_multiple_of(2) => f32::MAX,
            Values::AlternatingExtremes => f32::MIN,
            Values::Awkward => awkward[self.random() as usize % awkward.len()],
        }
    }

    fn push(&mut self, values: Values) {
        let value = self.value(values);
        self.pushed += 1;
        // Times that mostly advance and sometimes go back.
        self.now += (self.random() % 4) as i64;
        let time = self.now - if self.random().is_multiple_of(8) { 5 } else { 0 };
        self.window.push(Score::new(value).unwrap(), EventTime::new(time).unwrap());
        self.naive.push(value + 0.0, time);
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Push(values, count) => {
                for _ in 0..count {
                    self.push(values);
                    self.naive.assert_cut(&mut self.window, self.level);
                }
            }
            Act::Wander(values, count) => {
                for _ in 0..count {
                    self.push(values);
                    let step = (self.unit() - 0.5) * 0.02;
                    self.level = Level::new(self.level.to_f64() + step);
                    self.naive.assert_cut(&mut self.window, self.level);
                    if self.random().is_multiple_of(16) {
                        self.naive.assert_tail(&mut self.window, self.level);
                    }
                }
            }
            Act::JumpTo(level) => self.level = Level::from_fixed(level),
            Act::Expire(after) => {
                self.window.expire(EventTime::new(self.now + after).unwrap());
                self.naive.expire(self.now + after);
            }
            Act::KeepLast(count) => {
                self.window.keep_last(count);
                self.naive.keep_last(count);
            }
            Act::SaveAndRestore => self.save_and_restore(),
        }
        self.naive.assert_cut(&mut self.window, self.level);
        self.naive.assert_sound(&self.window);
        self.naive.assert_mass(&mut self.window, self.level);
        self.naive.assert_tail(&mut self.window, self.level);
    }

    fn save_and_restore(&mut self) {
        let state = self.window.save();
        let bytes = postcard::to_stdvec(&state).unwrap();
        let read: WindowState = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(read, state);
        let mut restored = Window::restore(self.window.capacity(), self.window.max_age(), read).unwrap();
        assert_eq!(postcard::to_stdvec(&restored.save()).unwrap(), bytes);
        assert_eq!(restored.quantile(self.level), self.window.quantile(self.level));
        // To the same bits, although one has sums that came a long way and the other has counted anew.
        assert_eq!(restored.tail(self.level), self.window.tail(self.level));
        self.window = restored;
        self.window.pivot = Pivot::new(self.tuning, Band::stale());
    }
}

proptest! {
    #![proptest_config(Config { cases: 60, failure_persistence: None, ..Config::default() })]

    #[test]
    fn it_is_a_sorted_vector_after_every_operation(
        capacity in prop_oneof![1..4_usize, 1..200_usize, 200..3000_usize],
        max_age in prop::option::of(0..3000_u32),
        tuning in tuning(),
        seed in any::<u64>(),
        acts in prop::collection::vec(act(), 1..40),
    ) {
        let mut bench = Bench::new(capacity, max_age, tuning, seed);
        for act in acts {
            bench.act(act);
        }
    }
}

#[test]
fn a_window_of_many_blocks_is_a_sorted_vector_too() {
    for (seed, tuning) in [
        (1, Tuning::DEFAULT),
        (2, Tuning { sample: 200, deviations: 0.5, reach_min: 0.02, reach_max: 0.02, blocks_min: 2 }),
    ] {
        let mut bench = Bench::new(20_000, None, tuning, seed);
        for values in [Values::Gauss, Values::MostlyZero, Values::Ascending, Values::Descending, Values::Gauss] {
            for level in [0.05, 0.2, 0.5] {
                bench.level = Level::new(level);
                bench.act(Act::Push(values, 4000));
                bench.act(Act::Wander(values, 4000));
                bench.act(Act::SaveAndRestore);
            }
        }
    }
}

#[test]
fn an_empty_window_has_no_quantile() {
    let mut window = Window::new(10, None);
    assert_eq!(window.quantile(Level::ONE), None);
    assert_eq!(window.tail(Level::ONE), None);
    window.push(Score::ZERO, EventTime::FIRST);
    window.keep_last(0);
    assert_eq!(window.quantile(Level::ONE), None);
    assert!(window.is_empty());
}

#[test]
fn fewer_scores_than_one_over_the_level_share_the_greatest() {
    let mut window = Window::new(100, None);
    [3.0, 1.0, 2.0].iter().for_each(|&value| window.push(Score::new(value).unwrap(), EventTime::FIRST));
    let cut = window.quantile(Level::new(0.25)).unwrap();
    assert_eq!((cut.threshold.value(), cut.above, cut.equal, cut.atom_share), (3.0, 0, 1, 0.75));
    let tail = window.tail(Level::new(0.25)).unwrap();
    assert_eq!((tail.above, tail.mass, tail.mean, tail.second_moment), (0, 0.75, 3.0, 9.0));
}

#[test]
fn level_one_keeps_everything_and_level_zero_nothing() {
    let mut window = Window::new(100, None);
    [3.0, -1.0, -1.0, 2.0].iter().for_each(|&value| window.push(Score::new(value).unwrap(), EventTime::FIRST));
    let all = window.quantile(Level::ONE).unwrap();
    assert_eq!((all.threshold.value(), all.above, all.equal, all.atom_share), (-1.0, 2, 2, 1.0));
    assert_eq!(window.tail(Level::ONE).unwrap().mean, 0.75);
    let none = window.quantile(Level::ZERO).unwrap();
    assert_eq!((none.threshold.value(), none.above, none.equal, none.atom_share), (3.0, 0, 1, 0.0));
    assert_eq!(window.tail(Level::ZERO), None);
}

#[test]
fn a_score_exactly_as_old_as_the_limit_stays() {
    let limit = Span::from_millis(100);
    let mut window = Window::new(10, Some(limit));
    window.push(Score::ZERO, EventTime::FIRST);
    window.expire(EventTime::FIRST.plus(limit));
    assert_eq!(window.len(), 1);
    window.expire(EventTime::FIRST.plus(limit).plus(Span::from_millis(1)));
    assert_eq!(window.len(), 0);
}

#[test]
fn a_saved_window_does_not_change_when_the_window_goes_on() {
    let mut window = Window::new(9000, Some(Span::from_millis(1_000_000)));
    for index in 0..10_000_u32 {
        window.push(Score::new(index as f32).unwrap(), EventTime::FIRST.plus(Span::from_millis(index)));
    }
    let saved = window.save();
    let before = postcard::to_stdvec(&saved).unwrap();
    for index in 0..10_000_u32 {
        window.push(Score::new(-(index as f32)).unwrap(), EventTime::FIRST.plus(Span::from_millis(10_000 + index)));
    }
    assert_eq!(postcard::to_stdvec(&saved).unwrap(), before);
    assert_ne!(postcard::to_stdvec(&window.save()).unwrap(), before);
}

#[test]
fn how_the_content_came_about_is_not_in_the_bytes() {
    // The same last 500 scores, reached on different ways through the chunks.
    let reach = |before: u32, capacity: usize| {
        let mut window = Window::new(capacity, None);
        for index in 0..before + 500 {
            let value = index.wrapping_sub(before) as i32;
            window.push(Score::new(value as f32).unwrap(), EventTime::FIRST);
        }
        window.keep_last(500);
        postcard::to_stdvec(&window.save()).unwrap()
    };
    assert_eq!(reach(0, 500), reach(4096, 500));
    assert_eq!(reach(0, 500), reach(12_345, 9000));
}

#[test]
fn rotten_states_are_refused() {
    let mut window = Window::new(10, Some(Span::from_millis(100)));
    [1.0, 2.0].iter().for_each(|&value| window.push(Score::new(value).unwrap(), EventTime::FIRST));
    let state = window.save();
    let age = Some(Span::from_millis(100));

    for key in [0, Key::MAX, 0x7fff_ffff] {
        let mut rotten = state.clone();
        rotten.keys.push(key);
        assert_eq!(Window::restore(10, age, rotten).unwrap_err(), RottenWindow::NotAScore(2));
    }
    let mut rotten = state.clone();
    rotten.keys.push(Score::ZERO.key());
    assert_eq!(Window::restore(10, age, rotten).unwrap_err(), RottenWindow::Uneven { scores: 3, times: 2 });
    let rotten = WindowState { times: None, ..state.clone() };
    assert_eq!(Window::restore(10, age, rotten).unwrap_err(), RottenWindow::TimesMissing);
    // A limit that was lifted, or tightened, is a new setting and no rot.
    assert_eq!(Window::restore(10, None, state.clone()).unwrap().save().times.map(|times| times.len()), None);
    let mut tightened = Window::restore(1, age, state).unwrap();
    assert_eq!(tightened.quantile(Level::ONE).unwrap().threshold.value(), 2.0);
}

#[test]
fn torn_and_garbled_bytes_do_not_panic() {
    let mut window = Window::new(1000, Some(Span::from_millis(100)));
    for index in 0..300_u32 {
        window.push(Score::new(index as f32 - 100.0).unwrap(), EventTime::FIRST.plus(Span::from_millis(index * 1000)));
    }
    let bytes = postcard::to_stdvec(&window.save()).unwrap();
    for len in 0..bytes.len() {
        assert!(postcard::from_bytes::<WindowState>(&bytes[..len]).is_err(), "cut at {len}");
    }
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut garbled = bytes.clone();
            garbled[at] ^= flip;
            let Ok(state) = postcard::from_bytes::<WindowState>(&garbled) else { continue };
            if let Ok(mut window) = Window::restore(1000, window.max_age(), state) {
                window.tail(Level::new(0.1));
                window.expire(EventTime::LIMIT);
            }
        }
    }
}

/// max E_Q[R] subject to dQ/dP <= 1/kappa: our weights against the dual, on distributions with ties.
#[test]
fn the_weights_solve_the_linear_programme() {
    for seed in 0..400 {
        let mut bench = Bench::new(5000, None, Tuning::DEFAULT, seed * 7919 + 1);
        let count = 1 + bench.random() as usize % 300;
        let values = [Values::Gauss, Values::MostlyZero, Values::FewTies, Values::AllEqual][seed as usize % 4];
        (0..count).for_each(|_| bench.push(values));
        let level = Level::new(bench.unit().max(1e-3));
        let (kappa, chance) = (level.to_f64(), 1.0 / count as f64);
        let cut = bench.window.quantile(level).unwrap();
        let content: Vec<f64> = bench.naive.sorted.iter().map(|&value| f64::from(value)).collect();
        let weight = |value: f64| cut.weight(Score::new(value as f32).unwrap());

        // The primal solution is feasible: every density in [0, 1/kappa], and the whole is 1.
        assert!(content.iter().all(|&value| (0.0..=1.0).contains(&weight(value))), "seed {seed}");
        let whole: f64 = content.iter().map(|&value| weight(value) / kappa * chance).sum();
        assert!((whole - 1.0).abs() < 1e-12, "seed {seed}: {whole}");
        let primal: f64 = content.iter().map(|&value| weight(value) / kappa * chance * value).sum();

        // The dual is convex and piecewise linear, so its minimum is at one of the values; none may lie below the primal.
        let dual = |nu: f64| nu + content.iter().map(|&value| (value - nu).max(0.0)).sum::<f64>() * chance / kappa;
        let least = content.iter().map(|&value| dual(value)).fold(f64::INFINITY, f64::min);
        assert!((primal - least).abs() < 1e-12, "seed {seed}: primal {primal}, dual {least}");
        assert!((dual(f64::from(cut.threshold.value())) - least).abs() < 1e-12, "seed {seed}");
        let tail = bench.window.tail(level).unwrap();
        assert!((tail.mean - least).abs() < 1e-12, "seed {seed}: tail mean {}, dual {least}", tail.mean);
    }
}
