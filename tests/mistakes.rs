//! Mistakes made on purpose: what each one gets is what `docs/embedding.md` says that it gets, to the letter.

use wgpu::BufferUsages;
use wgpu_norm::gpu::{Buffers, Gpu, Options, Strategy};
use wgpu_norm::norm::{BatchNorm, ConditionalBatchNorm, GroupNorm, LayerNorm, Norm, Operands};
use wgpu_norm::plan::Plan;
use wgpu_norm::{Choice, Dtype, Engine, Error, Parameters, Spec, Tensor, Wanted};

/// The guide's heading of a mistake, and the message.
type Mistake = (&'static str, Error);

const ROWS: usize = 128;
const FEATURES: usize = 384;
/// Bytes of the tensor.
const BYTES: u64 = (ROWS * FEATURES * 4) as u64;

fn spec(shape: &[usize], dtype: Dtype) -> Spec {
    Spec::new(shape, dtype)
}

fn tokens() -> Operands {
    Operands::new(spec(&[ROWS, FEATURES], Dtype::F32))
}

fn refused<T>(result: Result<T, Error>) -> Error {
    result.err().expect("a mistake is refused")
}

/// Mistakes that need no device.
fn mistakes_of_plans() -> Vec<Mistake> {
    let norm = LayerNorm::new([FEATURES]);
    let weight = |shape: &[usize]| tokens().weight(spec(shape, Dtype::F32));
    let other_type = weight(&[FEATURES]).bias(spec(&[FEATURES], Dtype::F16));
    let image = Operands::new(spec(&[1, 64, 8, 8], Dtype::F32));
    vec![
        ("A normalized shape that is not the input's", refused(LayerNorm::new([512]).lower(&tokens()))),
        ("A weight of another length", refused(norm.lower(&weight(&[512])))),
        ("Weight and bias of two types", refused(norm.lower(&other_type))),
        ("An eps that is no number", refused(norm.clone().eps(f64::NAN).lower(&tokens()))),
        ("Groups that do not divide the channels", refused(GroupNorm::new(12).lower(&image))),
        (
            "Batch statistics of a single value",
            refused(BatchNorm::new().lower(&Operands::new(spec(&[1, 64], Dtype::F32)))),
        ),
        ("A label without a row", label_without_a_row()),
    ]
}

fn label_without_a_row() -> Error {
    let tensor =
        |shape: [usize; 2]| Tensor::from_f32(shape, vec![1.0; shape[0] * shape[1]]).expect("as long as its shape");
    let (input, table) = (tensor([4, 3]), tensor([10, 3]));
    let mut parameters =
        Parameters { weight: Some(&table), bias: Some(&table), labels: Some(&[0, 9, 10, 1]), ..Parameters::default() };
    let engine = pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is always there");
    refused(engine.forward(&ConditionalBatchNorm::new(BatchNorm::new()), &input, &mut parameters))
}

/// A device, and another one of the same adapter.
struct Devices {
    own: wgpu::Device,
    other: wgpu::Device,
}

impl Devices {
    fn of(adapter: &wgpu::Adapter) -> Self {
        let device = || {
            let descriptor = wgpu::DeviceDescriptor { label: Some("application"), ..Default::default() };
            let limits = wgpu_norm::gpu::recommended_limits(adapter, wgpu::Limits::downlevel_defaults());
            let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..descriptor };
            pollster::block_on(adapter.request_device(&descriptor)).expect("the adapter gives a device").0
        };
        Self { own: device(), other: device() }
    }

    fn mistakes(&self) -> Vec<Mistake> {
        let plan = LayerNorm::new([FEATURES]).lower(&tokens()).expect("fits");
        [self.mistakes_of_buffers(&plan), self.mistakes_of_backward(&plan)].concat()
    }

    fn mistakes_of_buffers(&self, plan: &Plan) -> Vec<Mistake> {
        let gpu = Gpu::new(&self.own);
        let prepare = |options: &Options| gpu.prepare(plan, options).expect("prepares");
        let (apart, in_place) = (prepare(&Options::default()), prepare(&Options::default().in_place(true)));
        let storage = BufferUsages::STORAGE;
        let (x, y) = (buffer(&self.own, 2 * BYTES, storage), buffer(&self.own, BYTES, storage));
        let short = buffer(&self.own, BYTES - 256, storage);
        let uniform = buffer(&self.own, BYTES, BufferUsages::UNIFORM | BufferUsages::COPY_DST);
        let foreign = buffer(&self.other, BYTES, storage);
        let input = x.slice(..BYTES);
        let bind = |input, output| refused(apart.bind(&Buffers::new(input, output)));
        vec![
            ("A buffer that is too small", bind(input, short.slice(..))),
            ("A buffer without `STORAGE`", bind(uniform.slice(..), y.slice(..))),
            ("An offset in between", bind(x.slice(8..), y.slice(..))),
            ("Input and output in one buffer", bind(input, input)),
            ("Two buffers for a plan that runs in place", refused(in_place.bind(&Buffers::new(input, y.slice(..))))),
            ("A buffer of another device", bind(input, foreign.slice(..))),
            (
                "A weight that was not announced",
                refused(apart.bind(&Buffers::new(input, y.slice(..)).weight(x.slice(..)))),
            ),
            (
                "A strategy that cannot serve",
                refused(gpu.prepare(plan, &Options::default().strategy(Strategy::Affine))),
            ),
        ]
    }

    fn mistakes_of_backward(&self, plan: &Plan) -> Vec<Mistake> {
        let gpu = Gpu::new(&self.own);
        let tensors = [(); 3].map(|()| buffer(&self.own, BYTES, BufferUsages::STORAGE));
        let [x, y, kept] = tensors.each_ref().map(|buffer| buffer.slice(..));
        let forward = gpu.prepare(plan, &Options::default()).expect("prepares");
        let backward = gpu.prepare_backward(plan, Wanted::all(plan), &Options::default()).expect("prepares");
        let bias = Wanted { bias: true, ..Wanted::all(plan) };
        vec![
            ("Statistics that nobody keeps", refused(forward.bind(&Buffers::new(x, y).statistics(kept)))),
            ("Forward's buffers for a backward pass", refused(backward.bind(&Buffers::new(x, y)))),
            ("A gradient that there is not", refused(gpu.prepare_backward(plan, bias, &Options::default()))),
        ]
    }
}

fn buffer(device: &wgpu::Device, size: u64, usage: BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor { label: Some("example"), size, usage, mapped_at_creation: false })
}

/// The guide's headings of mistakes, each with the first block of text after it.
fn guide() -> Vec<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/embedding.md");
    let text = std::fs::read_to_string(path).expect("the guide is there").replace("\r\n", "\n");
    let (_, mistakes) = text.split_once("\n## Mistakes").expect("the guide has a chapter of mistakes");
    mistakes.split("\n### ").skip(1).map(heading_and_message).collect()
}

fn heading_and_message(section: &str) -> (String, String) {
    let (heading, rest) = section.split_once('\n').expect("a heading is a line");
    let (_, block) = rest.split_once("```text\n").unwrap_or_else(|| panic!("{heading}: no block of text"));
    let (message, _) = block.split_once("\n```").unwrap_or_else(|| panic!("{heading}: the block does not end"));
    (heading.to_owned(), message.to_owned())
}

/// Every mistake whose section says something else, or is not there.
fn faults(mistakes: &[Mistake], guide: &[(String, String)]) -> Vec<String> {
    let says = |heading: &str| guide.iter().find(|(own, _)| own == heading).map(|(_, message)| message.as_str());
    let fault = |(heading, error): &Mistake| {
        let (got, said) = (error.to_string(), says(heading));
        (said != Some(&got)).then(|| format!("### {heading}\n\n```text\n{got}\n```\n\nbut the guide says {said:?}\n"))
    };
    mistakes.iter().filter_map(fault).collect()
}

#[test]
fn the_guide_has_the_message_of_every_mistake() {
    let guide = guide();
    let of_plans = mistakes_of_plans();
    let mut faults_found = faults(&of_plans, &guide);
    if std::env::var("WGPU_NORM_TEST_GPU").is_ok_and(|value| value == "off") {
        println!("mistakes with buffers are left out by WGPU_NORM_TEST_GPU=off");
        assert!(faults_found.is_empty(), "{}", faults_found.join("\n"));
        return;
    }
    let choices = pollster::block_on(Choice::all());
    let adapters = choices.iter().filter_map(|choice| match choice {
        Choice::Adapter { adapter, .. } => Some(adapter),
        _ => None,
    });
    let on_adapters: Vec<Vec<Mistake>> = adapters.map(|adapter| Devices::of(adapter).mistakes()).collect();
    assert!(!on_adapters.is_empty(), "no adapter: install one, or set WGPU_NORM_TEST_GPU=off");
    faults_found.extend(on_adapters.iter().flat_map(|mistakes| faults(mistakes, &guide)));
    assert!(faults_found.is_empty(), "{}", faults_found.join("\n"));
    assert_eq!(guide.len(), of_plans.len() + on_adapters[0].len(), "every section's mistake is made here");
}
