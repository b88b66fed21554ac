//! Offsets, constants, NaN: where one-pass kernels lose everything.

use crate::rig::{Call, Rig, rigs};
use crate::sample::{Sample, distance, noise};
use wgpu_norm::gpu::{Options, Strategy};
use wgpu_norm::norm::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm, Norm, Operands, RmsNorm};
use wgpu_norm::plan::Momentum;
use wgpu_norm::{Data, Dtype, Layout, RunningStatistics, Spec};

/// Shapes that every strategy serves at least one of.
fn norms() -> Vec<(Box<dyn Norm>, Vec<usize>)> {
    vec![
        (Box::new(LayerNorm::new([768])), vec![16, 768]),
        (Box::new(LayerNorm::new([4096])), vec![64, 4096]),
        (Box::new(LayerNorm::new([70_001])), vec![2, 70_001]),
        (Box::new(LayerNorm::over_axes([1])), vec![2, 640, 33]),
        (Box::new(GroupNorm::new(2)), vec![2, 8, 16, 16]),
        (Box::new(InstanceNorm::new().layout(Layout::ChannelsLast)), vec![2, 900, 3]),
        (Box::new(BatchNorm::new()), vec![8, 3, 16, 16]),
        (Box::new(BatchNorm::new()), vec![4096, 37]),
    ]
}

fn bare(norm: &dyn Norm, shape: &[usize]) -> Operands {
    let operands = Operands::new(Spec::new(shape, Dtype::F32));
    norm.lower(&operands).expect("fits");
    operands
}

/// Every strategy that serves the sample.
fn outputs(rig: &Rig, sample: &Sample) -> Vec<(String, Data)> {
    Strategy::ALL
        .into_iter()
        .filter(|s| s.supports(&sample.plan, rig.gpu.capabilities()).is_ok())
        .map(|s| {
            (
                format!("{} {s} {}", rig.name, sample.name),
                rig.run(&sample.call(Options::default().strategy(s), 0)).expect("runs").output,
            )
        })
        .collect()
}

#[test]
fn a_mean_of_1e4_costs_1e_6_and_one_of_1e6_costs_1e_5_at_most() {
    for rig in rigs() {
        for (offset, tolerance) in [(1e4, 1e-6), (1e6, 1e-5)] {
            let mut worst = 0f64;
            for (norm, shape) in norms() {
                let sample = Sample::new(&*norm, &bare(&*norm, &shape), offset);
                let want = sample.expected(1.0).output;
                let largest = want.iter().fold(0f64, |m, x| m.max(x.abs()));
                for (name, output) in outputs(&rig, &sample) {
                    let error =
                        output.to_f64().iter().zip(&want).fold(0f64, |m, (g, w)| m.max(distance(*g, *w))) / largest;
                    assert!(error <= tolerance, "{name}: {error:.1e} at mean {offset:.0e}");
                    worst = worst.max(error);
                }
            }
            println!("{}: mean {offset:.0e}, worst error {worst:.1e} of the largest output", rig.name);
        }
    }
}

#[test]
fn constant_rows_give_exactly_the_bias() {
    for rig in rigs() {
        for (norm, shape) in norms() {
            let len: usize = shape.iter().product();
            let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
            let parameters = norm_parameters(&*norm, &shape);
            let operands = bare(&*norm, &shape).weight(spec(&parameters)).bias(spec(&parameters));
            let mut sample = Sample::new(&*norm, &operands, 0.0);
            for constant in [0.0, 1.0, -3.7, 1e4, 1e-20] {
                sample.input = Data::from_f64(Dtype::F32, &vec![constant; len]);
                let want = sample.expected(1.0).output;
                for (name, output) in outputs(&rig, &sample) {
                    assert_eq!(output.to_f64(), want, "{name}: constant {constant}");
                }
            }
        }
    }
}

/// Their variance is infinite, so nothing but the bias is left; what a last pack has not is no NaN among them.
#[test]
fn squares_beyond_f32_give_exactly_the_bias() {
    let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
    for rig in rigs() {
        for d in [33, 66, 1027, 20_001] {
            let operands = Operands::new(spec(&[3, d])).weight(spec(&[d])).bias(spec(&[d]));
            let sample = Sample::with_deviation(&LayerNorm::new([d]), &operands, 0.0, 1e25);
            let bias = sample.bias.as_ref().expect("it has one").to_f64().repeat(3);
            for (name, output) in outputs(&rig, &sample) {
                let wrong = output.to_f64().into_iter().zip(&bias).enumerate().find(|(_, (got, want))| got != *want);
                assert_eq!(wrong, None, "{name}");
            }
        }
    }
}

/// The shape of weight and bias: the one that `lower` takes.
fn norm_parameters(norm: &dyn Norm, shape: &[usize]) -> Vec<usize> {
    shape
        .iter()
        .map(|&axis| vec![axis])
        .find(|parameters| {
            norm.lower(&Operands::new(Spec::new(shape, Dtype::F32)).weight(Spec::new(parameters.clone(), Dtype::F32)))
                .is_ok()
        })
        .expect("one axis has the parameters' length")
}

#[test]
fn nan_and_infinity_poison_their_own_row_alone() {
    for rig in rigs() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for (norm, shape, rows) in [
                (Box::new(LayerNorm::new([100])) as Box<dyn Norm>, [9, 100], 9),
                (Box::new(LayerNorm::new([5003])), [9, 5003], 9),
                (Box::new(RmsNorm::new([100])), [9, 100], 9),
            ] {
                let columns = shape[1];
                for place in [0, 1, columns / 2, columns - 1] {
                    let mut sample = Sample::new(&*norm, &bare(&*norm, &shape), 0.0);
                    let mut values = noise(1, rows * columns);
                    values[3 * columns + place] = bad;
                    sample.input = Data::from_f64(Dtype::F32, &values);
                    let want = sample.expected(16.0);
                    for (name, output) in outputs(&rig, &sample) {
                        if let Err(fault) = want.worst(&output) {
                            panic!("{name}: {bad} at {place}: {fault}");
                        }
                    }
                }
            }
        }
    }
}

/// The two columns of the table of what adapters like.
fn both(rig: &Rig) -> [Rig; 2] {
    [rig.as_emulated(), rig.as_discrete()]
}

/// Near the largest of their types too, where a sum of a row would overflow.
#[test]
fn constant_rows_of_16_bits_give_exactly_the_bias() {
    let norms: [(Box<dyn Norm>, Vec<usize>); 3] = [
        (Box::new(LayerNorm::new([768])), vec![3, 768]),
        (Box::new(LayerNorm::new([4098])), vec![2, 4098]),
        (Box::new(LayerNorm::over_axes([1])), vec![2, 320, 36]),
    ];
    for rig in rigs().iter().flat_map(both) {
        for (dtype, large) in [(Dtype::F16, 6e4), (Dtype::Bf16, 3e38)] {
            for (norm, shape) in &norms {
                let spec = |shape: &[usize]| Spec::new(shape, dtype);
                let parameters = norm_parameters(&**norm, shape);
                let operands = Operands::new(spec(shape)).weight(spec(&parameters)).bias(spec(&parameters));
                let mut sample = Sample::new(&**norm, &operands, 0.0);
                for constant in [0.0, 1.0, -3.7, large] {
                    sample.input = Data::from_f64(dtype, &vec![constant; shape.iter().product()]);
                    let want = sample.expected(1.0).output;
                    for (name, output) in outputs(&rig, &sample) {
                        assert_eq!(output.to_f64(), want, "{name}: constant {constant} {dtype}");
                    }
                }
            }
        }
    }
}

/// Four elements are rounded together, and have neighbours that are none of their business. The NaN is that of NVIDIA's
/// arithmetic, which rounding carries over into a zero.
#[test]
fn what_is_no_number_in_a_weight_stays_in_its_place_where_elements_have_16_bits() {
    for rig in rigs().iter().flat_map(both) {
        for (dtype, columns) in [(Dtype::Bf16, 64), (Dtype::Bf16, 66), (Dtype::F16, 64)] {
            let weight = Spec::new([columns], Dtype::F32);
            let operands = Operands::new(Spec::new([3, columns], dtype)).weight(weight.clone()).bias(weight);
            let mut sample = Sample::new(&LayerNorm::new([columns]), &operands, 3.0);
            let Some(Data::F32(weight)) = &mut sample.weight else { panic!("it is f32") };
            // Infinities of both signs in one pack, and in others a NaN.
            (weight[9], weight[10]) = (f32::INFINITY, f32::NEG_INFINITY);
            (weight[33], weight[38]) = (f32::from_bits(0x7fff_ffff), f32::from_bits(0xffff_ffff));
            let want = sample.expected(16.0);
            let no_numbers = want.output.iter().filter(|y| !y.is_finite()).count();
            assert_eq!(no_numbers, 12, "four a row");
            for (name, output) in outputs(&rig, &sample) {
                want.worst(&output).unwrap_or_else(|fault| panic!("{name}: {fault}"));
            }
        }
    }
}

/// A momentum of 1, which a cumulative average begins with: what was estimated before is much larger than what comes.
#[test]
fn a_momentum_of_1_leaves_nothing_of_the_old_estimate() {
    for (rig, shape) in rigs().iter().flat_map(both).flat_map(|rig| [(rig.clone(), [64, 3, 10]), (rig, [9, 3, 9001])]) {
        let values: Vec<f64> = noise(5, shape.iter().product()).into_iter().map(|x| 1e-4 * x).collect();
        let input = Data::from_f64(Dtype::F32, &values);
        let stored = input.to_f64();
        for momentum in [Momentum::Cumulative, Momentum::Fixed(1.0)] {
            let operands = Operands::new(Spec::new(shape, Dtype::F32)).running(3, true);
            let plan = BatchNorm::new().momentum(momentum).lower(&operands).expect("fits");
            let running = RunningStatistics { mean: vec![1.0; 3], ..RunningStatistics::new(3) };
            let call = Call { running: Some(running), ..Call::new(&plan, Options::default(), input.clone()) };
            let got = rig.run(&call).expect("runs").running.expect("they are moved");
            for channel in 0..3 {
                let own = |i: &usize| i / shape[2] % shape[1] == channel;
                let own: Vec<f64> = (0..stored.len()).filter(own).map(|i| stored[i]).collect();
                let mean = own.iter().sum::<f64>() / own.len() as f64;
                let var = own.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (own.len() - 1) as f64;
                let off_by = |got: f32, want: f64, of: f64| distance(f64::from(got), want) / of;
                let (of_mean, of_var) =
                    (off_by(got.mean[channel], mean, var.sqrt()), off_by(got.var[channel], var, var));
                assert!(of_mean < 1e-6 && of_var < 1e-5, "{}: {shape:?} {momentum:?}: {of_mean} {of_var}", rig.name);
            }
        }
    }
}
