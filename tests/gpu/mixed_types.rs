//! Parameters that are stored differently, as in mixed precision: from host tensors each engine takes them, in buffers
//! all have one type.

use crate::rig::rigs;
use crate::sample::{distance, noise};
use wgpu_norm::gpu::Options;
use wgpu_norm::norm::{BatchNorm, FilterResponseNorm, Norm, SandwichBatchNorm, SwitchableNorm};
use wgpu_norm::plan::Extra;
use wgpu_norm::{Choice, Data, Dtype, Engine, Gradients, Parameters, Tensor};

fn tensor(seed: u64, shape: &[usize], dtype: Dtype) -> Tensor {
    Tensor::new(shape, Data::from_f64(dtype, &noise(seed, shape.iter().product()))).expect("as long as its shape")
}

/// A norm with parameters of several types.
struct Case {
    norm: Box<dyn Norm>,
    weight: Tensor,
    bias: Tensor,
    extra: Extra<Option<Tensor>>,
    labels: Option<Vec<i64>>,
}

impl Case {
    fn parameters(&self) -> Parameters<'_> {
        Parameters {
            weight: Some(&self.weight),
            bias: Some(&self.bias),
            extra: self.extra.as_ref().map(Option::as_ref),
            labels: self.labels.as_deref(),
            ..Parameters::default()
        }
    }

    /// Output and gradients, all in f64, and the types that the gradients of parameters have.
    fn run(&self, engine: &Engine) -> (Vec<Vec<f64>>, Vec<Dtype>) {
        let [x, dy] = [1, 2].map(|seed| tensor(seed, &[4, 6, 35], Dtype::F16));
        let mut parameters = self.parameters();
        let forward = engine.forward_saving(&*self.norm, &x, &mut parameters).expect("it is taken");
        let gradients = engine.backward(&*self.norm, &x, &dy, &forward.statistics, &parameters, None);
        let Gradients { input, weight, bias, extra } = gradients.expect("it is taken");
        let of_parameters: Vec<Tensor> = [weight, bias].into_iter().chain(extra.into_array()).flatten().collect();
        let types = of_parameters.iter().map(|gradient| gradient.data().dtype()).collect();
        let all = [Some(forward.output), input].into_iter().flatten().chain(of_parameters);
        (all.map(|tensor| tensor.data().to_f64()).collect(), types)
    }
}

fn cases() -> Vec<Case> {
    let parameter = |seed, dtype| tensor(seed, &[6], dtype);
    let some = |seed, shape: &[usize], dtype| Some(tensor(seed, shape, dtype));
    let (f16, bf16, f32) = (Dtype::F16, Dtype::Bf16, Dtype::F32);
    let none = Extra::default;
    let with = |norm: Box<dyn Norm>, extra, labels| {
        let (weight, bias) = (parameter(3, f16), parameter(4, f16));
        Case { norm, weight, bias, extra, labels }
    };
    vec![
        with(
            Box::new(FilterResponseNorm::new()),
            Extra { tau: some(5, &[6], f16), eps_l: some(6, &[1], f32), ..none() },
            None,
        ),
        with(
            Box::new(SwitchableNorm::new()),
            Extra { mean_weight: some(5, &[3], f32), var_weight: some(6, &[3], bf16), ..none() },
            None,
        ),
        with(
            Box::new(SandwichBatchNorm::new(BatchNorm::new())),
            Extra { class_weight: some(5, &[3, 6], f32), class_bias: some(6, &[3, 6], f32), ..none() },
            Some(vec![0, 2, 1, 0]),
        ),
    ]
}

#[test]
fn parameters_of_several_types_come_from_host_tensors() {
    let open = |choice: &Choice| pollster::block_on(Engine::open(choice)).expect("it opens").without_fallback();
    let reference = open(&Choice::Reference);
    let mut choices = pollster::block_on(Choice::all());
    choices.retain(|choice| !(crate::rig::turned_off() && matches!(choice, Choice::Adapter { .. })));
    for case in cases() {
        let (want, types) = case.run(&reference);
        let own: Vec<Dtype> = [&case.weight, &case.bias]
            .into_iter()
            .chain(case.extra.as_ref().into_array().into_iter().flatten())
            .map(|parameter| parameter.data().dtype())
            .collect();
        assert_eq!(types, own, "each gradient has its parameter's type");
        for engine in choices.iter().map(open) {
            let (got, types) = case.run(&engine);
            assert_eq!(types, own, "{}: each gradient has its parameter's type", engine.name());
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let largest = want.iter().fold(0f64, |most, x| most.max(x.abs()));
                // Two roundings to the storage type, of values that f32 arithmetic gives.
                let worst = got.iter().zip(want).fold(0f64, |worst, (got, want)| worst.max(distance(*got, *want)));
                let allowed = if matches!(types.get(i.wrapping_sub(2)), Some(Dtype::Bf16)) { 8e-3 } else { 1e-3 };
                assert!(worst <= allowed * largest, "{}: tensor {i} is off by {worst} of {largest}", engine.name());
            }
        }
    }
}

#[test]
fn parameters_in_buffers_have_one_type() {
    for case in cases() {
        let x = tensor(1, &[4, 6, 35], Dtype::F16);
        let plan = case.norm.lower(&case.parameters().operands(&x)).expect("it fits");
        for rig in rigs() {
            let text = rig.gpu.prepare(&plan, &Options::default()).expect_err("they differ").to_string();
            assert!(text.contains("f16, the type of weight"), "{}: {text}", rig.name);
        }
    }
}
