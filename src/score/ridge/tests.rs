//! The sums and the fit against one entry after the other, and what is sealed of them.

use super::*;

fn add(moments: &mut Moments, features: &[f64], target: f64) {
    let mut one = Samples::default();
    one.push(&[], features, target);
    moments.add(&mut one);
}

#[test]
fn many_samples_at_once_give_the_bits_of_one_after_the_other() {
    for dimension in [1, 3, 16, 17, 40, 99] {
        let feature = |sample: usize, index: usize| ((sample * 31 + index * 17) % 101) as f64 / 7.0 - 3.3;
        let (mut expected, mut targets) = (vec![0.0_f64; dimension * (dimension + 1) / 2], vec![0.0_f64; dimension]);
        let (mut moments, mut samples) = (Moments::new(dimension), Samples::default());
        for sample in 0..37 {
            let features: Vec<f64> = (0..dimension).map(|index| feature(sample, index)).collect();
            let target = sample as f64 / 3.0;
            let mut sums = expected.iter_mut();
            for row in 0..dimension {
                targets[row] += features[row] * target;
                for column in row..dimension {
                    let sum = sums.next().unwrap();
                    *sum = features[row].mul_add(features[column], *sum);
                }
            }
            samples.push(&features[..1], &features[1..], target);
            if sample % 5 == 4 {
                moments.add(&mut samples);
            }
        }
        moments.add(&mut samples);
        let packed = Packed::from(moments);
        assert_eq!(bits(&packed.products), bits(&expected), "dimension {dimension}");
        assert_eq!(bits(&packed.targets), bits(&targets), "dimension {dimension}");
    }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Some sums of features that no two samples share.
fn some(dimension: usize) -> Moments {
    let mut moments = Moments::new(dimension);
    for sample in 0..2 * dimension + 5 {
        let feature = |index: usize| ((sample * 131 + index * index * 17 + index * sample) % 101) as f64 / 50.0 - 1.0;
        let features: Vec<f64> = (0..dimension).map(|index| if index == 0 { 1.0 } else { feature(index) }).collect();
        add(&mut moments, &features, feature(dimension) + 0.5 * features[dimension / 2]);
    }
    moments
}

/// `L L^T w = b`, one entry after the other.
fn plain_weights(moments: &Moments, ridge: f64) -> Vec<f64> {
    let (size, n) = (moments.dimension, moments.count as f64);
    let mut factor = vec![vec![0.0; size]; size];
    for row in 0..size {
        for column in 0..=row {
            let mut sum = moments.right_of_diagonal(column)[row - column];
            if row == column {
                sum += if row == 0 { n * 1e-12 } else { n * ridge };
            }
            sum -= inner_product(&factor[row][..column], &factor[column][..column]);
            factor[row][column] = if row == column { sum.sqrt() } else { sum / factor[column][column] };
        }
    }
    let mut weights = moments.targets.clone();
    for row in 0..size {
        weights[row] = (weights[row] - inner_product(&factor[row][..row], &weights[..row])) / factor[row][row];
    }
    for row in (0..size).rev() {
        (row + 1..size).for_each(|below| weights[row] -= factor[below][row] * weights[below]);
        weights[row] /= factor[row][row];
    }
    weights
}

#[test]
fn many_rows_at_once_give_the_bits_of_one_entry_after_the_other() {
    for dimension in [1, 2, 7, 8, 9, 16, 17, 40, 99] {
        let moments = some(dimension);
        assert_eq!(bits(&moments.solve(1e-3).weights), bits(&plain_weights(&moments, 1e-3)), "{dimension}");
    }
}

#[test]
fn what_is_sealed_comes_back_and_goes_on() {
    for dimension in [1, 7, 99] {
        let (mut kept, mut sealed) = (some(dimension), Packed::from(some(dimension)));
        let mut restored = Moments::try_from(sealed.clone()).unwrap();
        add(&mut kept, &vec![0.3; dimension], 2.0);
        add(&mut restored, &vec![0.3; dimension], 2.0);
        assert_eq!(restored, kept);
        assert_eq!(restored.solve(1e-3), kept.solve(1e-3));
        sealed.products.pop();
        assert!(Moments::try_from(sealed).is_err());
    }
}

#[test]
fn the_fit_recovers_a_noiseless_linear_rule() {
    let mut moments = Moments::new(3);
    for sample in 0..200 {
        let (a, b) = (f64::from(sample % 7), f64::from(sample % 11) - 5.0);
        add(&mut moments, &[1.0, a, b], 2.0 + 0.5 * a - 3.0 * b + f64::from(sample % 2) * 0.2);
    }
    let fit = moments.solve(1e-9);
    assert!((fit.weights[1] - 0.5).abs() < 1e-2 && (fit.weights[2] + 3.0).abs() < 1e-2, "{fit:?}");
    assert!((fit.scale - 0.1).abs() < 2e-3, "{fit:?}");
}

#[test]
fn constant_targets_and_constant_features_divide_by_nothing() {
    let mut moments = Moments::new(3);
    (0..50).for_each(|_| add(&mut moments, &[1.0, 4.0, 0.0], 7.0));
    let fit = moments.solve(1e-3);
    let left = 7.0 - fit.expected(&[1.0, 4.0, 0.0]);
    assert!(left.abs() < 1e-3 && fit.scale == 1.0, "{left} {fit:?}");
}

#[test]
fn merged_moments_are_the_moments_of_the_union() {
    let (mut left, mut right, mut all) = (Moments::new(2), Moments::new(2), Moments::new(2));
    for sample in 0..10 {
        let half = if sample < 4 { &mut left } else { &mut right };
        add(half, &[1.0, f64::from(sample)], f64::from(sample * sample));
        add(&mut all, &[1.0, f64::from(sample)], f64::from(sample * sample));
    }
    left.merge(&right);
    assert_eq!(left, all);
}
