//! What the arithmetic of an engine does where neither WGSL nor every processor says the same.

use super::{Backend, Engine};
use crate::error::{Error, Result};
use crate::gpu::probe::probe;
use std::hint::black_box;

/// How an engine computes where adapters differ, found by computing on it. WGSL lets an adapter assume that NaN and
/// infinity do not occur, take a subnormal number for zero, and round a product once with the sum that it goes into.
///
/// That of the f64 reference is f64's, of every other engine f32's. It is the arithmetic of the adapter or processor
/// itself: what a normalization makes of such values is held by kernels that mind all of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arithmetic {
    /// Whether `x != x` holds of a NaN.
    pub nan_differs_from_itself: bool,
    /// Whether a sum and a product with NaN are NaN.
    pub nan_survives: bool,
    /// Whether `if x < 0 { 0 } else { x }`, which takes a NaN for no smaller number, keeps it.
    pub select_keeps_nan: bool,
    /// What `min` of a number and a NaN is.
    pub min_with_nan: WithNan,
    /// What `max` of a number and a NaN is.
    pub max_with_nan: WithNan,
    /// Whether a sum too large for the type, and a quotient by zero, are infinite.
    pub reaches_infinity: bool,
    /// Whether infinity less infinity, and infinity times zero, are NaN.
    pub infinities_cancel_to_nan: bool,
    /// Whether `x - x` is NaN where `x` is infinite. A compiler that takes it for zero does not ask what `x` is.
    pub infinity_less_itself_is_nan: bool,
    /// Whether a subnormal number is still itself after it was read.
    pub loads_subnormals: bool,
    /// Whether a subnormal operand counts as itself and not as zero.
    pub takes_subnormals: bool,
    /// Whether a subnormal result comes out as itself and not as zero.
    pub gives_subnormals: bool,
    /// Whether `a * b + c` is rounded once, although nobody asked for it.
    pub contracts: bool,
    /// Whether `fma(a, b, c)` is rounded once.
    pub fuses: bool,
}

/// What an operation on a number and a NaN gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WithNan {
    /// NaN, on whichever side it stands.
    Nan,
    /// The number, on whichever side the NaN stands.
    Number,
    /// The first operand.
    First,
    /// The second operand.
    Second,
    /// Something else.
    Neither,
}

impl Engine {
    /// Measures the arithmetic of what executes.
    ///
    /// ```
    /// let arithmetic = wgpu_norm::Engine::new()?.arithmetic()?;
    /// if !arithmetic.nan_survives {
    ///     println!("mind NaN in your own kernels on this adapter");
    /// }
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the device fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn arithmetic(&self) -> Result<Arithmetic> {
        pollster::block_on(self.arithmetic_async())
    }

    /// As [`arithmetic`](Self::arithmetic).
    ///
    /// # Errors
    ///
    /// As [`arithmetic`](Self::arithmetic).
    pub async fn arithmetic_async(&self) -> Result<Arithmetic> {
        let results = match &self.backend {
            Backend::Reference => in_f64(black_box(Operands::f64())),
            Backend::Cpu => in_f32(black_box(Operands::f32())).map(f64::from),
            Backend::Gpu { gpu, queue } => {
                let results = probe(gpu, queue, &Operands::f32().in_order(), RESULTS).await?;
                let results = results.into_iter().map(f64::from).collect::<Vec<_>>().try_into();
                results.map_err(|got: Vec<f64>| {
                    Error::Device(format!("expected {RESULTS} results of arithmetic, got {}", got.len()))
                })?
            }
        };
        Ok(Arithmetic::of(&results))
    }
}

/// The results, in the order of `probe.wgsl`.
#[derive(Debug, Clone, Copy)]
enum Probe {
    NanDiffers,
    NanPlusOne,
    NanTimesZero,
    NanSelected,
    MinOfNanFirst,
    MinOfNanSecond,
    MaxOfNanFirst,
    MaxOfNanSecond,
    Overflow,
    ByZero,
    InfinityLessInfinity,
    InfinityTimesZero,
    InfinityLessItself,
    Loaded,
    SubnormalTaken,
    SubnormalGiven,
    Contracted,
    Fused,
}

const RESULTS: usize = Probe::Fused as usize + 1;

/// The operands, in the order of `probe.wgsl`.
#[derive(Debug, Clone, Copy)]
struct Operands<T> {
    nan: T,
    zero: T,
    one: T,
    infinity: T,
    other_infinity: T,
    largest: T,
    subnormal: T,
    least_normal: T,
    half: T,
    large: T,
    /// The least number above 1.
    factor: T,
    /// Less the square of that, rounded: what remains of the square is what rounding took.
    minus_square: T,
}

macro_rules! operands_and_results {
    ($type:ident, $results:ident) => {
        impl Operands<$type> {
            const fn $type() -> Self {
                Self {
                    nan: $type::NAN,
                    zero: 0.0,
                    one: 1.0,
                    infinity: $type::INFINITY,
                    other_infinity: $type::INFINITY,
                    largest: $type::MAX,
                    subnormal: $type::MIN_POSITIVE / 16.0,
                    least_normal: $type::MIN_POSITIVE,
                    half: 0.5,
                    large: 1_048_576.0,
                    factor: 1.0 + $type::EPSILON,
                    minus_square: -1.0 - 2.0 * $type::EPSILON,
                }
            }
        }

        /// What the processor makes of the operands: as `probe.wgsl`, in Rust.
        fn $results(o: Operands<$type>) -> [$type; RESULTS] {
            [
                if o.nan != o.nan { o.one } else { o.zero },
                o.nan + o.one,
                o.nan * o.zero,
                if o.nan < o.zero { o.zero } else { o.nan },
                o.nan.min(o.one),
                o.one.min(o.nan),
                o.nan.max(o.one),
                o.one.max(o.nan),
                o.largest + o.largest,
                o.one / o.zero,
                o.infinity - o.other_infinity,
                o.infinity * o.zero,
                o.infinity - o.infinity,
                o.subnormal,
                o.subnormal * o.large,
                o.least_normal * o.half,
                o.factor * o.factor + o.minus_square,
                o.factor.mul_add(o.factor, o.minus_square),
            ]
        }
    };
}

operands_and_results!(f32, in_f32);
operands_and_results!(f64, in_f64);

impl Operands<f32> {
    fn in_order(&self) -> [f32; 12] {
        let [nan, zero, one, infinity] = [self.nan, self.zero, self.one, self.infinity];
        let [other_infinity, largest, subnormal] = [self.other_infinity, self.largest, self.subnormal];
        let [least_normal, half, large] = [self.least_normal, self.half, self.large];
        let [factor, minus_square] = [self.factor, self.minus_square];
        [nan, zero, one, infinity, other_infinity, largest, subnormal, least_normal, half, large, factor, minus_square]
    }
}

impl Arithmetic {
    fn of(results: &[f64; RESULTS]) -> Self {
        let result = |probe: Probe| results[probe as usize];
        let all = |probes: [Probe; 2], holds: fn(f64) -> bool| probes.into_iter().all(|probe| holds(result(probe)));
        Self {
            nan_differs_from_itself: result(Probe::NanDiffers) == 1.0,
            nan_survives: all([Probe::NanPlusOne, Probe::NanTimesZero], f64::is_nan),
            select_keeps_nan: result(Probe::NanSelected).is_nan(),
            min_with_nan: WithNan::of(result(Probe::MinOfNanFirst), result(Probe::MinOfNanSecond)),
            max_with_nan: WithNan::of(result(Probe::MaxOfNanFirst), result(Probe::MaxOfNanSecond)),
            reaches_infinity: all([Probe::Overflow, Probe::ByZero], |x| x == f64::INFINITY),
            infinities_cancel_to_nan: all([Probe::InfinityLessInfinity, Probe::InfinityTimesZero], f64::is_nan),
            infinity_less_itself_is_nan: result(Probe::InfinityLessItself).is_nan(),
            loads_subnormals: result(Probe::Loaded) != 0.0,
            takes_subnormals: result(Probe::SubnormalTaken) != 0.0,
            gives_subnormals: result(Probe::SubnormalGiven) != 0.0,
            contracts: result(Probe::Contracted) != 0.0,
            fuses: result(Probe::Fused) != 0.0,
        }
    }
}

impl WithNan {
    /// Of what a NaN and 1 gave in this order, and in the other.
    fn of(nan_first: f64, nan_second: f64) -> Self {
        let is_one = |x: f64| x == 1.0;
        match (nan_first, nan_second) {
            (first, second) if first.is_nan() && second.is_nan() => Self::Nan,
            (first, second) if is_one(first) && is_one(second) => Self::Number,
            (first, second) if first.is_nan() && is_one(second) => Self::First,
            (first, second) if is_one(first) && second.is_nan() => Self::Second,
            _ => Self::Neither,
        }
    }
}

impl std::fmt::Display for WithNan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nan => "NaN",
            Self::Number => "the number",
            Self::First => "the first operand",
            Self::Second => "the second operand",
            Self::Neither => "neither operand",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field set by the result that it is about, and by no other.
    #[test]
    fn each_property_follows_from_its_own_results() {
        let strict = Arithmetic::of(&in_f64(Operands::f64()));
        let changed = |probe: Probe, to: f64| {
            let mut results = in_f64(Operands::f64());
            results[probe as usize] = to;
            Arithmetic::of(&results)
        };
        let rows = [
            (Probe::NanDiffers, 0.0, Arithmetic { nan_differs_from_itself: false, ..strict }),
            (Probe::NanPlusOne, 1.0, Arithmetic { nan_survives: false, ..strict }),
            (Probe::NanTimesZero, 0.0, Arithmetic { nan_survives: false, ..strict }),
            (Probe::NanSelected, 0.0, Arithmetic { select_keeps_nan: false, ..strict }),
            (Probe::MinOfNanFirst, f64::NAN, Arithmetic { min_with_nan: WithNan::First, ..strict }),
            (Probe::MinOfNanSecond, f64::NAN, Arithmetic { min_with_nan: WithNan::Second, ..strict }),
            (Probe::MaxOfNanFirst, 7.0, Arithmetic { max_with_nan: WithNan::Neither, ..strict }),
            (Probe::MaxOfNanSecond, f64::NAN, Arithmetic { max_with_nan: WithNan::Second, ..strict }),
            (Probe::Overflow, f64::MAX, Arithmetic { reaches_infinity: false, ..strict }),
            (Probe::ByZero, 0.0, Arithmetic { reaches_infinity: false, ..strict }),
            (Probe::InfinityLessInfinity, 0.0, Arithmetic { infinities_cancel_to_nan: false, ..strict }),
            (Probe::InfinityTimesZero, 0.0, Arithmetic { infinities_cancel_to_nan: false, ..strict }),
            (Probe::InfinityLessItself, 0.0, Arithmetic { infinity_less_itself_is_nan: false, ..strict }),
            (Probe::Loaded, 0.0, Arithmetic { loads_subnormals: false, ..strict }),
            (Probe::SubnormalTaken, 0.0, Arithmetic { takes_subnormals: false, ..strict }),
            (Probe::SubnormalGiven, 0.0, Arithmetic { gives_subnormals: false, ..strict }),
            (Probe::Contracted, 1e-14, Arithmetic { contracts: true, ..strict }),
            (Probe::Fused, 0.0, Arithmetic { fuses: false, ..strict }),
        ];
        assert_eq!(rows.len(), RESULTS);
        for (probe, to, want) in rows {
            assert_ne!(want, strict, "{probe:?}");
            assert_eq!(changed(probe, to), want, "{probe:?} = {to}");
        }
    }

    /// Rust's own promises: IEEE 754 without contraction, `min` and `max` that prefer the number.
    #[test]
    fn the_processor_computes_as_rust_promises() {
        let want = Arithmetic {
            nan_differs_from_itself: true,
            nan_survives: true,
            select_keeps_nan: true,
            min_with_nan: WithNan::Number,
            max_with_nan: WithNan::Number,
            reaches_infinity: true,
            infinities_cancel_to_nan: true,
            infinity_less_itself_is_nan: true,
            loads_subnormals: true,
            takes_subnormals: true,
            gives_subnormals: true,
            contracts: false,
            fuses: true,
        };
        assert_eq!(Arithmetic::of(&in_f32(black_box(Operands::f32())).map(f64::from)), want);
        assert_eq!(Arithmetic::of(&in_f64(black_box(Operands::f64()))), want);
    }

    #[test]
    fn the_shader_gives_as_many_results_of_as_many_operands() {
        let shader = include_str!("../gpu/probe.wgsl");
        assert_eq!(shader.matches("results[").count(), RESULTS);
        assert_eq!(shader.matches(": f32,").count(), Operands::f32().in_order().len());
        for (name, place) in [("largest + o.largest", Probe::Overflow), ("fma(", Probe::Fused)] {
            let line = shader.lines().find(|line| line.contains(name)).expect(name);
            assert!(line.contains(&format!("results[{}]", place as usize)), "{line}");
        }
    }
}
