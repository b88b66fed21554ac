//! The choice of strategy is a pure function: its boundaries, and what it may depend on. Needs no GPU.

use wgpu_norm::gpu::kernels::{Columns, MOST_ITERATIONS, Partials, packs, streamed_together};
use wgpu_norm::gpu::{Capabilities, Strategy, choose};
use wgpu_norm::norm::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm, Norm, Operands};
use wgpu_norm::plan::Plan;
use wgpu_norm::{Dtype, Layout, Spec, Wanted};

/// lavapipe, as it reports itself.
const EMULATED: Capabilities = Capabilities {
    emulated: true,
    subgroups: Some((8, 8)),
    native_f16: true,
    max_binding: 128 << 20,
    max_workgroups: 65_535,
    max_invocations: 1024,
    storage_alignment: 64,
    uniform_alignment: 64,
};

/// The same by way of GL, which has no subgroups.
const WITHOUT_SUBGROUPS: Capabilities = Capabilities { subgroups: None, ..EMULATED };

/// SwiftShader, whose vectors have four lanes.
const OF_FOUR_LANES: Capabilities = Capabilities { subgroups: Some((4, 4)), ..EMULATED };

/// A discrete GPU with WebGPU's limits.
const DISCRETE: Capabilities =
    Capabilities { emulated: false, subgroups: Some((32, 32)), max_invocations: 256, ..EMULATED };

/// A discrete GPU with all that its adapter has.
const WIDE: Capabilities = Capabilities { max_invocations: 1024, ..DISCRETE };

/// A device with nothing optional and the least that WebGPU allows.
const LEAST: Capabilities = Capabilities { subgroups: None, native_f16: false, max_invocations: 128, ..DISCRETE };

fn plan_of(norm: &dyn Norm, shape: &[usize], dtype: Dtype) -> Plan {
    norm.lower(&Operands::new(Spec::new(shape, dtype))).expect("fits")
}

fn rows(n: usize, d: usize) -> Plan {
    plan_of(&LayerNorm::new([d]), &[n, d], Dtype::F32)
}

fn rows_of_16_bits(n: usize, d: usize) -> Plan {
    plan_of(&LayerNorm::new([d]), &[n, d], Dtype::Bf16)
}

fn columns(n: usize, c: usize, dtype: Dtype) -> Plan {
    plan_of(&BatchNorm::new(), &[n, c], dtype)
}

fn added(n: usize, d: usize) -> Plan {
    let spec = || Spec::new([n, d], Dtype::F32);
    LayerNorm::new([d]).lower(&Operands::new(spec()).residual(spec())).expect("fits")
}

#[test]
fn each_boundary_lies_where_the_table_says() {
    // lavapipe: two reads cost less than three, from 257 elements on where lanes do not all meet by shuffles; a cache holds
    // 65,536; 64 groups are enough to stream.
    let cases = [
        ("a short row", rows(1, 16), EMULATED, Strategy::Streaming),
        ("a short row with a residual", added(1, 16), EMULATED, Strategy::Resident),
        ("the longest resident row", rows(1, 256), WITHOUT_SUBGROUPS, Strategy::Resident),
        ("one element more", rows(1, 257), WITHOUT_SUBGROUPS, Strategy::Streaming),
        ("the longest resident row", rows(1, 256), OF_FOUR_LANES, Strategy::Resident),
        ("one element more", rows(1, 257), OF_FOUR_LANES, Strategy::Streaming),
        ("the longest row that a cache holds", rows(1, 65_536), EMULATED, Strategy::Streaming),
        ("a long row with a residual", added(1, 65_536), EMULATED, Strategy::Resident),
        ("one element more", rows(1, 65_537), EMULATED, Strategy::Split),
        ("too few groups to stream", rows(63, 65_537), EMULATED, Strategy::Split),
        ("enough groups to stream", rows(64, 65_537), EMULATED, Strategy::Streaming),
        ("rows of one", rows(100, 1), EMULATED, Strategy::Streaming),
        // A GPU: 256 lanes of 26 packs hold 26,624 elements, 512 twice that; 512 groups are enough.
        ("the longest resident row", rows(1, 26_624), DISCRETE, Strategy::Resident),
        ("one element more", rows(1, 26_625), DISCRETE, Strategy::Split),
        ("too few groups to stream", rows(511, 26_625), DISCRETE, Strategy::Split),
        ("enough groups to stream", rows(512, 26_625), DISCRETE, Strategy::Streaming),
        ("twice the lanes hold twice that", rows(1, 53_248), WIDE, Strategy::Resident),
        ("half the lanes hold half", rows(1, 13_313), LEAST, Strategy::Split),
        // Of 16 bits a lane holds 16 packs at most.
        ("the longest resident row of 16 bits", rows_of_16_bits(1, 32_768), WIDE, Strategy::Resident),
        ("one element more", rows_of_16_bits(1, 32_770), WIDE, Strategy::Split),
        ("enough groups to stream", rows_of_16_bits(512, 32_770), WIDE, Strategy::Streaming),
        ("a row too long to stream", rows(512, 1 << 25), DISCRETE, Strategy::Split),
        (
            "positions side by side",
            plan_of(&LayerNorm::over_axes([1]), &[2, 64, 9], Dtype::F32),
            EMULATED,
            Strategy::Column,
        ),
        // 32 lanes, or 64, with 16 rows each; half as many of 16 bits, so that they read as many bytes of a row.
        ("the longest resident column", columns(512, 9, Dtype::F32), DISCRETE, Strategy::Resident),
        ("one row more", columns(513, 9, Dtype::F32), DISCRETE, Strategy::Column),
        ("twice the lanes hold twice that", columns(1024, 9, Dtype::F32), WIDE, Strategy::Resident),
        ("of 16 bits", columns(512, 10, Dtype::Bf16), WIDE, Strategy::Resident),
        ("of 16 bits and one row more", columns(513, 10, Dtype::Bf16), WIDE, Strategy::Column),
        ("of 16 bits that share words", columns(64, 9, Dtype::Bf16), WIDE, Strategy::Column),
        ("a column where a processor stands in", columns(64, 9, Dtype::F32), EMULATED, Strategy::Column),
        ("planes of 15", plan_of(&BatchNorm::new(), &[64, 9, 15], Dtype::F32), DISCRETE, Strategy::Column),
        ("planes of 16", plan_of(&BatchNorm::new(), &[64, 9, 16], Dtype::F32), DISCRETE, Strategy::Resident),
        ("packed rows of odd length", plan_of(&LayerNorm::new([5]), &[9, 5], Dtype::Bf16), EMULATED, Strategy::Split),
        (
            "packed rows of even length",
            plan_of(&LayerNorm::new([6]), &[9, 6], Dtype::Bf16),
            EMULATED,
            Strategy::Streaming,
        ),
        (
            "native rows of odd length",
            plan_of(&LayerNorm::new([5]), &[9, 5], Dtype::F16),
            EMULATED,
            Strategy::Streaming,
        ),
    ];
    let faults: Vec<String> = cases
        .into_iter()
        .filter_map(|(name, plan, device, want)| {
            let got = choose(&plan, &device);
            (got != want).then(|| format!("{name} {:?}: {got}, expected {want}", plan.view()))
        })
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn given_statistics_are_applied() {
    let operands = Operands::new(Spec::new([8, 4, 9], Dtype::F32)).running(4, false);
    let plan = BatchNorm::new().training(false).lower(&operands).expect("fits");
    assert_eq!(choose(&plan, &EMULATED), Strategy::Affine);
}

#[test]
fn the_number_of_samples_decides_between_equals_only() {
    let norms: [(&dyn Norm, &[usize]); 4] = [
        (&LayerNorm::over_axes([-1]), &[5000]),
        (&GroupNorm::new(2), &[4, 3000]),
        (&InstanceNorm::new(), &[3, 9000]),
        (&InstanceNorm::new().layout(Layout::ChannelsLast), &[900, 3]),
    ];
    for (norm, sample) in norms {
        for dtype in Dtype::ALL {
            for device in [EMULATED, DISCRETE, LEAST] {
                let of = |n: usize| {
                    let shape: Vec<usize> = std::iter::once(n).chain(sample.iter().copied()).collect();
                    let plan = plan_of(norm, &shape, dtype);
                    let same_bits = |s| if s == Strategy::Streaming { Strategy::Split } else { s };
                    (
                        same_bits(choose(&plan, &device)),
                        Partials::of_groups(&plan, &device),
                        Partials::of_columns(&plan, &device),
                    )
                };
                let alone = of(1);
                for n in [2, 3, 7, 8, 255, 511, 512, 4096] {
                    assert_eq!(of(n), alone, "{n} samples of {sample:?} {dtype}");
                }
            }
        }
    }
}

#[test]
fn backward_holds_half_as_long_a_row() {
    let resident = |device: Capabilities, d: usize| {
        let plan = rows(3, d);
        Strategy::Resident.supports_backward(&plan, Wanted::all(&plan), &device).is_ok()
    };
    for (device, longest) in [(EMULATED, 65_536), (WIDE, 8192), (DISCRETE, 8192), (LEAST, 4096)] {
        assert!(resident(device, longest), "{longest} on {device:?}");
        assert!(!resident(device, longest + 1), "{longest} and one on {device:?}");
    }
}

#[test]
fn lanes_are_added_before_they_hold_too_much() {
    let holders = |device: Capabilities, d: u64, dtype| device.resident_team(d / 4, dtype);
    let teams = |device: Capabilities, d: u64| (holders(device, d, Dtype::F32), device.gradient_team(d / 4));
    assert_eq!(teams(WIDE, 4096), (256, 256));
    assert_eq!(teams(WIDE, 8192), (256, 512));
    assert_eq!(teams(WIDE, 16_384), (512, 512));
    assert_eq!(teams(DISCRETE, 16_384), (256, 256));
    assert_eq!(teams(LEAST, 8192), (128, 128));
    assert_eq!(teams(EMULATED, 8192), (8, 8));
    for (d, lanes) in [(512, 32), (1024, 32), (4096, 128), (8192, 256), (16_384, 512)] {
        assert_eq!(holders(WIDE, d, Dtype::F16), lanes, "{d}");
        assert_eq!(holders(WIDE, d, Dtype::Bf16), holders(WIDE, d, Dtype::F32), "{d}");
    }
}

/// What adds up columns is told of blocks by one function and of lanes by another.
#[test]
fn lanes_that_share_columns_take_all_rows_of_a_block() {
    let lengths = [2, 3, 7, 8, 15, 16, 17, 64, 100, 512, 4096, 50_000];
    for device in [EMULATED, WIDE, DISCRETE, LEAST, Capabilities { max_binding: 8 << 10, ..WIDE }] {
        for (b, c) in lengths.into_iter().flat_map(|b| lengths.map(|c| (b, c))) {
            let plan = plan_of(&BatchNorm::new(), &[b, c], Dtype::F32);
            let blocks = Partials::of_columns(&plan, &device);
            let columns = Columns::to_sum(plan.view(), &blocks, &device);
            let told = format!("[{b}, {c}]: {blocks:?} {columns:?} on {device:?}");
            let lanes = device.column_workgroup(columns.team);
            assert!(columns.team <= lanes && lanes.is_multiple_of(columns.team), "{told}");
            assert!(columns.team.is_multiple_of(columns.row_lanes), "{told}");
            assert_eq!(columns.rows, blocks.rows, "{told}");
            assert!(blocks.rows * blocks.count >= b as u64, "{told}");
            assert!(columns.row_lanes == 1 || columns.packs == 1, "{told}");
            // No lane is idle for want of rows but where all are few.
            assert!(u64::from(columns.row_lanes) < 2 * blocks.rows, "{told}");
        }
    }
}

#[test]
fn lanes_that_hold_columns_hold_all_rows() {
    let lengths = [2, 3, 7, 8, 9, 64, 100, 511, 512, 513, 1024, 1025];
    for device in [EMULATED, WIDE, DISCRETE, LEAST, Capabilities { max_invocations: 4, ..WIDE }] {
        for (b, dtype) in lengths.into_iter().flat_map(|b| Dtype::ALL.map(|dtype| (b, dtype))) {
            let held = |c: usize| Columns::to_hold(&columns(b, c, dtype), &device);
            let Some((few, rows)) = held(2) else { continue };
            let told = format!("[{b}, 2] {dtype}: {few:?} {rows:?} on {device:?}");
            assert!(few.team <= device.most_resident_lanes(), "{told}");
            assert!(u64::from(few.row_lanes) * rows.packs() >= b as u64, "{told}");
            // How a column is reduced hangs on its own length alone.
            let of_many = held(4096).map(|(columns, rows)| (columns.row_lanes, rows));
            assert_eq!(of_many, Some((few.row_lanes, rows)), "{told}");
        }
    }
    assert_eq!(Columns::to_hold(&columns(64, 8, Dtype::F32), &EMULATED), None);
}

/// The longest loops of each strategy, for groups up to the longest that it serves.
#[test]
fn no_lane_exceeds_the_iterations_that_every_driver_grants() {
    for device in [EMULATED, WIDE, DISCRETE, LEAST] {
        // Whole packs, and last ones of one, two and three elements.
        for d in (0..34).flat_map(|power| [0, 1, 2, 3].map(|more| (1usize << power) + more)) {
            let plan = rows(1, d);
            let partials = Partials::of_groups(&plan, &device);
            let of_one_partial = partials.rows * partials.segment.div_ceil(4).div_ceil(u64::from(partials.team));
            let of_merging = partials.count.div_ceil(u64::from(partials.team));
            assert!(of_one_partial + of_merging < MOST_ITERATIONS, "split of {d}: {of_one_partial} + {of_merging}");
            if Strategy::Resident.supports(&plan, &device).is_ok() {
                let a_pass = packs(plan.view()).div_ceil(device.resident_team(packs(plan.view()), Dtype::F32).into());
                assert!(3 * a_pass < MOST_ITERATIONS, "resident of {d}");
            }
            if Strategy::Resident.supports_backward(&plan, Wanted::all(&plan), &device).is_ok() {
                let team = device.gradient_team(packs(plan.view()));
                let a_pass = packs(plan.view()).div_ceil(team.into());
                let block = device.gradient_block(u64::MAX, packs(plan.view()), team);
                assert!(2 * block * (a_pass + 1) < MOST_ITERATIONS, "gradients of {block} groups of {d}");
            }
            if Strategy::Streaming.supports(&plan, &device).is_ok() {
                let a_pass = packs(plan.view()).div_ceil(u64::from(partials.team));
                let together = streamed_together(&plan, &device, device.groups_together(u64::MAX));
                // Each pack counts once more where it is that of several groups.
                let twice = 2 * together * a_pass + if together > 1 { a_pass } else { 0 };
                assert!(twice < MOST_ITERATIONS, "streaming {together} groups of {d}: {a_pass} a pass");
            }
            // 2^22 statistics of 16 bytes are the 64 MiB of scratch.
            let samples = (d as u64).min(1 << 22);
            assert!(
                samples / u64::from(device.team_to_collect(samples, false)) < MOST_ITERATIONS,
                "running of {samples}"
            );
            let columns = plan_of(&BatchNorm::new(), &[d.max(2), 8], Dtype::F32);
            let of_columns = Partials::of_columns(&columns, &device);
            let of_merging = of_columns.count.div_ceil(u64::from(of_columns.team));
            assert!(of_merging < MOST_ITERATIONS, "columns of {d}: {of_columns:?}");
            let tile = Columns::to_sum(columns.view(), &of_columns, &device);
            let of_tile = (tile.rows.div_ceil(tile.row_lanes.into()) + u64::from(tile.row_lanes)) * tile.packs;
            assert!(of_tile < MOST_ITERATIONS, "columns of {d}: {tile:?}");
        }
    }
}

/// Of long rows each column has partials of its own, which a few lanes merge.
#[test]
fn columns_are_refused_where_a_lane_would_merge_too_many() {
    let supports = |d| Strategy::Column.supports(&plan_of(&BatchNorm::new(), &[2, 1, d], Dtype::F32), &EMULATED);
    assert_eq!(supports(400_000), Ok(()));
    let error = supports(600_000).expect_err("75,000 by each of eight lanes").to_string();
    assert!(error.contains("75000 partials") && error.contains("column"), "{error}");
}

#[test]
fn every_strategy_has_a_name_that_parses() {
    for strategy in Strategy::ALL {
        assert_eq!(strategy.name().parse(), Ok(strategy), "{strategy}");
    }
    let error = "warp".parse::<Strategy>().expect_err("no such strategy").to_string();
    assert!(error.contains("warp") && error.contains("resident"), "{error}");
}

/// The kernels keep what belongs to each of them.
#[test]
fn no_more_groups_are_taken_together_than_the_shaders_keep() {
    let text = include_str!("../shaders/shared/together.wgsl");
    assert!(text.contains(&format!("const KEPT = {}u;", EMULATED.groups_together(u64::MAX))), "{text}");
    assert_eq!((EMULATED.groups_together(63), DISCRETE.groups_together(u64::MAX)), (1, 1), "few, and a GPU's");
}
