use pulp::{Arch, Simd};

/// The widest vectors that the processor has.
#[cfg(not(test))]
pub(super) fn widest() -> Arch {
    Arch::new()
}

/// The same, or what a test says, of tensors that its thread normalizes.
#[cfg(test)]
pub(super) fn widest() -> Arch {
    WIDEST.get().unwrap_or_default()
}

#[cfg(test)]
thread_local! {
    /// What a test says.
    pub(super) static WIDEST: std::cell::Cell<Option<Arch>> = const { std::cell::Cell::new(None) };
}

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
