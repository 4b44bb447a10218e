//! Every kernel against the definition in float64, and all of them against each other to the bit.

use super::{AttentionRoom, HEAD, Kernel};
use crate::linear::{Levels, Linear};

/// Numbers from -1 to 1. Source: Knuth, MMIX linear congruential generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from((self.0 >> 32) as u32) / f64::from(u32::MAX) * 2.0 - 1.0
    }

    fn floats(&mut self, n: usize, size: f64) -> Vec<f32> {
        (0..n).map(|_| (self.next() * size) as f32).collect()
    }

    fn levels(&mut self, n: usize) -> Vec<i8> {
        (0..n).map(|_| (self.next() * 63.4) as i8).collect()
    }
}

/// What each kernel of this machine makes of the same input, the definition first; all must be equal to the bit.
fn agreed(run: impl Fn(&Kernel) -> Vec<f32>) -> Vec<f32> {
    let mut results = Kernel::available().into_iter().map(|kernel| (kernel.name, run(kernel)));
    let (_, first) = results.next().unwrap();
    for (name, result) in results {
        let same = result.iter().zip(&first).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same && result.len() == first.len(), "{name}");
    }
    first
}

fn assert_near(results: &[f32], expected: &[f64], most: f64) {
    assert_eq!(results.len(), expected.len());
    for (i, (&result, &expected)) in results.iter().zip(expected).enumerate() {
        assert!((f64::from(result) - expected).abs() <= most, "{i}: expected {expected}, got {result}");
    }
}

#[test]
fn the_kernels_of_this_machine_are_named() {
    let names: Vec<_> = Kernel::available().iter().map(|kernel| kernel.name).collect();
    for name in ["avx2", "avx512"] {
        if !names.contains(&name) {
            println!("skipped: {name} is not on this machine");
        }
    }
    assert_eq!(names[0], "scalar");
}

#[test]
fn a_product_is_that_of_the_integers_at_every_number_of_rows() {
    let mut random = Random(1);
    for (inputs, outputs) in [(4, 32), (32, 96), (384, 64)] {
        let weights = random.levels(inputs * outputs);
        let (scales, bias) = (random.floats(outputs, 0.01), random.floats(outputs, 1.0));
        let linear = Linear::new(&weights, &scales, &bias).unwrap();
        for rows in (1..=26).chain([37, 64]) {
            let groups: Vec<[u8; 4]> = (0..rows * inputs / 4)
                .map(|_| std::array::from_fn(|_| (random.next() * 127.6 + 127.6) as u8))
                .collect();
            let levels = Levels { groups, scale: 0.031, zero: 117 };
            let results = agreed(|kernel| {
                let mut out = vec![f32::NAN; rows * outputs];
                unsafe { (kernel.linear)(&linear, &levels, &mut out) };
                out
            });
            let bytes = levels.groups.as_flattened();
            let expected: Vec<f64> = (0..rows * outputs)
                .map(|at| {
                    let (row, column) = (at / outputs, at % outputs);
                    let sum: i32 = (0..inputs)
                        .map(|i| {
                            (i32::from(bytes[row * inputs + i]) - 117) * i32::from(weights[i * outputs + column])
                        })
                        .sum();
                    f64::from(sum) * f64::from(scales[column]) * f64::from(0.031_f32) + f64::from(bias[column])
                })
                .collect();
            assert_near(&results, &expected, 2e-3);
        }
    }
}

#[test]
fn the_greatest_products_do_not_saturate() {
    for (byte, level, zero) in [(255, 63, 0), (255, -63, 0), (0, 63, 255), (0, -63, 255)] {
        let linear = Linear::new(&vec![level; 1536 * 32], &[1.0; 32], &[0.0; 32]).unwrap();
        let levels = Levels { groups: vec![[byte; 4]; 384], scale: 1.0, zero };
        let results = agreed(|kernel| {
            let mut out = vec![0.0; 32];
            unsafe { (kernel.linear)(&linear, &levels, &mut out) };
            out
        });
        let expected = 1536 * (i32::from(byte) - zero) * i32::from(level);
        assert_eq!(results, vec![expected as f32; 32]);
    }
}

#[test]
fn a_weight_beyond_the_levels_is_refused() {
    for level in [64, -64, i8::MIN] {
        let mut weights = vec![0; 128];
        weights[5] = level;
        assert!(Linear::new(&weights, &[1.0; 32], &[0.0; 32]).is_err());
    }
}

#[test]
fn bytes_stand_for_the_numbers_to_half_a_level() {
    let mut random = Random(2);
    let constant = |value: f32| vec![value; 32];
    let mut inputs = vec![constant(0.0), constant(3.5), constant(-3.5), constant(1e-30)];
    inputs.extend((0..20).map(|i| random.floats(16 * (i + 1), 10.0_f64.powi(i as i32 - 10))));
    inputs.push(random.floats(64, 1.0).into_iter().map(|value| value + 5.0).collect());
    for input in inputs {
        let results = agreed(|kernel| {
            let mut levels = Levels::default();
            unsafe { (kernel.quantize)(&input, &mut levels) };
            let numbers = levels.groups.as_flattened().iter().map(|&byte| f32::from(byte));
            numbers.chain([levels.scale, levels.zero as f32]).collect()
        });
        let (scale, zero) = (f64::from(results[input.len()]), f64::from(results[input.len() + 1]));
        let numbers: Vec<f32> =
            results[..input.len()].iter().map(|&byte| ((f64::from(byte) - zero) * scale) as f32).collect();
        let expected: Vec<f64> = input.iter().map(|&value| f64::from(value)).collect();
        // Half a level for the number, half for the zero at the end of the range.
        assert_near(&numbers, &expected, scale * 1.001);
    }
}

#[test]
fn normalized_rows_are_those_of_float64() {
    let mut random = Random(3);
    for rows in [1, 2, 7] {
        let (input, added) = (random.floats(rows * 384, 3.0), random.floats(rows * 384, 0.5));
        let (weight, bias) = (random.floats(384, 2.0), random.floats(384, 1.0));
        let results = agreed(|kernel| {
            let mut rows = input.clone();
            unsafe { (kernel.normalize)(&mut rows, &added, &weight, &bias) };
            rows
        });
        let sums: Vec<f64> = input.iter().zip(&added).map(|(&a, &b)| f64::from(a) + f64::from(b)).collect();
        let mut expected = Vec::new();
        for row in sums.chunks(384) {
            let mean = row.iter().sum::<f64>() / 384.0;
            let deviation = (row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 384.0 + 1e-12).sqrt();
            let scaled = row.iter().zip(weight.iter().zip(&bias));
            expected.extend(scaled.map(|(x, (&w, &b))| (x - mean) / deviation * f64::from(w) + f64::from(b)));
        }
        assert_near(&results, &expected, 3e-6);
    }
}

#[test]
fn gelu_is_that_of_float64() {
    let input: Vec<f32> = (-4000..4000).map(|i| i as f32 / 250.0).chain([0.0; 16]).collect();
    let results = agreed(|kernel| {
        let mut rows = input.clone();
        unsafe { (kernel.gelu)(&mut rows) };
        rows
    });
    let expected: Vec<f64> = input.iter().map(|&x| f64::from(x) * normal_share(f64::from(x))).collect();
    assert_near(&results, &expected, 2e-6);
}

/// The share of the normal distribution below `x`, by the trapezium rule.
fn normal_share(x: f64) -> f64 {
    let steps = 4000;
    let width = x / f64::from(steps);
    let density = |t: f64| (-t * t / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let inner: f64 = (1..steps).map(|i| density(f64::from(i) * width)).sum();
    0.5 + width * (inner + f64::midpoint(density(0.0), density(x)))
}

#[test]
fn attention_is_that_of_float64_at_every_number_of_tokens() {
    let mut random = Random(4);
    let width = 2 * HEAD;
    for tokens in (1..=34).chain([63, 256]) {
        let joined = random.floats(tokens * 3 * width, 2.0);
        let results = agreed(|kernel| {
            let mut mixed = vec![f32::NAN; tokens * width];
            // Memory that a longer text has used.
            let mut room = AttentionRoom { queries: [[9.0; 16]; HEAD], weights: vec![[9.0; 16]; 300] };
            unsafe { (kernel.attend)(&joined, tokens, &mut room, &mut mixed) };
            mixed
        });
        let at = |token: usize, number: usize| f64::from(joined[token * 3 * width + number]);
        let mut expected = vec![0.0; tokens * width];
        for token in 0..tokens {
            for head in [0, HEAD] {
                let scores = (0..tokens).map(|other| {
                    (0..HEAD).map(|i| at(token, head + i) * at(other, width + head + i)).sum::<f64>()
                });
                let scores: Vec<f64> = scores.collect();
                let greatest = scores.iter().copied().fold(f64::MIN, f64::max);
                let powers: Vec<f64> = scores.iter().map(|score| (score - greatest).exp()).collect();
                let sum: f64 = powers.iter().sum();
                for i in 0..HEAD {
                    let mixed = (0..tokens).map(|other| powers[other] / sum * at(other, 2 * width + head + i));
                    expected[token * width + head + i] = mixed.sum();
                }
            }
        }
        assert_near(&results, &expected, 3e-5);
    }
}
