//! Wider vectors and narrower ones, and none: the same bits.

use super::past_caches::{all_cases, gradients};
use super::{Case, DTYPES};
use crate::cpu::vectors::WIDEST;
use crate::norm::LayerNorm;
use crate::tensor::Dtype;
use pulp::Arch;

/// What kernels are compiled for, as far as this processor runs it.
fn all_vectors() -> Vec<Arch> {
    #[cfg(target_arch = "x86_64")]
    let wide = [pulp::x86::V3::try_new().map(Arch::V3), pulp::x86::V4::try_new().map(Arch::V4)];
    #[cfg(not(target_arch = "x86_64"))]
    let wide = [Some(Arch::new())];
    std::iter::once(Arch::Scalar).chain(wide.into_iter().flatten()).collect()
}

/// `f` with vectors no wider than these.
fn with<R>(vectors: Arch, f: impl FnOnce() -> R) -> R {
    WIDEST.set(Some(vectors));
    let result = f();
    WIDEST.set(None);
    result
}

/// Rows of every length for which there is something of its own, and of some others.
fn short_rows(dtype: Dtype) -> impl Iterator<Item = Case> {
    let lengths = (1..35).chain([48, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 511, 513]);
    lengths.map(move |len| Case::new(&LayerNorm::new([len]), &[37, len], dtype, 3.0, Some(&[len])))
}

#[test]
fn vectors_change_no_bit() {
    let all = all_vectors();
    // A processor without AVX2 or NEON has nothing to compare, and says so.
    assert!(
        all.len() > 1 || cfg!(not(any(target_arch = "x86_64", target_arch = "aarch64"))),
        "only {all:?} to compare"
    );
    for case in DTYPES.into_iter().flat_map(|dtype| all_cases(dtype).into_iter().chain(short_rows(dtype))) {
        let (output, gradient) = with(Arch::Scalar, || (case.run(), gradients(&case)));
        for vectors in &all[1..] {
            let wide = with(*vectors, || (case.run(), gradients(&case)));
            assert!(output == wide.0, "{} by {vectors:?}: the output's bits", case.name);
            assert!(gradient == wide.1, "{} by {vectors:?}: the gradients' bits", case.name);
        }
    }
}
