use pulp::Simd;

/// The first `len` numbers of each as vectors, and those that fill none.
///
/// A loop and no closure: what `array::map` calls is not inlined, so it would not be compiled for the processor's vectors.
#[inline(always)]
pub(super) fn vectors_and_rest<S: Simd, const N: usize>(
    all: [&[f32]; N],
    len: usize,
) -> ([&[S::f32s]; N], [&[f32]; N]) {
    let (mut vectors, mut rest) = ([&[][..]; N], [&[][..]; N]);
    for ((vectors, rest), values) in vectors.iter_mut().zip(&mut rest).zip(all) {
        (*vectors, *rest) = S::as_simd_f32s(&values[..len]);
    }
    (vectors, rest)
}
