//! The CPU backend against itself: bits that nothing but a group's own values may change.

use super::{Case, noise};
use crate::cpu::ahead::pays;
use crate::cpu::rows::to_next_group;
use crate::norm::{BatchGroupNorm, BatchNorm, LayerNorm};
use crate::plan::View;
use crate::tensor::{Data, Dtype};
use half::f16;

/// Pools of one thread and of three.
struct Pools([rayon::ThreadPool; 2]);

impl Pools {
    fn new() -> Self {
        Self([1, 3].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool starts")))
    }

    /// The values normalized, on one thread, on three and in place.
    fn run(&self, view: View, values: &[f64], dtype: Dtype) -> Vec<f64> {
        let mut case = Case::new(&LayerNorm::new([1]), &[1, 1], dtype, 0.0, None);
        (case.plan.view, case.plan.dtype) = (view, dtype);
        case.input = Data::from_f64(dtype, values);
        let [one, three] = self.0.each_ref().map(|pool| pool.install(|| case.run().0));
        assert!(one == three && one == case.run_in_place().0, "{view:?}: threads change no bit");
        one.to_f64()
    }

    /// Checks that `own` values have the bits that they have `alone` at some places of `(a, c)` among others.
    fn check(&self, view: View, places: [(usize, usize); 3], own: &[f64], alone: &[f64], dtype: Dtype) {
        let View { b, c, d, .. } = view;
        let mut values = noise(view.elements(), -1.0, 7);
        let index = |(i_a, i_c), i| ((i_a * b + i / d) * c + i_c) * d + i % d;
        for place in places {
            (0..own.len()).for_each(|i| values[index(place, i)] = own[i]);
        }
        let together = self.run(view, &values, dtype);
        for place in places {
            let same = (0..own.len()).all(|i| together[index(place, i)].to_bits() == alone[i].to_bits());
            assert!(same, "{view:?} {dtype} at {place:?}: the bits are those of the group alone");
        }
    }
}

#[test]
fn one_channel_by_given_statistics_has_the_same_bits_alone_and_among_others() {
    let norm = BatchNorm::new().training(false);
    for positions in [1, 9] {
        let of = |samples| Case::tracked(&norm, &[samples, 1, positions], Dtype::F32, 3.3, Some(&[1]), Some(1));
        let (many, mut one) = (of(50), of(1));
        let (inputs, among) = (many.input.to_f32(), many.run().0.to_f32());
        for (input, among) in inputs.chunks(positions).zip(among.chunks(positions)) {
            one.input = Data::F32(input.to_vec());
            assert_eq!(one.run().0.to_f32(), among, "{positions} positions");
        }
    }
}

/// Runs of values that have parameters of their own go by columns among others, and by rows alone.
#[test]
fn runs_by_given_statistics_have_the_same_bits_alone_and_among_others() {
    for (groups, channels, positions) in [(1, 4, 1), (1, 30, 1), (2, 80, 1), (3, 64, 3), (7, 40, 7), (3, 6, 4)] {
        let norm = BatchGroupNorm::new(groups).batch(BatchNorm::new().training(false));
        let of = |samples| {
            let shape = [samples, channels, positions];
            Case::tracked(&norm, &shape, Dtype::F32, 3.3, Some(&[channels]), Some(groups))
        };
        let (many, mut one) = (of(8), of(1));
        let (inputs, among) = (many.input.to_f32(), many.run().0.to_f32());
        let sample = channels * positions;
        for (input, among) in inputs.chunks(sample).zip(among.chunks(sample)) {
            one.input = Data::F32(input.to_vec());
            assert_eq!(one.run().0.to_f32(), among, "{groups} groups of {channels} channels at {positions} positions");
        }
    }
}

/// A view with `n` times as many rows, and as many columns, has the bits of one alone.
#[test]
fn neighbours_and_threads_change_no_bit() {
    let pools = Pools::new();
    let runs = [
        (1, 1),
        (1, 2),
        (1, 3),
        (1, 5),
        (1, 4),
        (1, 8),
        (1, 9),
        (1, 16),
        (1, 17),
        (1, 31),
        (1, 32),
        (1, 33),
        (1, 64),
        (1, 65),
        (1, 128),
        (1, 129),
        (1, 512),
        (1, 513),
        (1, 1024),
        (1, 1025),
        (40, 1),
        (300, 2),
        (300, 7),
        (5000, 1),
        (6, 16),
        (6, 33),
        (90, 700),
    ];
    for dtype in [Dtype::F32, Dtype::Bf16] {
        for (b, d) in runs {
            let own = noise(b * d, 3.0, 8);
            let alone = pools.run(View::new(1, b, 1, d), &own, dtype);
            for (a, c) in [(3, 1), (1, 3), (1, 71), (2, 130), (255, 1), (257, 1), (4096, 1), (70_000, 1)] {
                let view = View::new(a, b, c, d);
                if view.elements() > 700_000 {
                    continue;
                }
                pools.check(view, [(0, 0), (a / 2, c / 2), (a - 1, c - 1)], &own, &alone, dtype);
            }
        }
    }
}

#[test]
fn groups_whose_memory_is_asked_for_ahead_keep_their_bits() {
    let pools = Pools::new();
    for (b, d, groups) in [(1, 768, 1100), (1, 4097, 200), (3, 3001, 90), (2, 20_000, 40)] {
        for dtype in [Dtype::F32, Dtype::F16] {
            let groups = groups * 4 / dtype.size();
            let (view, threads) = (View::new(groups, b, 1, d), 3);
            let asks = if dtype == Dtype::F32 { pays::<f32>(view, threads) } else { pays::<f16>(view, threads) };
            assert!(
                asks || cfg!(not(target_arch = "x86_64")),
                "{view:?} {dtype}: memory is asked for ahead on a processor that can be asked"
            );
            let own = noise(b * d, 3.0, 8);
            let alone = pools.run(View::new(1, b, 1, d), &own, dtype);
            for view in [View::new(groups, b, 1, d), View::new(1, b, groups, d)] {
                let (a, c) = (view.a, view.c);
                pools.check(view, [(0, 0), (a / 2, c / 2), (a - 1, c - 1)], &own, &alone, dtype);
            }
        }
    }
}

/// Of short rows, some of which are a batch and some are not; of tensors whose memory is asked for ahead; and of long rows,
/// which are scaled segment by segment of all.
#[test]
fn rows_meet_their_own_parameters_in_any_batch() {
    let Pools([_, three]) = Pools::new();
    let short = [2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 31, 33, 64, 100, 129, 512, 513, 1000].map(|len| (37, len));
    for (rows, len) in short.into_iter().chain([(60_000, 20), (1100, 768), (200, 4097), (3, 300_001)]) {
        let norm = LayerNorm::new([len]);
        for dtype in [Dtype::F32, Dtype::Bf16] {
            let of = |rows| Case::new(&norm, &[rows, len], dtype, 3.3, Some(&[len]));
            let (many, mut one) = (of(rows), of(1));
            let (inputs, among) = (many.input.to_f64(), three.install(|| many.run()).0.to_f64());
            let in_place = three.install(|| many.run_in_place()).0.to_f64();
            assert!(in_place == among, "{rows} rows of {len} {dtype}: in place they have the same bits");
            for row in [0, rows / 2, rows - 1] {
                let elements = row * len..(row + 1) * len;
                one.input = Data::from_f64(dtype, &inputs[elements.clone()]);
                assert!(
                    one.run().0.to_f64() == among[elements],
                    "row {row} of {rows} of {len} {dtype}: the bits are those of it alone"
                );
            }
        }
    }
}

/// Zeros are not read where they stand for no bias, and added as if they had been.
#[test]
fn no_bias_is_a_bias_of_zeros() {
    for len in [7, 100, 200, 768, 4097, 40_000] {
        for dtype in [Dtype::F32, Dtype::Bf16] {
            let mut case = Case::new(&LayerNorm::new([len]), &[5, len], dtype, 0.0, Some(&[len]));
            case.bias = Some(Data::zeros(dtype, len));
            let zeros = case.run().0.to_f32();
            case.bias = None;
            let none = case.run().0.to_f32();
            let differs = zeros.iter().zip(&none).position(|(zeros, none)| zeros.to_bits() != none.to_bits());
            assert_eq!(differs, None, "{}", case.name);
        }
    }
}

#[test]
fn running_estimates_do_not_see_threads() {
    let Pools(pools) = Pools::new();
    for shape in [vec![70_000, 5], vec![8, 3, 90, 70], vec![700, 200]] {
        let case = Case::tracked(&BatchNorm::new(), &shape, Dtype::F32, 10.0, None, Some(shape[1]));
        let [one, three] = pools.each_ref().map(|pool| pool.install(|| case.run()));
        assert!(one == three, "{}: threads change no bit", case.name);
    }
}

#[test]
fn the_next_group_lies_where_its_elements_are() {
    for view in [View::new(3, 1, 4, 5), View::new(3, 2, 4, 5), View::new(3, 2, 1, 5), View::new(1, 7, 2, 5)] {
        let first = |group: usize| group / view.c * view.b * view.c * view.d + group % view.c * view.d;
        for group in 0..view.statistics() - 1 {
            let by = to_next_group(view, group % view.c);
            assert_eq!(first(group) + by, first(group + 1), "{view:?}: from group {group}");
        }
    }
}
