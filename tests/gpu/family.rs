//! The normalizations that learn more than weight and bias, or whose statistics are more than a group's own: every
//! strategy on every adapter, forward and backward, against the f64 reference.

use crate::gradient_sample::GradientSample;
use crate::rig::{Rig, rigs};
use crate::sample::Sample;
use crate::{gradients, strategies};
use wgpu_norm::gpu::{Options, Strategy};
use wgpu_norm::norm::{
    BatchGroupNorm, BatchNorm, ConditionalBatchNorm, FilterResponseNorm, Fused, InstanceNorm, LayerNorm,
    MomentShortcut, Norm, Operands, PositionalNorm, RmsNorm, SandwichBatchNorm, SwitchableNorm,
};
use wgpu_norm::plan::{Activation, Epilogue, Extra};
use wgpu_norm::{Dtype, Layout, Spec};

/// Samples, channels, positions.
pub(crate) type Ncs = [usize; 3];

/// Every member of the family on one input, with each tensor that it can have.
pub(crate) fn members([n, c, s]: Ncs, layout: Layout, dtype: Dtype) -> Vec<(Box<dyn Norm>, Operands)> {
    let spec = |shape: &[usize]| Spec::new(shape, dtype);
    let on = |s: usize| {
        let shape = if layout == Layout::ChannelsFirst { [n, c, s] } else { [n, s, c] };
        Operands::new(spec(&shape))
    };
    let affine = |operands: Operands| operands.weight(spec(&[c])).bias(spec(&[c]));
    let classes = 5;
    let table = Some(spec(&[classes, c]));
    let tables = Extra { class_weight: table.clone(), class_bias: table.clone(), ..Extra::default() };
    let batch = |training| BatchNorm::new().training(training).layout(layout);
    let frn = || Box::new(FilterResponseNorm::new().layout(layout));
    let tau = Extra { tau: Some(spec(&[c])), ..Extra::default() };
    let learned_eps = Extra { eps_l: Some(spec(&[1])), ..Extra::default() };
    let both = Extra { eps_l: Some(spec(&[1])), ..tau.clone() };
    let mut all: Vec<(Box<dyn Norm>, Operands)> = vec![
        (frn(), affine(on(s)).extra(both)),
        (frn(), on(s).extra(tau)),
        (frn(), on(s).weight(spec(&[c])).extra(learned_eps)),
        (frn(), affine(on(s))),
    ];
    if c > 1 {
        all.push((Box::new(PositionalNorm::new().layout(layout)), on(s)));
    }
    let moments = spec(&if layout == Layout::ChannelsFirst { [n, 1, s] } else { [n, s, 1] });
    all.push((Box::new(MomentShortcut::new().layout(layout)), on(s).weight(moments.clone()).bias(moments)));
    for training in [true, false] {
        let conditional = |operands: Operands| operands.labels(n).running(c, true);
        all.push((
            Box::new(ConditionalBatchNorm::new(batch(training))),
            conditional(on(s).weight(table.clone().expect("a table")).bias(table.clone().expect("a table"))),
        ));
        all.push((Box::new(SandwichBatchNorm::new(batch(training))), conditional(affine(on(s))).extra(tables.clone())));
        if s > 1 {
            let norm = SwitchableNorm::new().training(training).layout(layout);
            // Without a counter, as in the paper, and with one.
            let running = affine(on(s)).running(c, layout == Layout::ChannelsLast);
            all.push((Box::new(norm), running.extra(shares(dtype))));
        }
        let cuts_channels = layout == Layout::ChannelsFirst;
        // A group of one value has no variance, and is refused in training.
        let fits = |g: &usize| (c * s) % g == 0 && (cuts_channels || c % g == 0) && n * c * s > *g;
        // One run, some channels a run, and where they can be runs that begin inside a channel.
        for groups in [1, 2, 3, 4, 7].into_iter().filter(fits).step_by(2) {
            let norm = BatchGroupNorm::new(groups).batch(batch(training));
            all.push((Box::new(norm), affine(on(s)).running(groups, true)));
        }
    }
    all
}

/// The shares of a mixture of three statistics.
pub(crate) fn shares(dtype: Dtype) -> Extra<Option<Spec>> {
    let three = Some(Spec::new([3], dtype));
    Extra { mean_weight: three.clone(), var_weight: three, ..Extra::default() }
}

fn samples(shapes: &[Ncs], epilogue: Epilogue, offset: f64, dtypes: &[Dtype]) -> Vec<Sample> {
    let mut samples = Vec::new();
    for &ncs in shapes {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            for &dtype in dtypes {
                for (norm, operands) in members(ncs, layout, dtype) {
                    samples.push(Sample::with_deviation(&Fused { norm, epilogue }, &operands, offset, 1.7));
                }
            }
        }
    }
    samples
}

/// A few elements, odd lengths, groups beyond a team's registers, and runs that cut channels.
const SHAPES: [Ncs; 3] = [[2, 6, 35], [9, 5, 1], [2, 3, 9001]];
const SMALL: [Ncs; 1] = [[3, 6, 14]];

/// All shapes in f32, and one of them in the short types.
fn all_samples() -> Vec<Sample> {
    let mut all = samples(&SHAPES, Epilogue::default(), 0.0, &[Dtype::F32]);
    all.extend(samples(&SMALL, Epilogue::default(), 0.0, &[Dtype::F16, Dtype::Bf16]));
    all
}

#[test]
fn every_strategy_agrees_with_the_reference() {
    strategies::assert_all_ways(&all_samples(), rigs());
}

#[test]
fn every_strategy_gives_the_gradients_of_the_reference() {
    gradients::assert_all_ways(&all_samples(), &rigs());
}

/// Not of a mean square, to which an offset is no offset, nor of a shortcut.
#[test]
fn an_offset_costs_no_digits() {
    let centred = |sample: &Sample| sample.plan.statistic().is_centred();
    let samples = samples(&SMALL, Epilogue::default(), 1e4, &[Dtype::F32]);
    let samples: Vec<Sample> = samples.into_iter().filter(centred).collect();
    strategies::assert_all_ways(&samples, rigs());
    gradients::assert_all_ways(&samples, &rigs());
}

#[test]
fn the_layout_for_wide_workgroups_agrees_too() {
    let rigs = || rigs().iter().map(Rig::as_discrete).collect::<Vec<_>>();
    let samples = samples(&SHAPES[..2], Epilogue::default(), 0.0, &[Dtype::F32]);
    strategies::assert_all_ways(&samples, rigs());
    gradients::assert_all_ways(&samples, &rigs());
}

#[test]
fn a_tensor_in_many_pieces_comes_out_the_same() {
    let rigs = || rigs().iter().map(|rig| rig.with_bindings_of(8 << 10)).collect::<Vec<_>>();
    let samples = samples(&[[13, 12, 18]], Epilogue::default(), 0.0, &[Dtype::F32, Dtype::F16]);
    // What is refused there: prepared parameters, or a few neighbouring columns' partial moments, beyond a binding.
    let fits = |sample: &Sample| {
        let view = sample.plan.view();
        sample.plan.affine().map.len < 500 && view.b * view.d * view.c.min(4) <= 2048
    };
    let samples: Vec<Sample> = samples.into_iter().filter(fits).collect();
    strategies::assert_all_ways(&samples, rigs());
    gradients::assert_all_ways(&samples, &rigs());
}

#[test]
fn activations_and_conventions_of_the_weight_agree() {
    let epilogue = |rounds_normalized| Epilogue {
        activation: Some(Activation::Silu),
        zero_centred_weight: true,
        rounds_normalized,
    };
    for (epilogue, dtypes) in [(epilogue(false), [Dtype::F32]), (epilogue(true), [Dtype::F16])] {
        let samples = samples(&SMALL, epilogue, 0.0, &dtypes);
        strategies::assert_all_ways(&samples, rigs());
        gradients::assert_all_ways(&samples, &rigs());
    }
}

/// Norms whose means and deviations are outputs of the network.
fn norms_with_moments(layout: Layout, dtype: Dtype) -> Vec<Sample> {
    let shape = if layout == Layout::ChannelsFirst { [3, 12, 35] } else { [3, 35, 12] };
    let operands = Operands::new(Spec::new(shape, dtype));
    let norms: [Box<dyn Norm>; 5] = [
        Box::new(PositionalNorm::new().layout(layout)),
        Box::new(InstanceNorm::new().layout(layout)),
        Box::new(BatchNorm::new().layout(layout)),
        Box::new(LayerNorm::over_axes([-1])),
        Box::new(RmsNorm::over_axes([-1])),
    ];
    norms.iter().map(|norm| Sample::with_deviation(&**norm, &operands, 3.0, 1.7)).collect()
}

#[test]
fn gradients_flow_into_means_and_deviations() {
    for rigs in [rigs(), rigs().iter().map(|rig| rig.with_bindings_of(8 << 10)).collect()] {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            for dtype in Dtype::ALL {
                let samples = norms_with_moments(layout, dtype);
                // No gradient flows into a mean that is not taken away.
                let centred = samples.iter().filter(|sample| sample.plan.statistic().is_centred());
                let samples: Vec<_> = centred.map(|sample| GradientSample::new(sample).with_moments()).collect();
                gradients::assert_gradients(&samples, &rigs);
            }
        }
    }
}

#[test]
fn the_resident_kernel_says_that_it_takes_no_gradients_of_moments() {
    let sample = norms_with_moments(Layout::ChannelsLast, Dtype::F32).swap_remove(0);
    let wanted = wgpu_norm::Wanted::all(&sample.plan);
    for rig in rigs() {
        let options = Options::default().moments(true);
        let own = rig.gpu.prepare_backward(&sample.plan, wanted, &options).expect("another strategy serves it");
        assert_ne!(own.strategy(), Strategy::Resident, "{}", rig.name);
        let forced = rig.gpu.prepare_backward(&sample.plan, wanted, &options.strategy(Strategy::Resident));
        let text = forced.expect_err("it is forced").to_string();
        assert!(text.contains("resident") && text.contains("means and deviations"), "{text}");
    }
}

/// On the GPU labels are the application's: one without a row is reported, and reads nothing out of bounds.
#[test]
fn a_label_without_a_row_raises_the_flag_and_takes_the_last_class() {
    let table = Spec::new([5, 4], Dtype::F32);
    let operands = Operands::new(Spec::new([3, 4, 6], Dtype::F32)).weight(table.clone()).bias(table).labels(3);
    let sample = Sample::new(&ConditionalBatchNorm::default(), &operands, 0.0);
    for rig in rigs() {
        let run = |labels: [i64; 3]| {
            let mut call = sample.call(Options::default(), 0);
            call.labels = Some(labels.to_vec());
            rig.run(&call).expect("runs")
        };
        let last = run([0, 4, 4]);
        assert_eq!(last.flag, 0, "{}: every label has a row", rig.name);
        for bad in [5, -1, i64::MAX, i64::MIN, 1 << 32] {
            let outcome = run([0, bad, 4]);
            assert_eq!((outcome.flag, &outcome.output), (1, &last.output), "{}: label {bad}", rig.name);
        }
    }
}

#[test]
fn eight_runs_give_the_same_bits() {
    let samples = samples(&[[5, 6, 35]], Epilogue::default(), 0.0, &[Dtype::F32]);
    for rig in rigs() {
        for sample in &samples {
            let backward = GradientSample::new(sample);
            let wanted = wgpu_norm::Wanted::all(&sample.plan);
            let run = || {
                let forward = rig.run(&sample.call(Options::default(), 0)).expect("runs");
                let gradients = rig.run_backward(&backward.call(Options::default(), wanted, 0)).expect("runs");
                (forward.output, gradients)
            };
            let first = run();
            assert!((1..8).all(|_| run() == first), "{}: {}", rig.name, sample.name);
        }
    }
}

/// Switchable normalization takes its three statistics from one pass over the input.
#[test]
fn a_mixture_reads_the_input_twice() {
    for shape in [[8, 64, 3136], [4, 16, 6], [2, 3, 100_000]] {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let operands = Operands::new(Spec::new(shape, Dtype::F32)).extra(shares(Dtype::F32));
            let plan = SwitchableNorm::new().layout(layout).lower(&operands).expect("fits");
            for rig in rigs().iter().chain(&rigs().iter().map(Rig::as_discrete).collect::<Vec<_>>()) {
                let prepared = rig.gpu.prepare(&plan, &Options::default()).expect("fits");
                assert_eq!(prepared.bytes_moved(), 3 * plan.tensor_bytes(), "{} {shape:?} {layout:?}", rig.name);
            }
        }
    }
}
