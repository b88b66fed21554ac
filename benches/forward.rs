//! Forward passes of host tensors, upload and readback included, on everything that this machine has; and
//! what one recording costs the host.
//!
//! ```sh
//! cargo bench --bench forward
//! ```

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use wgpu_norm::gpu::{Buffers, Gpu, Options};
use wgpu_norm::norm::{BatchNorm, GroupNorm, LayerNorm, Norm, Operands, RmsNorm};
use wgpu_norm::{Choice, Dtype, Engine, Parameters, Spec, Tensor, wgpu};

fn workloads() -> Vec<(&'static str, Box<dyn Norm>, Vec<usize>)> {
    vec![
        ("ln_bert", Box::new(LayerNorm::new([768])), vec![4096, 768]),
        ("ln_long", Box::new(LayerNorm::new([1 << 20])), vec![4, 1 << 20]),
        ("rms_llm", Box::new(RmsNorm::new([4096])), vec![2048, 4096]),
        ("gn_sd", Box::new(GroupNorm::new(32)), vec![2, 320, 64, 64]),
        ("bn_resnet_train", Box::new(BatchNorm::new()), vec![16, 64, 56, 56]),
        ("bn_fc", Box::new(BatchNorm::new()), vec![4096, 1024]),
    ]
}

fn forward(criterion: &mut Criterion) {
    let choices = pollster::block_on(Choice::all());
    for choice in choices.iter().filter(|choice| !matches!(choice, Choice::Reference)) {
        let Ok(engine) = pollster::block_on(Engine::open(choice)) else { continue };
        let mut group = criterion.benchmark_group(format!("forward/{}", engine.name()));
        group.sample_size(10);
        for (name, norm, shape) in workloads() {
            let len: usize = shape.iter().product();
            let values = (0..len).map(|i| (i * 7919 % 1009) as f32 / 100.0).collect();
            let input = Tensor::from_f32(shape, values).expect("the shape holds the values");
            group.throughput(Throughput::Bytes(2 * 4 * len as u64));
            group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
                bencher.iter(|| engine.forward(&*norm, black_box(&input), &mut Parameters::default()));
            });
        }
        group.finish();
    }
}

fn record(criterion: &mut Criterion) {
    let choices = pollster::block_on(Choice::all());
    let Some(adapter) = choices.iter().find_map(|c| if let Choice::Adapter(a) = c { Some(a) } else { None }) else {
        return;
    };
    let Ok((device, _)) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())) else {
        return;
    };
    let plan = LayerNorm::new([384]).lower(&Operands::new(Spec::new([128, 384], Dtype::F32))).expect("fits");
    let prepared = Gpu::new(&device).prepare(&plan, &Options::default()).expect("prepares");
    let buffer = || {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: plan.tensor_bytes(),
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        })
    };
    let (input, output) = (buffer(), buffer());
    let bound = prepared.bind(&Buffers::new(input.slice(..), output.slice(..))).expect("binds");
    criterion.bench_function("record", |bencher| {
        bencher.iter_batched_ref(
            || device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()),
            |encoder| {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                for _ in 0..100 {
                    bound.record(&mut pass);
                }
            },
            criterion::BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, forward, record);
criterion_main!(benches);
