//! The layers that PyTorch has not, each with the norm that it applies.

use crate::rig::{ramp, reference, tensor, values};
use wgpu_norm::layer::{
    BatchGroupNorm, ConditionalBatchNorm, Description, FilterResponseNorm, Input, Layer, PositionalNorm,
    SandwichBatchNorm, SwitchableNorm,
};
use wgpu_norm::norm::{self, Norm};
use wgpu_norm::plan::{Extra, RunningStatistics};
use wgpu_norm::{Engine, Error, Parameters, Tensor};

pub(crate) const LABELS: [i64; 4] = [2, 0, 2, 1];

/// A layer, the norm that it applies, in training or in evaluation, and what it remembers.
pub(crate) struct Member {
    make: Box<dyn Fn(&Engine) -> Layer>,
    pub(crate) norm: fn(bool) -> Box<dyn Norm>,
    pub(crate) names: Vec<&'static str>,
}

impl Member {
    pub(crate) fn on(&self, engine: &Engine) -> Layer {
        (self.make)(engine)
    }

    pub(crate) fn on_reference(&self) -> Layer {
        self.on(&reference())
    }

    pub(crate) fn labels(&self) -> Option<&'static [i64]> {
        ["ConditionalBatchNorm", "SandwichBatchNorm"].contains(&self.on_reference().class()).then_some(&LABELS)
    }

    pub(crate) fn input<'a>(&self, x: &'a Tensor) -> Input<'a> {
        self.labels().map_or(Input::new(x), |labels| Input::new(x).labels(labels))
    }
}

fn batch(training: bool) -> norm::BatchNorm {
    norm::BatchNorm::new().training(training)
}

/// The family over three channels and three classes.
pub(crate) fn family() -> Vec<Member> {
    fn member(
        description: impl TryInto<Description, Error = Error> + Clone + 'static,
        norm: fn(bool) -> Box<dyn Norm>,
        names: &[&'static str],
    ) -> Member {
        let make = move |engine: &Engine| Layer::new(engine, description.clone()).expect("its options make sense");
        Member { make: Box::new(make), norm, names: names.to_vec() }
    }
    let tracked = ["running_mean", "running_var", "num_batches_tracked"];
    let both = ["weight", "bias"];
    let shares = ["mean_weight", "var_weight"];
    let conditional = |training| Box::new(norm::ConditionalBatchNorm::new(batch(training))) as Box<dyn Norm>;
    let sandwich = |training| Box::new(norm::SandwichBatchNorm::new(batch(training))) as Box<dyn Norm>;
    let switchable = |training| Box::new(norm::SwitchableNorm::new().training(training)) as Box<dyn Norm>;
    let filter_response = |_| Box::new(norm::FilterResponseNorm::new()) as Box<dyn Norm>;
    vec![
        member(
            BatchGroupNorm::new(2, 3),
            |training| Box::new(norm::BatchGroupNorm::new(2).batch(batch(training))),
            &[&both[..], &tracked].concat(),
        ),
        member(ConditionalBatchNorm::new(3, 3), conditional, &[&both[..], &tracked].concat()),
        member(ConditionalBatchNorm::new(3, 3).weight(false).track_running_stats(false), conditional, &["bias"]),
        member(
            SandwichBatchNorm::new(3, 3),
            sandwich,
            &[&both[..], &["class_weight", "class_bias"], &tracked].concat(),
        ),
        member(
            SandwichBatchNorm::new(3, 3).affine(false).class_bias(false).track_running_stats(false),
            sandwich,
            &["class_weight"],
        ),
        member(SwitchableNorm::new(3), switchable, &[&both[..], &shares, &tracked[..2]].concat()),
        member(SwitchableNorm::new(3).affine(false).track_running_stats(false), switchable, &shares),
        member(
            FilterResponseNorm::new(3).learnable_eps(1e-4),
            filter_response,
            &[&both[..], &["tau", "eps_l"]].concat(),
        ),
        member(FilterResponseNorm::new(3).threshold(false).bias(false), filter_response, &["weight"]),
        member(PositionalNorm::new(), |_| Box::new(norm::PositionalNorm::new()), &[]),
    ]
}

pub(crate) fn x() -> Tensor {
    ramp(&[4, 3, 2, 2])
}

pub(crate) fn upstream() -> Tensor {
    tensor(&[4, 3, 2, 2], &values(&x()).iter().map(|x| x * x - 0.5 * x).collect::<Vec<_>>())
}

/// Gives every tensor values of its own, none of them what it begins with.
pub(crate) fn moved(mut layer: Layer) -> Layer {
    for (i, name) in layer.names().enumerate() {
        let Ok(initial) = layer.get(name) else { continue };
        let step = |(k, v): (usize, f32)| v + 0.125 * (k % 5) as f32 + 0.25 * (i + 1) as f32;
        let new = values(&initial).into_iter().enumerate().map(step).collect::<Vec<_>>();
        layer.set(name, tensor(initial.shape(), &new)).expect("it fits");
    }
    layer
}

/// What a layer remembers, for the engine.
pub(crate) struct Own {
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    extra: Extra<Option<Tensor>>,
    pub(crate) running: Option<RunningStatistics>,
}

impl Own {
    pub(crate) fn of(layer: &Layer) -> Self {
        let get = |name| layer.get(name).ok();
        let running = get("running_mean").zip(get("running_var")).map(|(mean, var)| RunningStatistics {
            mean: values(&mean),
            var: values(&var),
            num_batches_tracked: layer.num_batches_tracked().expect("state"),
        });
        Self { weight: get("weight"), bias: get("bias"), extra: Extra::from(Extra::<()>::NAMES.map(get)), running }
    }

    pub(crate) fn parameters<'a>(&'a mut self, labels: Option<&'a [i64]>) -> Parameters<'a> {
        Parameters {
            weight: self.weight.as_ref(),
            bias: self.bias.as_ref(),
            running: self.running.as_mut(),
            extra: self.extra.as_ref().map(Option::as_ref),
            labels,
            ..Parameters::default()
        }
    }
}
