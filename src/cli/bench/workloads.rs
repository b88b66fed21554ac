//! What is measured: the one table of workloads.

use wgpu_norm::norm::{
    BatchNorm, GroupNorm, InstanceNorm, LayerNorm, Norm, Operands, PositionalNorm, RmsNorm, SwitchableNorm,
};
use wgpu_norm::plan::{Extra, Plan};
use wgpu_norm::{Data, Dtype, Layout, RunningStatistics, Spec};

/// A normalization of one shape.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) shape: &'static [usize],
    /// The shape of weight and bias; none where it is empty.
    parameters: &'static [usize],
    /// Whether there are running estimates, as many as parameters.
    tracks: bool,
    mixes: bool,
    norm: fn() -> Box<dyn Norm>,
}

/// Every workload, large ones first, then those whose latency counts.
pub(crate) static WORKLOADS: [Workload; 16] = [
    rows("ln_bert", &[4096, 768], &[768], || Box::new(LayerNorm::new([768]))),
    rows("ln_llm", &[2048, 4096], &[4096], || Box::new(LayerNorm::new([4096]))),
    rows("ln_wide", &[64, 65536], &[65536], || Box::new(LayerNorm::new([65536]))),
    rows("ln_long", &[4, 1_048_576], &[1_048_576], || Box::new(LayerNorm::new([1_048_576]))),
    rows("rms_llm", &[2048, 4096], &[4096], || Box::new(RmsNorm::new([4096]))),
    rows("gn_sd", &[2, 320, 64, 64], &[320], || Box::new(GroupNorm::new(32))),
    rows("in_style", &[4, 64, 128, 128], &[64], || Box::new(InstanceNorm::new())),
    tracked("bn_resnet_train", &[16, 64, 56, 56], &[64], || Box::new(BatchNorm::new())),
    tracked("bn_resnet_eval", &[16, 64, 56, 56], &[64], || Box::new(BatchNorm::new().training(false))),
    tracked("bn_fc", &[4096, 1024], &[1024], || Box::new(BatchNorm::new())),
    tracked("bn_nhwc", &[16, 56, 56, 64], &[64], || Box::new(BatchNorm::new().layout(Layout::ChannelsLast))),
    rows("pono", &[8, 256, 32, 32], &[], || Box::new(PositionalNorm::new())),
    rows("ln_channels", &[8, 256, 32, 32], &[256], || Box::new(LayerNorm::over_axes([1]))),
    Workload { mixes: true, ..tracked("sn", &[8, 64, 56, 56], &[64], || Box::new(SwitchableNorm::new())) },
    rows("ln_token", &[1, 4096], &[4096], || Box::new(LayerNorm::new([4096]))),
    rows("ln_tiny", &[1, 64], &[64], || Box::new(LayerNorm::new([64]))),
];

/// Weight and bias of this shape, no running estimates.
pub(crate) const fn rows(
    name: &'static str,
    shape: &'static [usize],
    parameters: &'static [usize],
    norm: fn() -> Box<dyn Norm>,
) -> Workload {
    Workload { name, shape, parameters, tracks: false, mixes: false, norm }
}

const fn tracked(
    name: &'static str,
    shape: &'static [usize],
    parameters: &'static [usize],
    norm: fn() -> Box<dyn Norm>,
) -> Workload {
    Workload { tracks: true, ..rows(name, shape, parameters, norm) }
}

/// A workload with its tensors.
pub(crate) struct Problem {
    pub(crate) plan: Plan,
    pub(crate) input: Data,
    pub(crate) grad_output: Data,
    pub(crate) weight: Option<Data>,
    pub(crate) bias: Option<Data>,
    pub(crate) extra: Extra<Option<Data>>,
    pub(crate) running: Option<RunningStatistics>,
}

impl Workload {
    /// The tensors, parameters and mixing vectors, stored in this type; running estimates in f32.
    pub(crate) fn problem(&self, dtype: Dtype) -> wgpu_norm::Result<Problem> {
        let mut operands = Operands::new(Spec::new(self.shape, dtype));
        if !self.parameters.is_empty() {
            let spec = || Spec::new(self.parameters, dtype);
            operands = operands.weight(spec()).bias(spec());
        }
        let channels = self.parameters.iter().product();
        if self.tracks {
            // Switchable normalization counts no batches.
            operands = operands.running(channels, !self.mixes);
        }
        if self.mixes {
            let spec = || Some(Spec::new([3], dtype));
            operands = operands.extra(Extra { mean_weight: spec(), var_weight: spec(), ..Extra::default() });
        }
        let plan = (self.norm)().lower(&operands)?;
        let elements = self.shape.iter().product();
        let len = plan.parameter_len();
        let parameter = |seed, is_there: bool| is_there.then(|| Data::from_f64(dtype, &noise(seed, len, 1.0)));
        let shares = |seed| self.mixes.then(|| Data::from_f64(dtype, &noise(seed, 3, 0.0)));
        let mut running = RunningStatistics::new(channels);
        running.num_batches_tracked = running.num_batches_tracked.filter(|_| !self.mixes);
        Ok(Problem {
            input: Data::from_f64(dtype, &noise(1, elements, 0.5)),
            grad_output: Data::from_f64(dtype, &noise(2, elements, 0.0)),
            weight: parameter(3, !self.parameters.is_empty()),
            bias: parameter(4, !self.parameters.is_empty()),
            extra: Extra { mean_weight: shares(5), var_weight: shares(6), ..Extra::default() },
            running: self.tracks.then_some(running),
            plan,
        })
    }
}

/// The mean's and the variance's.
pub(crate) fn running_estimates(running: &RunningStatistics) -> [Data; 2] {
    [&running.mean, &running.var].map(|values| Data::F32(values.clone()))
}

/// Numbers without a pattern, of this mean and a deviation near 1.
fn noise(seed: u64, len: usize, mean: f64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(state >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    };
    (0..len).map(|_| mean + 3.4 * (next() - 0.5)).collect()
}
