//! What goes to memory past the caches, and by whichever way: the same bits.

use super::{Case, DTYPES, cases, noise};
use crate::cpu::backward;
use crate::cpu::element::Element;
use crate::cpu::past_caches::{LEAST_BYTES, PastCaches, Writing::AsTheyCome};
use crate::cpu::results::Results;
use crate::norm::{BatchNorm, Fused, GroupNorm, LayerNorm, Norm, RmsNorm};
use crate::plan::{Activation, Arguments, GradientArguments, Gradients, Statistics, Wanted};
use crate::tensor::{Data, Dtype, Layout};
use half::f16;
use std::ops::Range;

/// Stores at every distance from a vector's beginning, and of every length that begins and ends amid one.
fn check_store<T: Element + PartialEq + std::fmt::Debug>(element: impl Fn(u8) -> T) {
    let from: Vec<T> = (0..80).map(&element).collect();
    for start in 0..20 {
        for len in 0..60 {
            let mut to = vec![element(255); 80];
            PastCaches::when(true).expect("it is wanted").store(&mut to[start..start + len], &from[..len]);
            let mut expected = vec![element(255); 80];
            expected[start..start + len].copy_from_slice(&from[..len]);
            assert_eq!(to, expected, "{len} elements from {start} on");
        }
    }
}

#[test]
fn what_is_stored_past_the_caches_is_where_it_belongs() {
    check_store(f32::from);
    check_store(|x| f16::from_f32(x.into()));
}

/// Results that are already there, of which every one must be asked for once and in order.
struct InOrder<'a> {
    from: &'a [f32],
    asked: &'a mut usize,
}

impl Results for InOrder<'_> {
    fn work_out(&mut self, at: Range<usize>, to: &mut [f32]) {
        assert_eq!(*self.asked, at.start, "after those before it");
        *self.asked = at.end;
        to.copy_from_slice(&self.from[at]);
    }
}

#[test]
fn what_is_stored_by_lines_is_where_it_belongs() {
    let from: Vec<f32> = (0..200u8).map(f32::from).collect();
    for (start, len) in (0..20).flat_map(|start| (0..100).map(move |len| (start, len))) {
        let (mut to, mut asked) = (vec![-1.0; 200], 0);
        let results = InOrder { from: &from, asked: &mut asked };
        PastCaches::when(true).expect("it is wanted").store_worked_out(&mut to[start..start + len], results);
        let mut expected = vec![-1.0; 200];
        expected[start..start + len].copy_from_slice(&from[..len]);
        assert_eq!(to, expected, "{len} elements from {start} on");
        assert_eq!(asked, len, "{len} elements from {start} on");
    }
}

/// `f` where every tensor goes past the caches whose runs are whole vectors.
fn past_caches<R>(f: impl FnOnce() -> R) -> R {
    LEAST_BYTES.set(Some(0));
    let result = f();
    LEAST_BYTES.set(None);
    result
}

/// Runs of every kind: rows short and long, a batch of them, few long rows, channels first and last.
pub(super) fn all_cases(dtype: Dtype) -> Vec<Case> {
    let mut all = cases(dtype, 3.0);
    let mut add = |norm: &dyn Norm, shape: &[usize], parameters: &[usize]| {
        all.push(Case::new(norm, shape, dtype, 3.0, Some(parameters)));
    };
    let short = [(100, 9), (70, 33), (70, 64), (70, 128), (37, 132), (40, 256), (19, 1024), (200, 768)];
    let long = [(9, 1028), (9, 3072), (5, 40_000)];
    for (rows, len) in short.into_iter().chain(long) {
        add(&LayerNorm::new([len]), &[rows, len], &[len]);
    }
    for side in [12, 20] {
        add(&GroupNorm::new(4), &[3, 16, side, side], &[16]);
    }
    for (layout, shape) in [(Layout::ChannelsFirst, [3, 16, 20, 12]), (Layout::ChannelsLast, [3, 20, 12, 16])] {
        all.push(Case::tracked(&BatchNorm::new().layout(layout), &shape, dtype, 3.0, Some(&[16]), Some(16)));
    }
    for activation in Activation::ALL {
        let rows = Fused::new(LayerNorm::new([70])).activation(activation);
        all.push(Case::new(&rows, &[40, 70], dtype, 0.0, Some(&[70])));
    }
    let rms = RmsNorm::new([512]);
    all.push(Case::new(&rms, &[50, 512], dtype, 3.0, None));
    all
}

pub(super) fn gradients(case: &Case) -> Gradients {
    let (mut statistics, mut running) = (Statistics::default(), case.running.clone());
    let mut output = Data::zeros(case.input.dtype(), case.input.len());
    let mut arguments = Arguments { statistics: Some(&mut statistics), ..case.arguments(&mut running) };
    super::execute(&case.plan, None, Some(&case.input), &mut arguments, &mut output).expect("nobody else is asked");
    let upstream = Data::from_f64(case.input.dtype(), &noise(case.input.len(), 0.5, 9));
    let arguments = GradientArguments {
        input: &case.input,
        grad_output: &upstream,
        grad_sum: None,
        statistics: &statistics,
        weight: case.weight.as_ref(),
        bias: case.bias.as_ref(),
        extra: Default::default(),
        labels: None,
        grad_mean: None,
        grad_std: None,
    };
    let mut gradients = Gradients::zeros(&case.plan, Wanted::all(&case.plan));
    backward(&case.plan, None, &arguments, &mut gradients).expect("nobody else is asked");
    gradients
}

#[test]
fn results_that_go_past_the_caches_keep_their_bits() {
    for case in DTYPES.into_iter().flat_map(all_cases) {
        let (usual, past) = (case.run(), past_caches(|| case.run()));
        assert!(usual == past, "{}: the output's bits", case.name);
    }
}

#[test]
fn gradients_that_go_past_the_caches_keep_their_bits() {
    for case in DTYPES.into_iter().flat_map(all_cases) {
        let (usual, past) = (gradients(&case), past_caches(|| gradients(&case)));
        assert!(usual == past, "{}: the gradients' bits", case.name);
    }
}

#[test]
fn only_long_runs_of_whole_vectors_in_tensors_that_no_cache_holds_go_past_them() {
    assert!(!PastCaches::pays::<f32>(1 << 12, 1 << 12, AsTheyCome), "16 KiB stay in a cache");
    let is_for = |element: bool| element == cfg!(target_arch = "x86_64");
    past_caches(|| {
        assert!(
            is_for(PastCaches::pays::<f32>(1 << 12, 64, AsTheyCome))
                && is_for(PastCaches::pays::<f16>(1 << 12, 128, AsTheyCome))
        );
        assert!(
            !PastCaches::pays::<f32>(1 << 12, 65, AsTheyCome) && !PastCaches::pays::<f16>(1 << 12, 132, AsTheyCome),
            "half a vector"
        );
        assert!(
            !PastCaches::pays::<f32>(1 << 12, 60, AsTheyCome) && !PastCaches::pays::<f16>(1 << 12, 120, AsTheyCome),
            "240 bytes"
        );
    });
}

/// Few long rows are taken in blocks, whose size the number of threads may say.
#[test]
fn threads_change_no_bit_of_few_long_rows_gradients() {
    let case = Case::new(&LayerNorm::new([40_000]), &[30, 40_000], Dtype::F32, 3.0, Some(&[40_000]));
    let [one, many] = [1, 20].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool starts");
        pool.install(|| gradients(&case))
    });
    assert!(one == many, "one thread and twenty");
}
