//! Groups that a GPU's registers hold whole: columns side by side, and the longest rows.

use crate::gradient_sample::GradientSample;
use crate::rig::{Call, Rig, rigs};
use crate::sample::{Sample, noise};
use wgpu_norm::gpu::{Options, Strategy};
use wgpu_norm::norm::{BatchNorm, InstanceNorm, LayerNorm, Norm, Operands, PositionalNorm, RmsNorm};
use wgpu_norm::plan::Momentum;
use wgpu_norm::{Data, Dtype, Layout, RunningStatistics, Spec, Wanted};

const UNITS: f64 = 16.0;

/// The layout of a GPU.
fn discrete() -> Vec<Rig> {
    rigs().iter().map(Rig::as_discrete).collect()
}

/// Each sample by a strategy, in a place of its own and in that of the input.
fn assert_all(samples_of: impl Fn(&Rig) -> Vec<Sample>, rigs: &[Rig], strategy: Strategy, kernel: &str) {
    for rig in rigs {
        for sample in &samples_of(rig) {
            let expected = sample.expected(UNITS);
            let apart = (Options::default().strategy(strategy).save_statistics(true), 256);
            let in_place = Options::default().strategy(strategy).in_place(true).subgroups(false);
            for (options, offset) in [apart, (in_place.offset_alignment(4), 4)] {
                let told = format!("{}: {} {options:?}", rig.name, sample.name);
                let labels = rig.gpu.prepare(&sample.plan, &options).expect("it is served").labels();
                let kernel = format!("wgpu-norm.{kernel}.");
                assert!(labels.iter().any(|label| label.starts_with(&kernel)), "{told}: {labels:?}");
                let outcome = rig.run(&sample.call(options, offset)).unwrap_or_else(|error| panic!("{told}: {error}"));
                let verdict = expected.worst(&outcome.output).and_then(|worst| {
                    expected.worst_running(outcome.running.as_ref())?;
                    if options.save_statistics {
                        expected.check_statistics(&outcome.statistics)?;
                    }
                    Ok(worst)
                });
                verdict.unwrap_or_else(|fault| panic!("{told}: {fault}"));
            }
        }
    }
}

/// Rows of f32 that the lanes which share a column hold, so many each.
fn most_rows(rig: &Rig, a_lane: u32) -> usize {
    (rig.gpu.capabilities().most_resident_lanes() / 8 * a_lane) as usize
}

/// Groups side by side, so long at most. Lanes that share a column are one to as many as there are; the last of each are
/// partly idle.
fn columns(longest: usize) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut add = |norm: &dyn Norm, shape: &[usize], parameters: &[usize], dtype, running: bool| {
        let spec = |shape: &[usize]| Spec::new(shape, dtype);
        let mut operands = Operands::new(spec(shape));
        if !parameters.is_empty() {
            operands = operands.weight(spec(parameters)).bias(spec(parameters));
        }
        if running {
            operands = operands.running(parameters[0], true);
        }
        samples.push(Sample::new(norm, &operands, 3.0));
    };
    for (rows, columns) in [(2, 33), (9, 7), (30, 6), (100, 6), (100, 40), (longest / 2 + 1, 9), (longest - 3, 36)] {
        add(&BatchNorm::new(), &[rows, columns], &[columns], Dtype::F32, true);
    }
    add(&BatchNorm::new().momentum(Momentum::Cumulative), &[37, 70], &[70], Dtype::F16, true);
    add(&LayerNorm::over_axes([1]), &[3, 96, 5, 14], &[96], Dtype::F32, false);
    add(&LayerNorm::over_axes([1]), &[2, 40, 130], &[40], Dtype::Bf16, false);
    add(&InstanceNorm::new().layout(Layout::ChannelsLast), &[3, longest / 2 - 6, 6], &[6], Dtype::F16, false);
    add(&PositionalNorm::new(), &[2, longest / 2 + 4, 11, 3], &[], Dtype::F32, false);
    add(&RmsNorm::over_axes([1]), &[2, longest - 50, 18], &[longest - 50], Dtype::F32, false);
    samples
}

#[test]
fn columns_agree_with_the_reference() {
    assert_all(|rig| columns(most_rows(rig, 16)), &discrete(), Strategy::Resident, "resident_columns");
}

/// Gradients of all, and of the input alone.
fn assert_gradients(samples_of: impl Fn(&Rig) -> Vec<Sample>, rigs: &[Rig]) {
    for rig in rigs {
        for sample in samples_of(rig).iter().map(GradientSample::new) {
            let (expected, all) = (sample.expected(UNITS), Wanted::all(&sample.plan));
            let apart = (Options::default().strategy(Strategy::Resident), 256, all);
            let in_place = Options::default().strategy(Strategy::Resident).in_place(true).subgroups(false);
            let of_input = Wanted { weight: false, bias: false, ..all };
            for (options, offset, wanted) in [apart, (in_place.offset_alignment(4), 4, all), (apart.0, 0, of_input)] {
                let told = format!("{}: {} {options:?} {wanted:?}", rig.name, sample.name);
                let labels = rig.gpu.prepare_backward(&sample.plan, wanted, &options).expect("it is served").labels();
                let holds = labels.iter().any(|label| label.starts_with("wgpu-norm.resident_gradient_columns."));
                assert!(holds, "{told}: {labels:?}");
                let got = rig.run_backward(&sample.call(options, wanted, offset));
                let got = got.unwrap_or_else(|error| panic!("{told}: {error}"));
                expected.worst(wanted, &got).unwrap_or_else(|fault| panic!("{told}: {fault}"));
            }
        }
    }
}

#[test]
fn gradients_of_columns_agree() {
    assert_gradients(|rig| columns(most_rows(rig, 8)), &discrete());
}

/// Cut along samples, and along columns where one sample is too much for a binding.
#[test]
fn columns_in_pieces_agree() {
    let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
    let with = |norm: &dyn Norm, shape: &[usize], channels: usize, tracks: bool| {
        let operands = Operands::new(spec(shape)).weight(spec(&[channels])).bias(spec(&[channels]));
        Sample::new(norm, &if tracks { operands.running(channels, true) } else { operands }, 3.0)
    };
    let of_each_sample = |channels: usize| {
        let operands = Operands::new(spec(&[2, 2, channels])).weight(spec(&[2, channels])).bias(spec(&[2, channels]));
        Sample::new(&InstanceNorm::new().layout(Layout::ChannelsLast), &operands, 3.0)
    };
    // Samples that share parameters, cut within each.
    let shared = Operands::new(spec(&[3, 2, 15_001])).weight(spec(&[15_001])).bias(spec(&[15_001]));
    let samples = [
        Sample::new(&InstanceNorm::new().layout(Layout::ChannelsLast), &shared, 3.0),
        of_each_sample(9001),
        of_each_sample(15_001),
        with(&LayerNorm::over_axes([1]), &[9, 96, 7, 10], 96, false),
        with(&LayerNorm::over_axes([1]), &[2, 3, 9000], 3, false),
        with(&BatchNorm::new(), &[3, 9001], 9001, true),
        with(&BatchNorm::new(), &[2, 15_001], 15_001, true),
    ];
    let rigs: Vec<Rig> = discrete().iter().map(|rig| rig.with_bindings_of(96 << 10)).collect();
    for (rig, sample) in rigs.iter().flat_map(|rig| samples.iter().map(move |sample| (rig, sample))) {
        let dispatches = rig.gpu.prepare(&sample.plan, &Options::default()).expect("it is served").workgroups().len();
        assert!(dispatches > 1, "{}: {} is one piece", rig.name, sample.name);
    }
    assert_all(|_| samples.to_vec(), &rigs, Strategy::Resident, "resident_columns");
    assert_gradients(|_| samples.to_vec(), &rigs);
}

#[test]
fn the_longest_rows_agree_with_the_reference() {
    let row = |d: usize, dtype| {
        let spec = |shape: &[usize]| Spec::new(shape, dtype);
        Sample::new(&LayerNorm::new([d]), &Operands::new(spec(&[2, d])).weight(spec(&[d])).bias(spec(&[d])), 3.0)
    };
    let channels = |d: usize| {
        let operands = Operands::new(Spec::new([5, 3, d], Dtype::F32)).running(3, true);
        Sample::new(&BatchNorm::new(), &operands, 3.0)
    };
    let longest = |rig: &Rig| {
        let most = 4 * usize::try_from(rig.gpu.capabilities().resident_packs()).expect("small");
        vec![row(most - 3073, Dtype::F32), row(most, Dtype::Bf16), row(most / 2, Dtype::F16), channels(most / 5 - 650)]
    };
    for strategy in [Strategy::Resident, Strategy::Streaming, Strategy::Split] {
        assert_all(longest, &discrete(), strategy, strategy.name());
    }
}

/// Its bits hang on its own elements alone: not on how many columns there are, nor on which of them it is.
#[test]
fn a_column_has_the_same_bits_anywhere() {
    let (rows, columns) = (200, 131);
    let column = noise(3, rows);
    let matrix = |columns: usize, own: &[usize]| -> Data {
        let mut values = noise(4, rows * columns);
        own.iter().for_each(|&c| (0..rows).for_each(|r| values[r * columns + c] = column[r]));
        Data::from_f64(Dtype::F32, &values)
    };
    for rig in discrete() {
        let run = |columns: usize, own: &[usize]| {
            let operands = Operands::new(Spec::new([rows, columns], Dtype::F32)).running(columns, false);
            let plan = BatchNorm::new().lower(&operands).expect("fits");
            let running = RunningStatistics { num_batches_tracked: None, ..RunningStatistics::new(columns) };
            let options = Options::default();
            let call = Call { running: Some(running), ..Call::new(&plan, options, matrix(columns, own)) };
            assert_eq!(rig.gpu.prepare(&plan, &options).expect("it is served").strategy(), Strategy::Resident);
            let outcome = rig.run(&call).expect("it runs");
            let running = outcome.running.expect("there are estimates");
            own.iter()
                .map(|&c| {
                    let output: Vec<f64> = outcome.output.to_f64().into_iter().skip(c).step_by(columns).collect();
                    (output, running.mean[c], running.var[c])
                })
                .collect::<Vec<_>>()
        };
        let alone = run(2, &[0]).remove(0);
        for (number, one) in run(columns, &[0, 1, 31, 32, 63, 130]).into_iter().enumerate() {
            assert!(one == alone, "{}: the {number}th differs from the column between others", rig.name);
        }
    }
}
