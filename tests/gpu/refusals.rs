//! Every refusal of prepare and bind is provoked, names its argument, and reaches nobody but the caller.

use crate::rig::{Rig, rigs};
use wgpu::BufferUsages;
use wgpu_norm::Error;
use wgpu_norm::gpu::{Buffers, Capabilities, Options, Part, Strategy, optional_features, recommended_limits};
use wgpu_norm::norm::{BatchNorm, LayerNorm, Norm, Operands, RmsNorm};
use wgpu_norm::plan::Plan;
use wgpu_norm::{Dtype, Spec, Wanted};

const BYTES: u64 = 8 * 64 * 4;

fn plan() -> Plan {
    let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
    LayerNorm::new([64]).lower(&Operands::new(spec(&[8, 64])).weight(spec(&[64]))).expect("fits")
}

fn buffer(rig: &Rig, size: u64, usage: BufferUsages) -> wgpu::Buffer {
    rig.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

fn refusal(rig: &Rig, plan: &Plan, options: &Options, buffers: &Buffers<'_>) -> Error {
    let prepared = rig.gpu.prepare(plan, options).expect("prepares");
    let error = prepared.bind(buffers).expect_err("bind refuses");
    let complaints = rig.complaints();
    assert!(complaints.is_empty(), "{}: {error} also reached the application's handler: {complaints:?}", rig.name);
    error
}

/// The message has every part.
fn assert_says(rig: &Rig, error: &Error, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{}: {text:?} does not say {part:?}", rig.name);
    }
}

#[test]
fn buffers_that_do_not_fit_are_named() {
    for rig in rigs() {
        let (plan, options) = (plan(), Options::default());
        let storage = BufferUsages::STORAGE;
        let (x, y, w) = (buffer(&rig, BYTES, storage), buffer(&rig, BYTES, storage), buffer(&rig, 256, storage));
        let good = Buffers::new(x.slice(..), y.slice(..)).weight(w.slice(..));
        let refused = |buffers: &Buffers<'_>| refusal(&rig, &plan, &options, buffers);

        let small = buffer(&rig, BYTES - 4, storage);
        let error = refused(&Buffers::new(small.slice(..), y.slice(..)).weight(w.slice(..)));
        assert_says(&rig, &error, &["input", "2048", "2044"]);
        let error = refused(&Buffers::new(x.slice(..), y.slice(..BYTES - 4)).weight(w.slice(..)));
        assert_says(&rig, &error, &["output", "2048", "2044"]);
        let error = refused(&good.weight(w.slice(..128)));
        assert_says(&rig, &error, &["weight", "256", "128"]);

        let large = buffer(&rig, 2 * BYTES, storage);
        let error = refused(&Buffers::new(large.slice(4..), y.slice(..)).weight(w.slice(..)));
        assert_says(&rig, &error, &["input", "multiple of 16", "got 4"]);

        let plain = buffer(&rig, BYTES, BufferUsages::COPY_DST);
        let error = refused(&Buffers::new(x.slice(..), plain.slice(..)).weight(w.slice(..)));
        assert_says(&rig, &error, &["output", "STORAGE", "COPY_DST"]);

        let error = refused(&Buffers::new(x.slice(..), y.slice(..)));
        assert_says(&rig, &error, &["weight", "missing"]);
        let error = refused(&good.bias(w.slice(..)));
        assert_says(&rig, &error, &["bias", "not expected"]);
        let error = refused(&good.running(w.slice(..), w.slice(..)));
        assert_says(&rig, &error, &["running_mean", "not expected"]);
        let error = refused(&good.num_batches_tracked(w.slice(..)));
        assert_says(&rig, &error, &["num_batches_tracked", "not expected"]);
    }
}

#[test]
fn aliasing_that_is_not_exactly_in_place_is_refused() {
    for rig in rigs() {
        let (plan, storage) = (plan(), BufferUsages::STORAGE);
        let (x, w) = (buffer(&rig, 4 * BYTES, storage), buffer(&rig, 4 * BYTES, storage));
        let (apart, in_place) = (Options::default(), Options::default().in_place(true));
        let cases = [
            (Buffers::new(x.slice(..BYTES), x.slice(..BYTES)).weight(w.slice(..)), "input"),
            (Buffers::new(x.slice(..BYTES), x.slice(256..BYTES + 256)).weight(w.slice(..)), "input"),
            (Buffers::new(x.slice(..BYTES), x.slice(2 * BYTES..)).weight(w.slice(..)), "input"),
            (Buffers::new(x.slice(..), w.slice(..BYTES)).weight(w.slice(2 * BYTES..)), "weight"),
        ];
        for (buffers, other) in cases {
            let error = refusal(&rig, &plan, &apart, &buffers);
            assert!(matches!(error, Error::Aliasing { written: "output", .. }), "{}: {error}", rig.name);
            assert_says(&rig, &error, &["output", other, "share a buffer"]);
        }
        let apart_in_place = [
            Buffers::new(x.slice(..), w.slice(..BYTES)).weight(w.slice(2 * BYTES..)),
            Buffers::new(x.slice(..BYTES), x.slice(256..BYTES + 256)).weight(w.slice(..)),
        ];
        for buffers in apart_in_place {
            let error = refusal(&rig, &plan, &in_place, &buffers);
            assert!(matches!(error, Error::NotInPlace { written: "output", .. }), "{}: {error}", rig.name);
            assert_says(&rig, &error, &["output", "the place of input", "prepared with in_place"]);
        }
        let error = refusal(&rig, &plan, &in_place, &apart_in_place[1]);
        assert_says(&rig, &error, &["byte 0 of its buffer", "got byte 256 of the same"]);
        let beside_a_weight = Buffers::new(x.slice(..BYTES), x.slice(..BYTES)).weight(x.slice(2 * BYTES..));
        let text = refusal(&rig, &plan, &in_place, &beside_a_weight).to_string();
        assert!(!text.contains("in place"), "{}: it is prepared so: {text}", rig.name);
        for end in [BYTES, 2 * BYTES] {
            let good = Buffers::new(x.slice(..BYTES), x.slice(..end)).weight(w.slice(..));
            let bound = rig.gpu.prepare(&plan, &in_place).expect("prepares").bind(&good);
            assert!(bound.is_ok(), "{}: exactly in place is served, whatever follows", rig.name);
        }
    }
}

/// Two devices of one instance: buffers of two instances not even wgpu can tell apart.
#[test]
fn a_buffer_of_another_device_is_named() {
    for (rig, other) in rigs().iter().map(|rig| (rig, rig.sibling())) {
        let storage = BufferUsages::STORAGE;
        let (x, y) = (buffer(rig, BYTES, storage), buffer(rig, BYTES, storage));
        let foreign = buffer(&other, 256, storage);
        let buffers = Buffers::new(x.slice(..), y.slice(..)).weight(foreign.slice(..));
        let error = refusal(rig, &plan(), &Options::default(), &buffers);
        assert_says(rig, &error, &["weight", "of the device that prepared the plan"]);
    }
}

#[test]
fn a_strategy_that_cannot_serve_says_why() {
    for rig in rigs() {
        let refused = |plan: &Plan, strategy: Strategy| {
            rig.gpu.prepare(plan, &Options::default().strategy(strategy)).expect_err("prepare refuses")
        };
        let long = LayerNorm::new([1 << 20]).lower(&Operands::new(Spec::new([1, 1 << 20], Dtype::F32))).expect("fits");
        assert_says(&rig, &refused(&long, Strategy::Resident), &["resident", "262144 packs", "are held"]);
        let huge = LayerNorm::new([1 << 24]).lower(&Operands::new(Spec::new([1, 1 << 24], Dtype::F32))).expect("fits");
        if rig.gpu.capabilities().emulated {
            assert_says(&rig, &refused(&huge, Strategy::Streaming), &["streaming", "iterations", "60000"]);
        }
        assert_says(&rig, &refused(&long, Strategy::Column), &["column", "one row"]);
        assert_says(&rig, &refused(&long, Strategy::Affine), &["affine", "come from the input"]);
        let operands = Operands::new(Spec::new([8, 4], Dtype::F32)).running(4, false);
        let given = BatchNorm::new().training(false).lower(&operands).expect("fits");
        assert_says(&rig, &refused(&given, Strategy::Split), &["split", "given"]);
        let odd = LayerNorm::new([5]).lower(&Operands::new(Spec::new([3, 5], Dtype::Bf16))).expect("fits");
        assert_says(&rig, &refused(&odd, Strategy::Resident), &["resident", "share words"]);
        let error =
            rig.gpu.prepare(&plan(), &Options::default().offset_alignment(6)).expect_err("6 is no power of two");
        assert_says(&rig, &error, &["offset_alignment", "6", "power of two"]);
    }
}

/// Running estimates may lie side by side, and beside the input: no dispatch binds both to read and to write, though the
/// kernel that reads the input moves the estimates where it can.
#[test]
fn what_shares_a_buffer_without_colliding_is_served() {
    for rig in rigs().into_iter().flat_map(|rig| [rig.as_discrete(), rig]) {
        for (shape, channels) in [(vec![8, 64], 64), (vec![2, 16, 4, 4], 16)] {
            let operands = Operands::new(Spec::new(shape, Dtype::F32)).running(channels, false);
            let plan = BatchNorm::new().lower(&operands).expect("fits");
            let ones = bytemuck::cast_slice(&[1f32; 2048]).to_vec();
            let arena = rig.guarded(0, &ones);
            let output = buffer(&rig, BYTES, BufferUsages::STORAGE);
            let buffers = Buffers::new(arena.slice(..BYTES), output.slice(..))
                .running(arena.slice(BYTES..BYTES + 256), arena.slice(BYTES + 256..BYTES + 512));
            rig.submit(&rig.gpu.prepare(&plan, &Options::default()).expect("prepares").bind(&buffers).expect("binds"));
            assert_eq!(rig.complaints(), Vec::<String>::new(), "{}", rig.name);
            // Means stay at 1, variances leave it for 0.
            let mut after = ones.clone();
            let variances = usize::try_from(BYTES).expect("small") + 256;
            after[variances..variances + 4 * channels].copy_from_slice(bytemuck::cast_slice(&vec![0.9f32; channels]));
            assert!(rig.read(&arena)[..8192] == after, "{} {channels}: other estimates", rig.name);
        }
        // Means and deviations, which are made of the statistics once these are there, beside the input.
        let plan = LayerNorm::new([64]).lower(&Operands::new(Spec::new([8, 64], Dtype::F32))).expect("fits");
        let arena = rig.guarded(0, bytemuck::cast_slice(&[3f32; 1024]));
        let [output, kept] = std::array::from_fn(|_| buffer(&rig, BYTES, BufferUsages::STORAGE));
        let moments = (arena.slice(BYTES..BYTES + 32), arena.slice(BYTES + 256..BYTES + 288));
        let buffers = Buffers::new(arena.slice(..BYTES), output.slice(..)).statistics(kept.slice(..));
        let prepared =
            rig.gpu.prepare(&plan, &Options::default().save_statistics(true).moments(true)).expect("prepares");
        rig.submit(&prepared.bind(&buffers.moments(moments.0, moments.1)).expect("binds"));
        assert_eq!(rig.complaints(), Vec::<String>::new(), "{}", rig.name);
        let (after, begin) = (rig.read(&arena), usize::try_from(BYTES).expect("small"));
        assert!(after[begin..begin + 32] == *bytemuck::cast_slice::<f32, u8>(&[3.0; 8]), "{}: the means", rig.name);
        let deviation = bytemuck::pod_read_unaligned::<f32>(&after[begin + 256..begin + 260]);
        assert!((deviation - 1e-5f32.sqrt()).abs() < 1e-6, "{}: {deviation}", rig.name);

        let operands = Operands::new(Spec::new([8, 64], Dtype::F32)).running(64, false);
        let plan = BatchNorm::new().lower(&operands).expect("fits");
        let arena = rig.guarded(0, &vec![0; 8192]);
        let output = buffer(&rig, BYTES, BufferUsages::STORAGE);
        let buffers = Buffers::new(arena.slice(..BYTES), output.slice(..))
            .running(arena.slice(BYTES..BYTES + 256), arena.slice(BYTES + 256..BYTES + 512));
        let overlapping = buffers.running(arena.slice(BYTES..BYTES + 256), arena.slice(BYTES..BYTES + 256));
        let error = refusal(&rig, &plan, &Options::default(), &overlapping);
        assert_says(&rig, &error, &["running_mean", "running_var", "share a buffer"]);
    }
}

/// On a device with fewer storage buffers than all of that takes, running estimates have a dispatch of their own, and so
/// has what merges partials.
#[test]
fn five_storage_buffers_are_enough() {
    for rig in rigs() {
        let limits = wgpu::Limits { max_storage_buffers_per_shader_stage: 5, ..rig.adapter.limits() };
        let gpu = rig.limited(optional_features(&rig.adapter), limits);
        let spec = || Spec::new([16], Dtype::F32);
        let operands =
            Operands::new(Spec::new([2, 16, 4, 4], Dtype::F32)).weight(spec()).bias(spec()).running(16, true);
        let plan = BatchNorm::new().lower(&operands).expect("fits");
        let resident = Options::default().strategy(Strategy::Resident);
        let prepared = gpu.prepare(&plan, &resident).expect("five are enough");
        assert_eq!(prepared.workgroups().len(), 2, "{}: {:?}", rig.name, prepared.labels());
        let whole = rig.gpu.prepare(&plan, &resident).expect("eight are there");
        assert_eq!(whole.workgroups().len(), 1, "{}: {:?}", rig.name, whole.labels());
        let rows = || Spec::new([30_000], Dtype::F32);
        let operands = Operands::new(Spec::new([3, 30_000], Dtype::F32)).weight(rows()).bias(rows());
        let plan = LayerNorm::new([30_000]).lower(&operands).expect("fits");
        let capabilities = Capabilities { emulated: false, ..*gpu.capabilities() };
        let discrete = gpu.assuming(capabilities);
        let options = Options::default().strategy(Strategy::Split).save_statistics(true);
        let split = discrete.prepare(&plan, &options).expect("five are enough");
        assert_eq!(split.workgroups().len(), 3, "{}: {:?}", rig.name, split.labels());
        let wanted = Wanted { input: false, ..Wanted::all(&plan) };
        let parameters = discrete.prepare_backward(&plan, wanted, &Options::default()).expect("five are enough");
        assert_eq!(parameters.workgroups().len(), 2, "{}: {:?}", rig.name, parameters.labels());
    }
}

/// Neither more buffers than a kernel may bind on the device, nor more bytes of what is bound as it is.
#[test]
fn what_the_device_cannot_bind_is_said_when_it_is_prepared() {
    for rig in rigs() {
        let four = rig.limited(
            wgpu::Features::empty(),
            wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..rig.adapter.limits() },
        );
        let backward = four.prepare_backward(&plan(), Wanted::all(&plan()), &Options::default());
        let error = backward.expect_err("it takes more");
        assert_says(&rig, &error, &["a kernel: needs", "storage buffers", "of the device is 4"]);
        assert!(error.is_of_device(), "{}: an engine goes on without", rig.name);

        let short = rig.limited(
            wgpu::Features::empty(),
            wgpu::Limits { max_storage_buffer_binding_size: 1 << 20, ..rig.adapter.limits() },
        );
        let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
        let operands = Operands::new(spec(&[2, 300_000])).weight(spec(&[300_000]));
        let plan = LayerNorm::new([300_000]).lower(&operands).expect("fits");
        short.prepare(&plan, &Options::default()).expect("tensors and parameters are cut");
        let error = short.prepare_backward(&plan, Wanted::all(&plan), &Options::default()).expect_err("is bound whole");
        assert_says(&rig, &error, &["needs", "bytes", "largest storage binding of the device is 1048576"]);
    }
}

/// Workgroups lie in two dimensions; where both together are too few, that is said before wgpu finds it in a pass.
#[test]
fn a_dispatch_that_the_device_cannot_make_is_refused() {
    for rig in rigs() {
        let few = |max_compute_workgroups_per_dimension| {
            rig.limited(
                wgpu::Features::empty(),
                wgpu::Limits { max_compute_workgroups_per_dimension, ..rig.adapter.limits() },
            )
        };
        let plan = |rows| LayerNorm::new([5]).lower(&Operands::new(Spec::new([rows, 5], Dtype::F32))).expect("fits");
        let workgroups = |plan: &Plan| rig.gpu.prepare(plan, &Options::default()).expect("prepares").workgroups();
        let alone = workgroups(&plan(20_000))[0];
        let all = alone[0] * alone[1];
        let most = all.isqrt();
        let square = few(most + u32::from(most * most < all)).prepare(&plan(20_000), &Options::default());
        assert!(square.is_ok(), "{}: {all} workgroups fit: {:?}", rig.name, square.err());
        let error = few(most - 1).prepare(&plan(20_000), &Options::default()).expect_err("too many");
        assert_says(
            &rig,
            &error,
            &["input: needs", "workgroups", "max_compute_workgroups_per_dimension of the device"],
        );
        assert!(error.is_of_device(), "{}: an engine goes on without", rig.name);

        let base = wgpu::Limits::downlevel_webgl2_defaults();
        let error = rig
            .limited(wgpu::Features::empty(), base.clone())
            .prepare(&plan(2), &Options::default())
            .expect_err("no compute");
        assert_says(&rig, &error, &["a kernel: needs 1 workgroups", "max_compute_workgroups_per_dimension", "is 0"]);
        rig.limited(wgpu::Features::empty(), recommended_limits(&rig.adapter, base))
            .prepare(&plan(20_000), &Options::default())
            .expect("computes");
    }
}

/// Of the gradients that flow into means and deviations one has to be there, and none into means that nobody takes away.
#[test]
fn what_flows_into_moments_is_checked() {
    for rig in rigs() {
        let spec = || Spec::new([8, 64], Dtype::F32);
        let storage = BufferUsages::STORAGE;
        let buffers: Vec<wgpu::Buffer> = (0..3).map(|_| buffer(&rig, BYTES, storage)).collect();
        let [x, dy, dx] = [0, 1, 2].map(|i| buffers[i].slice(..));
        let (kept, inflow) = (buffer(&rig, 128, storage), buffer(&rig, 32, storage));
        let good = Buffers::backward(x, dy, kept.slice(..)).grad_input(dx);
        let prepared = |norm: &dyn Norm| {
            let plan = norm.lower(&Operands::new(spec())).expect("fits");
            rig.gpu.prepare_backward(&plan, Wanted::all(&plan), &Options::default().moments(true)).expect("prepares")
        };
        let (layer, rms) = (prepared(&LayerNorm::new([64])), prepared(&RmsNorm::new([64])));
        assert_says(&rig, &layer.bind(&good).expect_err("neither"), &["grad_mean", "missing", "grad_std"]);
        let both = good.grad_moments(inflow.slice(..), inflow.slice(..));
        assert!(layer.bind(&both).is_ok(), "{}: both are taken", rig.name);
        assert_says(&rig, &rms.bind(&both).expect_err("no mean"), &["grad_mean", "takes no mean away"]);
        assert!(rms.bind(&good.grad_moments(None, inflow.slice(..))).is_ok(), "{}: the deviation's", rig.name);
        assert!(rig.complaints().is_empty(), "{}: nothing reaches the application's handler", rig.name);
    }
}

/// What a plan has to do with, though the pass does not, is told apart from what it has nothing to do with.
#[test]
fn a_buffer_that_this_pass_does_not_take_is_named() {
    for rig in rigs() {
        let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
        let operands = Operands::new(spec(&[8, 64])).weight(spec(&[64])).residual(spec(&[8, 64]));
        let plan = LayerNorm::new([64]).lower(&operands).expect("fits");
        let storage = BufferUsages::STORAGE;
        let buffers: Vec<wgpu::Buffer> = (0..4).map(|_| buffer(&rig, BYTES, storage)).collect();
        let [x, y, r, sum] = [0, 1, 2, 3].map(|i| buffers[i].slice(..));
        let (kept, w) = (buffer(&rig, 128, storage), buffer(&rig, 256, storage));
        let split = Options::default().strategy(Strategy::Split);
        let reduce = rig.gpu.prepare(&plan, &split.part(Part::Reduce)).expect("the first half");
        let error = reduce.bind(&Buffers::reduce(x, kept.slice(..)).residual(r, sum).weight(w.slice(..)));
        assert_says(&rig, &error.expect_err("the second half's"), &["weight", "this pass does not take it"]);
        let of_input = Wanted { input: true, weight: false, bias: false, extra: false };
        let backward = rig.gpu.prepare_backward(&plan, of_input, &Options::default()).expect("prepares");
        let good = Buffers::backward(x, y, kept.slice(..)).weight(w.slice(..)).grad_input(r);
        let error = backward.bind(&good.residual(y, sum)).expect_err("backward has none");
        assert_says(&rig, &error, &["residual", "this pass does not take it"]);
        let error = backward.bind(&good.bias(w.slice(..))).expect_err("the plan has none");
        assert_says(&rig, &error, &["bias", "the plan was lowered without it"]);
    }
}

/// What one dispatch writes and another reads shares no buffer with what the other writes, whichever strategy is taken.
#[test]
fn what_a_dispatch_reads_again_has_a_buffer_of_its_own() {
    for rig in rigs() {
        let operands = Operands::new(Spec::new([8, 64], Dtype::F32)).running(64, false);
        let plan = BatchNorm::new().lower(&operands).expect("fits");
        let (input, state) = (rig.guarded(0, &vec![0; 8192]), rig.guarded(0, &[0; 2048]));
        let (output, arena) = (rig.guarded(0, &vec![0; 8192]), rig.guarded(0, &vec![0; 8192]));
        let estimates = [state.slice(..256), state.slice(256..512)];
        // By the apply step, and by the kernel of the running estimates.
        for (output, kept, name) in [
            (output.slice(..BYTES), output.slice(BYTES..BYTES + 1024), "output"),
            (output.slice(..BYTES), state.slice(512..1536), "running_mean"),
        ] {
            let buffers =
                Buffers::new(input.slice(..BYTES), output).running(estimates[0], estimates[1]).statistics(kept);
            let error = refusal(&rig, &plan, &Options::default().save_statistics(true), &buffers);
            assert_says(&rig, &error, &["statistics", name, "share a buffer"]);
        }
        // In evaluation the kernel that writes reads running estimates.
        let evaluation = BatchNorm::new().training(false).lower(&operands).expect("fits");
        let beside = Buffers::new(input.slice(..BYTES), arena.slice(..BYTES))
            .running(arena.slice(BYTES..BYTES + 256), arena.slice(BYTES + 256..BYTES + 512));
        let error = refusal(&rig, &evaluation, &Options::default(), &beside);
        assert_says(&rig, &error, &["output", "running_mean", "share a buffer"]);
        // The sum of input and residual is what is normalized.
        let spec = Spec::new([8, 64], Dtype::F32);
        let added = LayerNorm::new([64]).lower(&Operands::new(spec.clone()).residual(spec)).expect("fits");
        let buffers = Buffers::new(input.slice(..BYTES), arena.slice(..BYTES))
            .residual(output.slice(..BYTES), arena.slice(BYTES..2 * BYTES));
        let error = refusal(&rig, &added, &Options::default(), &buffers);
        assert_says(&rig, &error, &["output", "sum", "share a buffer"]);
    }
}

#[test]
fn buffers_of_a_backward_pass_that_do_not_fit_are_named() {
    for rig in rigs() {
        let (plan, storage) = (plan(), BufferUsages::STORAGE);
        let wanted = Wanted::all(&plan);
        let tensors: Vec<wgpu::Buffer> = (0..3).map(|_| buffer(&rig, BYTES, storage)).collect();
        let [x, dy, dx] = [0, 1, 2].map(|i| tensors[i].slice(..));
        let (kept, w, dw) = (buffer(&rig, 128, storage), buffer(&rig, 256, storage), buffer(&rig, 256, storage));
        let read = Buffers::backward(x, dy, kept.slice(..)).weight(w.slice(..));
        let good = read.grad_input(dx).grad_weight(dw.slice(..));
        let prepared = rig.gpu.prepare_backward(&plan, wanted, &Options::default()).expect("prepares");
        assert!(prepared.bind(&good).is_ok(), "{}: what fits is taken", rig.name);
        let rows: [(Buffers<'_>, &[&str]); 9] = [
            (read.grad_weight(dw.slice(..)), &["grad_input", "missing"]),
            (read.grad_input(dx), &["grad_weight", "missing"]),
            (good.grad_bias(dw.slice(..)), &["grad_bias", "not expected"]),
            (good.grad_sum(dy), &["grad_sum", "not expected"]),
            (good.grad_weight(dw.slice(..128)), &["grad_weight", "256", "128"]),
            (
                Buffers::backward(x, dy, kept.slice(..64)).weight(w.slice(..)).grad_input(dx).grad_weight(dw.slice(..)),
                &["statistics", "128", "64"],
            ),
            (good.grad_input(dy), &["grad_input", "grad_output", "share a buffer"]),
            (good.grad_input(x), &["grad_input", "input", "share a buffer"]),
            (good.grad_weight(dx).grad_input(dx), &["grad_input", "grad_weight", "share a buffer"]),
        ];
        for (buffers, parts) in rows {
            let error = prepared.bind(&buffers).expect_err("bind refuses");
            assert_says(&rig, &error, parts);
        }
        let other = rig.sibling();
        let foreign = buffer(&other, 128, storage);
        let buffers =
            Buffers::backward(x, dy, foreign.slice(..)).weight(w.slice(..)).grad_input(dx).grad_weight(dw.slice(..));
        let error = prepared.bind(&buffers).expect_err("bind refuses");
        assert_says(&rig, &error, &["statistics", "of the device that prepared the plan"]);
        assert!(rig.complaints().is_empty(), "{}: nothing reaches the application's handler", rig.name);

        let error = rig.gpu.prepare_backward(&plan, Wanted { bias: true, ..wanted }, &Options::default());
        assert_says(&rig, &error.expect_err("there is no bias"), &["grad_bias", "no such parameter"]);
        let error = rig.gpu.prepare_backward(&plan, wanted, &Options::default().grad_sum(true));
        assert_says(&rig, &error.expect_err("there is no sum"), &["grad_sum", "without a residual"]);
        let error = rig.gpu.prepare_backward(&plan, wanted, &Options::default().strategy(Strategy::Affine));
        assert_says(&rig, &error.expect_err("training"), &["affine", "through the statistics"]);
        let error = rig.gpu.prepare(&plan, &Options::default().sum_in_place(true));
        assert_says(&rig, &error.expect_err("there is no sum"), &["sum_in_place", "without a residual"]);
    }
}
