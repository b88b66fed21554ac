//! Tensors beyond one binding, beyond one dimension of a dispatch, and empty ones, on every adapter.

use crate::rig::rigs;
use crate::sample::{Sample, distance};
use std::sync::Mutex;
use wgpu_norm::gpu::Options;
use wgpu_norm::norm::{BatchNorm, InstanceNorm, LayerNorm, Norm, Operands};
use wgpu_norm::plan::Momentum;
use wgpu_norm::reference::{self, Values};
use wgpu_norm::{Choice, Data, Dtype, Engine, Parameters, RunningStatistics, Spec, Tensor};

/// Each test needs gigabytes, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Every adapter and the CPU.
fn engines() -> Vec<Engine> {
    let mut choices = pollster::block_on(Choice::all());
    if crate::rig::turned_off() {
        choices.retain(|c| !matches!(c, Choice::Adapter { .. }));
    } else {
        assert!(choices.len() > 2, "no adapter: see the README for what to install");
    }
    choices.retain(|c| !matches!(c, Choice::Reference));
    choices.iter().map(|choice| pollster::block_on(Engine::open(choice)).expect("opens").without_fallback()).collect()
}

/// Noise that repeats with a prime period, which is quick to make.
fn tiled(len: usize, offset: f32) -> Vec<f32> {
    let period: Vec<f32> =
        crate::sample::noise(3, 99_991).into_iter().map(|x| crate::sample::single(x) + offset).collect();
    (0..len).map(|i| period[i % period.len()]).collect()
}

fn reference_of(norm: &dyn Norm, shape: &[usize], input: &[f32]) -> Vec<f64> {
    let plan = norm.lower(&Operands::new(Spec::new(shape, Dtype::F32))).expect("fits");
    let input = input.iter().map(|&x| f64::from(x)).collect();
    reference::execute(&plan, &mut Values { input, ..Values::default() }).expect("fits")
}

fn assert_close(name: &str, got: &[f32], want: &[f64], tolerance: f64) {
    let largest = want.iter().fold(0f64, |m, x| m.max(x.abs()));
    let worst = got.iter().zip(want).fold(0f64, |m, (g, w)| m.max(distance(f64::from(*g), *w)));
    assert!(worst <= tolerance * largest, "{name}: worst error {:.2e} of the largest output", worst / largest);
}

fn values(tensor: Tensor) -> Vec<f32> {
    match tensor.into_data() {
        Data::F32(values) => values,
        other => panic!("f32 in, {} out", other.dtype()),
    }
}

#[test]
fn a_tensor_of_300_mib_is_cut_along_its_rows() {
    let _turn = TURN.lock();
    let (rows, columns) = (76_800, 1024);
    let input = Tensor::from_f32([rows, columns], tiled(rows * columns, 1e4)).expect("fits");
    for engine in engines() {
        let norm = LayerNorm::new([columns]);
        let output = values(engine.forward(&norm, &input, &mut Parameters::default()).expect("runs"));
        let Data::F32(x) = input.data() else { unreachable!("made as f32") };
        for row in [0, 1, 32_767, 32_768, 40_000, rows - 1] {
            let range = row * columns..(row + 1) * columns;
            let want = reference_of(&norm, &[1, columns], &x[range.clone()]);
            assert_close(&format!("{} row {row}", engine.name()), &output[range], &want, 1e-6);
        }
    }
}

#[test]
fn a_batch_of_300_mib_is_cut_along_a_reduced_level() {
    let _turn = TURN.lock();
    let (n, c, s) = (75, 64, 16_384);
    let shape = [n, c, s];
    let input = Tensor::from_f32(shape, tiled(n * c * s, 3.0)).expect("fits");
    let Data::F32(x) = input.data() else { unreachable!("made as f32") };
    for engine in engines() {
        let mut running = RunningStatistics::new(c);
        let mut parameters = Parameters { running: Some(&mut running), ..Parameters::default() };
        let output = values(engine.forward(&BatchNorm::new(), &input, &mut parameters).expect("runs"));
        assert_eq!(running.num_batches_tracked, Some(1), "{}", engine.name());
        for channel in [0, 31, c - 1] {
            let of_channel = |values: &[f32]| -> Vec<f32> {
                (0..n).flat_map(|i| values[(i * c + channel) * s..(i * c + channel + 1) * s].to_vec()).collect()
            };
            let want = reference_of(&LayerNorm::new([n * s]), &[1, n * s], &of_channel(x));
            assert_close(&format!("{} channel {channel}", engine.name()), &of_channel(&output), &want, 1e-6);
        }
    }
}

#[test]
fn a_hundred_million_rows_of_one_are_the_bias() {
    let _turn = TURN.lock();
    let rows = 100_000_000;
    let input = Tensor::from_f32([rows, 1], tiled(rows, 0.0)).expect("fits");
    let weight = Tensor::from_f32([1], vec![2.0]).expect("fits");
    let bias = Tensor::from_f32([1], vec![0.625]).expect("fits");
    for engine in engines() {
        let mut parameters =
            Parameters { weight: Some(&weight), bias: Some(&bias), running: None, ..Parameters::default() };
        let output = values(engine.forward(&LayerNorm::new([1]), &input, &mut parameters).expect("runs"));
        let wrong = output.iter().position(|&y| y != 0.625);
        assert_eq!(wrong, None, "{}: the first row that is not the bias", engine.name());
    }
}

#[test]
fn one_row_of_fifty_million_keeps_its_digits() {
    let _turn = TURN.lock();
    let columns = 50_000_000;
    let norm = LayerNorm::new([columns]);
    let input = Tensor::from_f32([1, columns], tiled(columns, 1e4)).expect("fits");
    let Data::F32(x) = input.data() else { unreachable!("made as f32") };
    let want = reference_of(&norm, &[1, columns], x);
    // The weight alone is larger than a binding.
    let weight = Tensor::from_f32([columns], vec![1.0; columns]).expect("fits");
    for engine in engines() {
        let mut parameters = Parameters { weight: Some(&weight), ..Parameters::default() };
        let output = values(engine.forward(&norm, &input, &mut parameters).expect("runs"));
        assert_close(engine.name(), &output, &want, 1e-6);
    }
}

#[test]
fn an_empty_tensor_gives_an_empty_one_and_counts_as_a_batch() {
    let counted = RunningStatistics { num_batches_tracked: Some(1), ..RunningStatistics::new(3) };
    for engine in engines() {
        for shape in [[0, 3, 4], [2, 3, 0]] {
            let input = Tensor::zeros(shape, Dtype::F32).expect("fits");
            let mut running = RunningStatistics::new(3);
            let mut parameters = Parameters { running: Some(&mut running), ..Parameters::default() };
            let output = engine.forward(&BatchNorm::new(), &input, &mut parameters).expect("runs");
            assert_eq!(output.shape(), shape, "{}", engine.name());
            assert_eq!(running, counted, "{}", engine.name());
        }
        let input = Tensor::zeros([0, 12], Dtype::Bf16).expect("fits");
        let output = engine.forward(&LayerNorm::new([12]), &input, &mut Parameters::default()).expect("runs");
        assert_eq!(output.shape(), [0, 12], "{}", engine.name());
    }
}

/// An application's encoder counts it as well, though there is nothing to normalize.
#[test]
fn a_recorded_empty_batch_counts_and_moves_no_estimate() {
    let operands = Operands::new(Spec::new([0, 3, 4], Dtype::F32)).running(3, true);
    for momentum in [Momentum::default(), Momentum::Cumulative] {
        let sample = Sample::new(&BatchNorm::new().momentum(momentum), &operands, 0.0);
        let expected = sample.expected(0.0);
        for rig in rigs() {
            let outcome = rig.run(&sample.call(Options::default(), 0)).expect("it runs");
            let running = outcome.running.as_ref();
            assert_eq!(running.and_then(|r| r.num_batches_tracked), Some(4), "{}", rig.name);
            assert_eq!(expected.worst_running(running), Ok(0.0), "{}", rig.name);
        }
    }
}

/// More statistics than one dispatch's scratch holds, all of which the running estimates follow.
#[test]
fn twelve_million_planes_move_the_running_estimates_once() {
    let _turn = TURN.lock();
    let (n, c, s) = (1_500_000, 8, 2);
    let input = Tensor::from_f32([n, c, s], tiled(n * c * s, 5.0)).expect("fits");
    let Data::F32(x) = input.data() else { unreachable!("made as f32") };
    let plane = |i: usize| (f64::from(x[2 * i]), f64::from(x[2 * i + 1]));
    let average = |channel: usize, f: &dyn Fn((f64, f64)) -> f64| {
        (0..n).map(|sample| f(plane(sample * c + channel))).sum::<f64>() / n as f64
    };
    for engine in engines() {
        let mut running = RunningStatistics { num_batches_tracked: None, ..RunningStatistics::new(c) };
        let mut parameters = Parameters { running: Some(&mut running), ..Parameters::default() };
        engine.forward(&InstanceNorm::new(), &input, &mut parameters).expect("runs");
        for channel in [0, c - 1] {
            let mean = 0.1 * average(channel, &|(a, b)| (a + b) / 2.0);
            // The unbiased variance of two values is half the square of their difference.
            let var = 0.9 + 0.1 * average(channel, &|(a, b)| (a - b).powi(2) / 2.0);
            let (got_mean, got_var) = (f64::from(running.mean[channel]), f64::from(running.var[channel]));
            assert!((got_mean - mean).abs() < 1e-5, "{}: {got_mean} instead of {mean}", engine.name());
            assert!((got_var - var).abs() < 1e-5, "{}: {got_var} instead of {var}", engine.name());
        }
    }
}

#[test]
fn what_no_buffer_of_the_device_holds_is_refused_with_both_sizes() {
    let rows = (1 << 29) + 1024;
    let input = Tensor::zeros([rows, 1], Dtype::F32).expect("fits");
    for rig in rigs() {
        let limit = rig.device.limits().max_buffer_size;
        if limit >= 4 * rows as u64 {
            continue;
        }
        let engine = Engine::with_device(&rig.device, &rig.queue).without_fallback();
        let result = engine.forward(&LayerNorm::new([1]), &input, &mut Parameters::default());
        let text = result.expect_err("too large").to_string();
        assert!(text.contains("input") && text.contains("2147487744") && text.contains(&limit.to_string()), "{text}");
    }
}
