//! Random norms, shapes, types, layouts, offsets and options.

use crate::sample::Sample;
use proptest::prelude::*;
use wgpu_norm::gpu::Options;
use wgpu_norm::norm::{BatchNorm, Fused, GroupNorm, InstanceNorm, LayerNorm, Norm, Operands, RmsNorm};
use wgpu_norm::plan::{Activation, Epilogue, Momentum};
use wgpu_norm::{Dtype, Layout, Spec};

/// A norm on a tensor, and how it is to be executed.
#[derive(Debug)]
pub(crate) struct Case {
    drawn: Drawn,
    dtype: Dtype,
    wide_parameters: bool,
    /// Whether there are a weight, a bias, a residual, and parameters for each sample.
    given: [bool; 4],
    epilogue: Epilogue,
    /// The input's mean and deviation.
    moments: (f64, f64),
    pub(crate) options: Options,
    pub(crate) offset: u64,
}

/// Cases of at most so many elements.
pub(crate) fn case(most: usize) -> impl Strategy<Value = Case> {
    let moments = prop::sample::select(vec![(0.0, 1.0), (100.0, 1.0), (-3.0, 20.0), (0.0, 0.05)]);
    let drawn = prop_oneof![row_norm(most), channel_norm(most)];
    let dtype = prop::sample::select(Dtype::ALL.to_vec());
    let given = any::<[bool; 4]>();
    (drawn, dtype, any::<bool>(), given, epilogue(), moments, options()).prop_map(
        |(drawn, dtype, wide_parameters, given, epilogue, moments, (options, offset))| Case {
            drawn,
            dtype,
            wide_parameters,
            given,
            epilogue,
            moments,
            options,
            offset,
        },
    )
}

impl Case {
    /// With values.
    pub(crate) fn sample(&self) -> Sample {
        self.seeded(0)
    }

    /// With other values for each seed.
    pub(crate) fn seeded(&self, seed: u64) -> Sample {
        let Self { drawn, dtype, given: [weight, bias, residual, per_sample], .. } = self;
        let spec = |shape: &[usize], dtype| Spec::new(shape, dtype);
        let stored = if self.wide_parameters { Dtype::F32 } else { *dtype };
        let norm = Fused { norm: &*drawn.norm, epilogue: self.epilogue };
        let mut operands = Operands::new(spec(&drawn.shape, *dtype));
        operands.residual = residual.then(|| spec(&drawn.shape, *dtype));
        if drawn.running {
            operands = operands.running(drawn.parameters[0], true);
        }
        let with_parameters = |shape: &[usize]| Operands {
            weight: weight.then(|| spec(shape, stored)),
            bias: bias.then(|| spec(shape, stored)),
            ..operands.clone()
        };
        let rows = with_parameters(&[&drawn.shape[..1], &drawn.parameters].concat());
        // Not every norm has samples to give a row of parameters each.
        let operands = if *per_sample && norm.lower(&rows).is_ok() { rows } else { with_parameters(&drawn.parameters) };
        Sample::seeded(&norm, &operands, self.moments, seed)
    }

    /// Whether its gradients can be compared: a slope jumps at 0, so the least error of its argument may change it
    /// altogether.
    pub(crate) fn has_gradients(&self) -> bool {
        self.epilogue.activation != Some(Activation::Relu)
    }
}

/// Lengths where kernels go wrong: 0, 1, primes, powers of two and their neighbours.
pub(crate) fn axis() -> impl Strategy<Value = usize> {
    prop_oneof![
        1 => Just(0usize),
        3 => Just(1),
        6 => prop::sample::select(vec![2, 3, 5, 7, 13, 31]),
        6 => prop::sample::select(vec![4, 8, 15, 16, 17, 32, 33, 63, 64, 65]),
    ]
}

/// Shapes of this rank with at most so many elements.
fn shape(rank: std::ops::RangeInclusive<usize>, most: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(axis(), rank).prop_map(move |mut shape| {
        while shape.iter().product::<usize>() > most {
            let longest = shape.iter().enumerate().max_by_key(|(_, n)| **n).map_or(0, |(i, _)| i);
            shape[longest] /= 2;
        }
        shape
    })
}

/// A norm and the shape of its parameters.
#[derive(Debug)]
struct Drawn {
    norm: Box<dyn DebugNorm>,
    shape: Vec<usize>,
    parameters: Vec<usize>,
    running: bool,
}

trait DebugNorm: Norm + std::fmt::Debug {}
impl<T: Norm + std::fmt::Debug> DebugNorm for T {}

fn row_norm(most: usize) -> impl Strategy<Value = Drawn> {
    let last = (shape(1..=4, most), any::<prop::sample::Index>(), any::<bool>()).prop_map(|(shape, from, rms)| {
        let parameters = shape[from.index(shape.len())..].to_vec();
        let norm: Box<dyn DebugNorm> = if rms {
            Box::new(RmsNorm::new(parameters.clone()).eps(1e-5))
        } else {
            Box::new(LayerNorm::new(parameters.clone()))
        };
        Drawn { norm, shape, parameters, running: false }
    });
    let any_axis = (shape(3..=4, most), 0..3usize).prop_map(|(shape, axis)| {
        let parameters = vec![shape[axis]];
        Drawn { norm: Box::new(LayerNorm::over_axes([axis as isize])), shape, parameters, running: false }
    });
    prop_oneof![2 => last, 1 => any_axis]
}

fn channel_norm(most: usize) -> impl Strategy<Value = Drawn> {
    let layout = prop::sample::select(vec![Layout::ChannelsFirst, Layout::ChannelsLast]);
    (shape(3..=5, most), layout, 0..4u8, any::<bool>(), any::<bool>()).prop_map(
        |(mut shape, layout, which, flag, running)| {
            let channel_axis = if layout == Layout::ChannelsFirst { 1 } else { shape.len() - 1 };
            let channels = shape[channel_axis];
            let norm: Box<dyn DebugNorm> = match which {
                0 => {
                    let groups = (1..=channels.max(1)).filter(|g| channels % g == 0);
                    Box::new(GroupNorm::new(groups.take(3).last().unwrap_or(1)).layout(layout))
                }
                1 => Box::new(InstanceNorm::new().use_input_stats(flag || !running).layout(layout)),
                _ => {
                    let momentum = if which == 2 { Momentum::Fixed(0.3) } else { Momentum::Cumulative };
                    Box::new(BatchNorm::new().training(flag).momentum(momentum).layout(layout))
                }
            };
            // Training refuses one value a channel; another sample or position makes it two.
            let spatial = if layout == Layout::ChannelsFirst { 2 } else { 1 };
            if shape[spatial] == 1 {
                shape[spatial] = 2;
            }
            Drawn { norm, shape, parameters: vec![channels], running: running && which > 0 }
        },
    )
}

pub(crate) fn options() -> impl Strategy<Value = (Options, u64)> {
    (any::<bool>(), any::<bool>(), any::<bool>(), prop::sample::select(vec![0u64, 4, 12, 16, 256])).prop_map(
        |(in_place, subgroups, native_f16, offset)| {
            let alignment = if offset % 16 == 0 { 16 } else { 4 };
            let options = Options::default().in_place(in_place).subgroups(subgroups).native_f16(native_f16);
            (options.offset_alignment(alignment), offset)
        },
    )
}

pub(crate) fn epilogue() -> impl Strategy<Value = Epilogue> {
    let activation = prop_oneof![2 => Just(None), 1 => prop::sample::select(Activation::ALL.to_vec()).prop_map(Some)];
    (activation, any::<bool>(), any::<bool>()).prop_map(|(activation, zero_centred_weight, rounds_normalized)| {
        Epilogue { activation, zero_centred_weight, rounds_normalized }
    })
}
