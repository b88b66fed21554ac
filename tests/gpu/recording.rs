//! What an application that embeds the engine relies on when it records.

use crate::family::shares;
use crate::rig::{Rig, rigs};
use crate::sample::noise;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use wgpu_norm::gpu::{Bound, Buffers, Gpu, Options, Prepared, Strategy};
use wgpu_norm::norm::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm, Norm, Operands, SwitchableNorm};
use wgpu_norm::plan::Momentum;
use wgpu_norm::{Data, Dtype, Engine, RunningStatistics, Spec, Wanted};

/// Counts this thread's allocations.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter any more, and nobody asks for it.
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

fn layer_norm(rows: usize, columns: usize) -> wgpu_norm::plan::Plan {
    LayerNorm::new([columns]).lower(&Operands::new(Spec::new([rows, columns], Dtype::F32))).expect("fits")
}

/// Allocations of a pass in which wgpu alone records as many dispatches, each with a pipeline of its own.
fn allocations_of_wgpu(rig: &Rig, dispatches: usize) -> usize {
    let shader = "@group(0) @binding(0) var<storage, read_write> x: array<u32>;
                  @compute @workgroup_size(1) fn main() { x[0] = 1u; }";
    let module = rig.device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(shader.into()),
    });
    let made: Vec<_> = (0..dispatches)
        .map(|_| {
            let pipeline = rig.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: None,
                module: &module,
                entry_point: None,
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            });
            let buffer = rig.guarded(0, &[0; 16]);
            let group = rig.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.get_bind_group_layout(0),
                entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
            });
            (pipeline, group)
        })
        .collect();
    let mut encoder = rig.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    allocations(|| {
        for (pipeline, group) in &made {
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
    })
}

/// What is prepared goes to other threads and is shared by them.
const _: fn() = || {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<(Gpu, Prepared, Bound, Engine)>();
};

#[test]
fn recording_allocates_nothing_beyond_what_wgpu_does() {
    for rig in rigs() {
        for (strategy, columns) in [(Strategy::Resident, 384), (Strategy::Split, 20_000)] {
            let plan = layer_norm(4, columns);
            let prepared = rig.gpu.prepare(&plan, &Options::default().strategy(strategy)).expect("prepares");
            let bytes = vec![0; 4 * columns * 4];
            let (input, output) = (rig.guarded(0, &bytes), rig.guarded(0, &bytes));
            let bound = prepared.bind(&Buffers::new(input.slice(..), output.slice(..))).expect("binds");
            let dispatches = prepared.workgroups().len();
            let mut encoder = rig.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            let ours = allocations(|| bound.record(&mut pass));
            let wgpus = allocations_of_wgpu(&rig, dispatches);
            assert!(allocations(|| drop(vec![1u8])) == 1, "the counter counts");
            assert_eq!(ours, wgpus, "{} {strategy}: allocations of {dispatches} dispatches", rig.name);
        }
    }
}

/// Two training steps in one submit, and what the reference makes of them.
#[test]
fn two_recordings_in_one_submit_are_two_steps() {
    let (n, c) = (64, 12);
    let input: Vec<f64> = noise(2, n * c);
    for momentum in [Momentum::Fixed(0.1), Momentum::Cumulative] {
        let operands = Operands::new(Spec::new([n, c], Dtype::F32)).running(c, true);
        let plan = BatchNorm::new().momentum(momentum).lower(&operands).expect("fits");
        let mut values = wgpu_norm::reference::Values {
            input: Data::from_f64(Dtype::F32, &input).to_f64(),
            running_mean: vec![0.0; c],
            running_var: vec![1.0; c],
            ..Default::default()
        };
        for _ in 0..2 {
            let _ = wgpu_norm::reference::execute(&plan, &mut values).expect("fits");
        }
        for rig in rigs() {
            let state = RunningStatistics::new(c);
            let tensor = rig.guarded(0, Data::from_f64(Dtype::F32, &input).bytes());
            let output = rig.guarded(0, &vec![0; n * c * 4]);
            let mean = rig.guarded(0, bytemuck::cast_slice(&state.mean));
            let var = rig.guarded(0, bytemuck::cast_slice(&state.var));
            let counter = rig.guarded(0, bytemuck::bytes_of(&0u64));
            let buffers = Buffers::new(tensor.slice(..), output.slice(..))
                .running(mean.slice(..), var.slice(..))
                .num_batches_tracked(counter.slice(..));
            let bound = rig.gpu.prepare(&plan, &Options::default()).expect("prepares").bind(&buffers).expect("binds");
            let mut encoder = rig.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                bound.record(&mut pass);
                bound.record(&mut pass);
            }
            rig.queue.submit([encoder.finish()]);
            assert_eq!(rig.read(&counter)[..8], 2u64.to_le_bytes(), "{} {momentum:?}", rig.name);
            for (name, buffer, want) in [("mean", &mean, &values.running_mean), ("var", &var, &values.running_var)] {
                let bytes = rig.read(buffer);
                let got: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes[..4 * c]);
                for (got, want) in got.iter().zip(want) {
                    let error = (f64::from(*got) - want).abs();
                    assert!(error < 1e-6, "{} {momentum:?}: running_{name} {got}, expected {want}", rig.name);
                }
            }
        }
    }
}

#[test]
fn what_was_prepared_can_be_asked() {
    for rig in rigs() {
        let plan = layer_norm(64, 192);
        let bytes = plan.tensor_bytes();
        let resident = rig.gpu.prepare(&plan, &Options::default().strategy(Strategy::Resident)).expect("prepares");
        assert_eq!(resident.strategy(), Strategy::Resident, "{}", rig.name);
        assert_eq!((resident.bytes_moved(), resident.scratch_size()), (2 * bytes, 0), "one read, one write");
        assert!(resident.labels()[0].starts_with("wgpu-norm.resident."), "{:?}", resident.labels());
        let split = rig.gpu.prepare(&plan, &Options::default().strategy(Strategy::Split)).expect("prepares");
        assert_eq!(split.bytes_moved(), 3 * bytes, "two reads, one write");
        assert!(split.scratch_size() > 0 && split.workgroups().len() == 3, "split, merge, apply");
    }
}

/// The kernel that merges moments moves estimates and counts, but where the share of a batch follows from the counter;
/// the one that applies estimates reads them itself, but where they are kept as statistics.
#[test]
fn running_estimates_take_few_dispatches_of_their_own() {
    let lowered = |norm: BatchNorm| {
        let operands = Operands::new(Spec::new([64, 8, 56, 56], Dtype::F32)).running(8, true);
        norm.lower(&operands).expect("fits")
    };
    for rig in rigs() {
        let kept = Options::default().save_statistics(true);
        let split = Options::default().strategy(Strategy::Split);
        let streaming = Options::default().strategy(Strategy::Streaming);
        for (norm, options, kernels) in [
            (BatchNorm::new(), split, &["split", "merge", "affine"][..]),
            (BatchNorm::new(), split.save_statistics(true), &["split", "merge", "affine"]),
            (BatchNorm::new().momentum(Momentum::Cumulative), split, &["counter", "split", "merge", "affine"]),
            (BatchNorm::new(), streaming, &["streaming", "running"]),
            (BatchNorm::new().training(false), Options::default(), &["affine"]),
            (BatchNorm::new().training(false), kept, &["given", "affine"]),
        ] {
            let prepared = rig.gpu.prepare(&lowered(norm), &options).expect("prepares");
            assert_eq!(kernels_of(prepared.labels()), kernels, "{}: {options:?}", rig.name);
        }
    }
}

fn kernels_of(labels: Vec<String>) -> Vec<String> {
    labels.iter().map(|label| label.split('.').nth(1).unwrap_or_default().to_owned()).collect()
}

/// A dispatch that waits costs a GPU as much as a megabyte or more.
#[test]
fn mixtures_take_one_dispatch_for_layers_and_batch_together() {
    let operands = Operands::new(Spec::new([64, 8, 56, 56], Dtype::F32)).running(8, false).extra(shares(Dtype::F32));
    let plan = SwitchableNorm::new().lower(&operands).expect("fits");
    let split = Options::default().strategy(Strategy::Split);
    for rig in rigs() {
        let forward = rig.gpu.prepare(&plan, &split).expect("prepares").labels();
        assert_eq!(kernels_of(forward), ["split", "merge", "average", "mix", "affine"], "{}", rig.name);
        let backward = rig.gpu.prepare_backward(&plan, Wanted::all(&plan), &split).expect("prepares").labels();
        let steps = ["sums", "collect", "unmix_sums", "unmix", "collect", "gradient"];
        assert_eq!(kernels_of(backward), steps, "{}", rig.name);
    }
}

/// Few partials are merged by each team that applies them, where shuffles join these; software adapters wait for nothing.
#[test]
fn few_partials_take_no_dispatch_that_merges_them() {
    let rows_of = |d: usize| LayerNorm::new([d]).lower(&Operands::new(Spec::new([3, d], Dtype::F32))).expect("fits");
    let kernels = |rig: &Rig, d: usize, options: Options| {
        let prepared = rig.gpu.prepare(&rows_of(d), &options.strategy(Strategy::Split)).expect("prepares");
        (kernels_of(prepared.labels()), prepared.scratch_size())
    };
    for rig in rigs() {
        let three = ["split", "merge", "affine"];
        let (emulated, discrete) = (rig.as_emulated(), rig.as_discrete());
        for subgroups in [true, false] {
            let options = Options::default().subgroups(subgroups);
            assert_eq!(kernels(&emulated, 30_000, options).0, three, "{}", emulated.name);
            assert_eq!(kernels(&discrete, 1 << 21, options).0, three, "{}", discrete.name);
            let few = kernels(&discrete, 30_000, options);
            if subgroups && discrete.gpu.capabilities().subgroups.is_some() {
                assert_eq!(few.0, ["split", "merge_affine"], "{}", discrete.name);
                assert_eq!(few.1, 3 * 4 * 16, "{}: four partials a row", discrete.name);
            } else {
                assert_eq!(few.0, three, "{}", discrete.name);
            }
        }
    }
}

/// All gradients of few rows come from one dispatch, which writes those of columns where nothing is left to collect.
#[test]
fn the_gradients_of_few_long_rows_take_one_dispatch() {
    let spec = |shape: &[usize], dtype| Spec::new(shape, dtype);
    let cases = [
        (4, Dtype::F32, &["sums", "collect", "column_sums"][..]),
        // A column of one row is one element.
        (1, Dtype::F32, &["sums", "collect", "column_sums"]),
        // Two of them share a word.
        (4, Dtype::Bf16, &["sums", "collect", "column_sums", "collect"]),
        (1, Dtype::Bf16, &["sums", "collect", "column_sums", "collect"]),
    ];
    for rig in rigs() {
        for (rows, dtype, kernels) in cases {
            let d = 300_000;
            let operands =
                Operands::new(spec(&[rows, d], Dtype::F32)).weight(spec(&[d], dtype)).bias(spec(&[d], dtype));
            let plan = LayerNorm::new([d]).lower(&operands).expect("fits");
            let split = Options::default().strategy(Strategy::Split);
            let prepared = rig.gpu.prepare_backward(&plan, Wanted::all(&plan), &split).expect("prepares");
            assert_eq!(kernels_of(prepared.labels()), kernels, "{}: {rows} rows {dtype}", rig.name);
        }
    }
}

/// Nor do few sums of a group's cells.
#[test]
fn gradients_of_few_parts_wait_once() {
    let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
    let lowered = |norm: &dyn Norm, shape: &[usize]| {
        let c = shape[1];
        norm.lower(&Operands::new(spec(shape)).weight(spec(&[c])).bias(spec(&[c]))).expect("fits")
    };
    let once = ["sums", "collect", "collect_gradient"];
    for rig in rigs().iter().map(Rig::as_discrete) {
        let joins = rig.gpu.capabilities().subgroups.is_some();
        for (name, plan, otherwise) in [
            (
                "instance",
                lowered(&InstanceNorm::new(), &[2, 8, 16_384]),
                &["sums", "collect", "collect", "collect", "gradient"][..],
            ),
            ("group", lowered(&GroupNorm::new(2), &[5, 6, 2048]), &["sums", "collect", "collect", "gradient"]),
        ] {
            for subgroups in [true, false] {
                let split = Options::default().strategy(Strategy::Split).subgroups(subgroups);
                let prepared = rig.gpu.prepare_backward(&plan, Wanted::all(&plan), &split).expect("prepares");
                let kernels = if joins && subgroups { &once } else { otherwise };
                assert_eq!(kernels_of(prepared.labels()), kernels, "{}: {name}", rig.name);
            }
        }
    }
}

/// Where each channel has one group and one weight, what collects the parts of its sums gives both theirs.
#[test]
fn backward_of_a_batch_collects_once() {
    let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
    let batch = |training, shape: &[usize]| {
        let c = shape[1];
        let operands = Operands::new(spec(shape)).weight(spec(&[c])).bias(spec(&[c])).running(c, false);
        BatchNorm::new().training(training).lower(&operands).expect("fits")
    };
    for rig in rigs().iter().flat_map(|rig| [rig.as_emulated(), rig.as_discrete()]) {
        for (plan, strategy, kernels) in [
            (batch(true, &[64, 8, 56, 56]), Strategy::Split, &["sums", "collect", "gradient"][..]),
            (batch(true, &[50_000, 40]), Strategy::Column, &["column_sums", "collect", "gradient_columns"]),
            (batch(false, &[64, 8, 56, 56]), Strategy::Affine, &["sums", "collect", "gradient"]),
        ] {
            let options = Options::default().strategy(strategy);
            let prepared = rig.gpu.prepare_backward(&plan, Wanted::all(&plan), &options).expect("prepares");
            assert_eq!(kernels_of(prepared.labels()), kernels, "{}: {strategy}", rig.name);
        }
    }
}

/// Bytes of the tensors that each pass moves, in reads and writes of one of them: the floors of the design.
#[test]
fn passes_move_what_the_design_allows() {
    let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
    let rows = |residual: bool| {
        let operands = Operands::new(spec(&[64, 384])).weight(spec(&[384])).bias(spec(&[384]));
        let operands = if residual { operands.residual(spec(&[64, 384])) } else { operands };
        LayerNorm::new([384]).lower(&operands).expect("fits")
    };
    // Channels of more elements than any cache or registers hold.
    let batch = |training| {
        let operands = Operands::new(spec(&[64, 8, 56, 56])).weight(spec(&[8])).bias(spec(&[8])).running(8, true);
        BatchNorm::new().training(training).lower(&operands).expect("fits")
    };
    let long = || {
        let operands = Operands::new(spec(&[3, 300_000])).weight(spec(&[300_000])).bias(spec(&[300_000]));
        LayerNorm::new([300_000]).lower(&operands).expect("fits")
    };
    for rig in rigs() {
        // Forward, backward, and backward of the input alone.
        for (name, plan, forward, backward, of_input) in [
            ("two reads, one write; two reads of each, one write", long(), 3, 5, 5),
            ("one read, one write; x and the gradient read once, one written", rows(false), 2, 3, 3),
            ("the residual read and the sum written besides", rows(true), 4, 3, 3),
            ("two reads, one write; two reads of each, one write", batch(true), 3, 5, 5),
            ("one read, one write; two reads of the gradient, one of x", batch(false), 2, 4, 2),
        ] {
            let size = plan.tensor_bytes();
            let prepared = rig.gpu.prepare(&plan, &Options::default()).expect("prepares");
            assert_eq!(prepared.bytes_moved(), forward * size, "{}: forward, {name}", rig.name);
            let all = Wanted::all(&plan);
            for (wanted, passes) in [(all, backward), (Wanted { weight: false, bias: false, ..all }, of_input)] {
                let prepared = rig.gpu.prepare_backward(&plan, wanted, &Options::default()).expect("prepares");
                assert_eq!(prepared.bytes_moved(), passes * size, "{}: {wanted:?}, {name}", rig.name);
            }
        }
    }
}
