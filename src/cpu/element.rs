use super::past_caches::PastCaches;
use crate::tensor::Data;
use bytemuck::Pod;
use half::{bf16, f16};

/// A storage type that blocks are widened from and narrowed to.
pub(super) trait Element: Pod + Send + Sync {
    /// Whether blocks are read and written where they are.
    const IS_F32: bool;

    /// Writes `from` in f32 to `to`, which is as long.
    fn widen(from: &[Self], to: &mut [f32]);

    /// `from` in f32: itself, or widened into `buffer`.
    fn read<'a>(from: &'a [Self], buffer: &'a mut [f32]) -> &'a [f32];

    /// Where f32 results for `to` go before [`finish`](Self::finish): itself, or `buffer`. It is the buffer for all that go
    /// `past` the caches.
    fn target<'a>(to: &'a mut [Self], buffer: &'a mut [f32], past: Option<&PastCaches>) -> &'a mut [f32];

    /// Where results go `past` the caches as they leave the registers: those that are not narrowed.
    fn straight<'a>(to: &'a mut [Self], past: Option<&'a PastCaches>) -> Option<(&'a mut [f32], &'a PastCaches)>;

    /// `x` as it is when it has been stored.
    fn rounded(x: f32) -> f32;

    /// The values of a tensor of this type.
    fn slice(data: &Data) -> Option<&[Self]>;

    /// The values of a tensor of this type, to be overwritten.
    fn slice_mut(data: &mut Data) -> Option<&mut [Self]>;

    /// Brings the results from [`target`](Self::target) into `to`, rounded to nearest, ties to even.
    fn finish(to: &mut [Self], buffer: &[f32], past: Option<&PastCaches>);
}

/// A block of the input in f32; where there is none, of `output`, which holds it until results take its place.
#[inline(always)]
pub(super) fn block_of<'a, T: Element>(input: Option<&'a [T]>, output: &[T], wide: &'a mut [f32]) -> &'a [f32] {
    if let Some(input) = input {
        return T::read(input, wide);
    }
    let wide = &mut wide[..output.len()];
    T::widen(output, wide);
    wide
}

impl Element for f32 {
    const IS_F32: bool = true;

    #[inline(always)]
    fn widen(from: &[Self], to: &mut [f32]) {
        to.copy_from_slice(from);
    }

    #[inline(always)]
    fn read<'a>(from: &'a [Self], _: &'a mut [f32]) -> &'a [f32] {
        from
    }

    #[inline(always)]
    fn target<'a>(to: &'a mut [Self], buffer: &'a mut [f32], past: Option<&PastCaches>) -> &'a mut [f32] {
        if past.is_some() { &mut buffer[..to.len()] } else { to }
    }

    #[inline(always)]
    fn straight<'a>(to: &'a mut [Self], past: Option<&'a PastCaches>) -> Option<(&'a mut [f32], &'a PastCaches)> {
        past.map(|past| (to, past))
    }

    #[inline(always)]
    fn slice(data: &Data) -> Option<&[Self]> {
        if let Data::F32(values) = data { Some(values) } else { None }
    }

    #[inline(always)]
    fn slice_mut(data: &mut Data) -> Option<&mut [Self]> {
        if let Data::F32(values) = data { Some(values) } else { None }
    }

    #[inline(always)]
    fn rounded(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn finish(to: &mut [Self], buffer: &[f32], past: Option<&PastCaches>) {
        if let Some(past) = past {
            past.store(to, &buffer[..to.len()]);
        }
    }
}

/// Elements that are narrowed before they go past the caches.
const NARROWED: usize = 128;

macro_rules! half_element {
    ($half:ty, $variant:ident, $widened:path, $narrowed:path) => {
        impl Element for $half {
            const IS_F32: bool = false;

            #[inline(always)]
            fn widen(from: &[Self], to: &mut [f32]) {
                for (to, from) in to.iter_mut().zip(from) {
                    *to = $widened(from.to_bits());
                }
            }

            #[inline(always)]
            fn read<'a>(from: &'a [Self], buffer: &'a mut [f32]) -> &'a [f32] {
                let wide = &mut buffer[..from.len()];
                Self::widen(from, wide);
                wide
            }

            #[inline(always)]
            fn target<'a>(to: &'a mut [Self], buffer: &'a mut [f32], _: Option<&PastCaches>) -> &'a mut [f32] {
                &mut buffer[..to.len()]
            }

            #[inline(always)]
            fn straight<'a>(_: &'a mut [Self], _: Option<&'a PastCaches>) -> Option<(&'a mut [f32], &'a PastCaches)> {
                None
            }

            #[inline(always)]
            fn slice(data: &Data) -> Option<&[Self]> {
                if let Data::$variant(values) = data { Some(values) } else { None }
            }

            #[inline(always)]
            fn slice_mut(data: &mut Data) -> Option<&mut [Self]> {
                if let Data::$variant(values) = data { Some(values) } else { None }
            }

            #[inline(always)]
            fn rounded(x: f32) -> f32 {
                $widened($narrowed(x))
            }

            #[inline(always)]
            fn finish(to: &mut [Self], buffer: &[f32], past: Option<&PastCaches>) {
                let narrow = |to: &mut [Self], from: &[f32]| {
                    for (to, from) in to.iter_mut().zip(from) {
                        *to = Self::from_bits($narrowed(*from));
                    }
                };
                let Some(past) = past else { return narrow(to, buffer) };
                for (to, from) in to.chunks_mut(NARROWED).zip(buffer.chunks(NARROWED)) {
                    let mut narrowed = [Self::ZERO; NARROWED];
                    narrow(&mut narrowed, from);
                    past.store(to, &narrowed[..to.len()]);
                }
            }
        }
    };
}

half_element!(f16, F16, widened_f16, narrowed_f16);
half_element!(bf16, Bf16, widened_bf16, narrowed_bf16);

// The conversions of `half` branch on every element, or call a function for every eight: a third of
// the speed of these, which the compiler turns into vectors of selects.

const SIGN: u32 = 0x8000_0000;
const INFINITY: u32 = 0x7f80_0000;

#[inline(always)]
fn widened_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[inline(always)]
fn narrowed_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let is_nan = bits & !SIGN > INFINITY;
    ((if is_nan { bits | 0x0040_0000 } else { rounded }) >> 16) as u16
}

#[inline(always)]
fn widened_f16(bits: u16) -> f32 {
    // Exponents are 112 apart; the product is exact, for subnormal numbers too.
    const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(bits);
    let magnitude = (f32::from_bits((bits & 0x7fff) << 13) * REBIAS).to_bits();
    let is_finite = bits & 0x7c00 != 0x7c00;
    f32::from_bits((bits & 0x8000) << 16 | if is_finite { magnitude } else { magnitude | INFINITY })
}

#[expect(clippy::cast_possible_truncation, reason = "every case fits 16 bits")]
#[inline(always)]
fn narrowed_f16(x: f32) -> u16 {
    const LEAST_NORMAL: u32 = (127 - 14) << 23;
    const OVERFLOW: u32 = (127 + 16) << 23;
    let sign = x.to_bits() & SIGN;
    let magnitude = x.to_bits() ^ sign;
    // Adding 1/2 shifts a subnormal number's digits to where they belong, and rounds them.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + (magnitude >> 13 & 1)) >> 13;
    let beyond = if magnitude > INFINITY { 0x7e00 } else { 0x7c00 };
    let finite = if magnitude < LEAST_NORMAL { subnormal } else { normal };
    (sign >> 16 | if magnitude < OVERFLOW { finite } else { beyond }) as u16
}

#[cfg(test)]
mod tests {
    use super::{narrowed_bf16, narrowed_f16, widened_bf16, widened_f16};
    use half::{bf16, f16};

    #[test]
    fn widening_is_that_of_half() {
        for bits in 0..=u16::MAX {
            let pairs = [
                (widened_f16(bits), f16::from_bits(bits).to_f32()),
                (widened_bf16(bits), bf16::from_bits(bits).to_f32()),
            ];
            for (got, expected) in pairs {
                assert!(got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan(), "{bits:#x}: {got}");
            }
        }
    }

    #[test]
    fn narrowing_is_that_of_half() {
        let all_exponents =
            (0..=u16::MAX).flat_map(|high| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| (high, low)));
        let more = (0..1u32 << 20).map(|i| i.wrapping_mul(4099));
        let bits = all_exponents.map(|(high, low): (u16, u32)| u32::from(high) << 16 | low).chain(more);
        for x in bits.map(f32::from_bits) {
            let (short, brain) = (f16::from_bits(narrowed_f16(x)), bf16::from_bits(narrowed_bf16(x)));
            assert!(short.to_bits() == f16::from_f32(x).to_bits() || short.is_nan() && x.is_nan(), "{x:e}: {short}");
            assert!(brain.to_bits() == bf16::from_f32(x).to_bits() || brain.is_nan() && x.is_nan(), "{x:e}: {brain}");
        }
    }
}
