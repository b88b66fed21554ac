//! What becomes of NaN, infinities and subnormal numbers in a normalization: tried on small ones.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use wgpu_norm::norm::{BatchNorm, LayerNorm};
use wgpu_norm::{Data, Dtype, Engine, Parameters, Result, RunningStatistics, Tensor};

/// What was found out of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected true, false or a string")]
pub(in crate::cli) enum Property {
    Flag(bool),
    Words(String),
}

impl std::fmt::Display for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(true) => f.write_str("yes"),
            Self::Flag(false) => f.write_str("no"),
            Self::Words(words) => f.write_str(words),
        }
    }
}

/// Each property's key, and what it says where it is `yes`; in the order of the tables.
pub(super) const PROPERTIES: [(&str, &str); 20] = [
    ("nan_fills_its_group", "norm: one NaN makes all of its group NaN"),
    ("nan_spares_other_groups", "norm: one NaN leaves other groups as they are"),
    ("infinity_fills_its_group", "norm: one infinity leaves its group nothing finite"),
    ("infinity_spares_other_groups", "norm: one infinity leaves other groups as they are"),
    ("norm_keeps_f32_subnormals", "norm: keeps subnormal f32 values"),
    ("norm_keeps_f16_subnormals", "norm: keeps subnormal f16 values"),
    ("norm_keeps_bf16_subnormals", "norm: keeps subnormal bf16 values"),
    ("nan_differs_from_itself", "arithmetic: NaN differs from itself"),
    ("nan_survives", "arithmetic: NaN survives sums and products"),
    ("select_keeps_nan", "arithmetic: x < 0 ? 0 : x keeps NaN"),
    ("min_with_nan", "arithmetic: min of a number and NaN"),
    ("max_with_nan", "arithmetic: max of a number and NaN"),
    ("reaches_infinity", "arithmetic: what is too large, and 1 / 0, is infinite"),
    ("infinities_cancel_to_nan", "arithmetic: inf - inf and inf * 0 are NaN"),
    ("infinity_less_itself_is_nan", "arithmetic: x - x is NaN where x is infinite"),
    ("loads_subnormals", "arithmetic: subnormals are kept when loaded"),
    ("takes_subnormals", "arithmetic: subnormals are kept as operands"),
    ("gives_subnormals", "arithmetic: subnormals are kept as results"),
    ("contracts", "arithmetic: a * b + c is rounded once"),
    ("fuses", "arithmetic: fma(a, b, c) is rounded once"),
];

/// Those that the library promises of every adapter.
pub(super) const PROMISED: [&str; 4] =
    ["nan_fills_its_group", "nan_spares_other_groups", "infinity_fills_its_group", "infinity_spares_other_groups"];

/// Everything that is found out of an engine.
pub(super) fn properties(engine: &Engine) -> Result<BTreeMap<String, Property>> {
    let mut found = BTreeMap::new();
    let mut add = |key: &str, property| found.insert(key.to_owned(), property);
    for (name, bad) in [("nan", f32::NAN), ("infinity", f32::INFINITY)] {
        let poison = Poison::of(engine, bad)?;
        add(&format!("{name}_fills_its_group"), Property::Flag(poison.fills_its_group));
        add(&format!("{name}_spares_other_groups"), Property::Flag(poison.spares_others));
    }
    for dtype in Dtype::ALL {
        add(&format!("norm_keeps_{dtype}_subnormals"), Property::Flag(keeps_subnormals(engine, dtype)?));
    }
    let arithmetic = engine.arithmetic()?;
    for (key, holds) in [
        ("nan_differs_from_itself", arithmetic.nan_differs_from_itself),
        ("nan_survives", arithmetic.nan_survives),
        ("select_keeps_nan", arithmetic.select_keeps_nan),
        ("reaches_infinity", arithmetic.reaches_infinity),
        ("infinities_cancel_to_nan", arithmetic.infinities_cancel_to_nan),
        ("infinity_less_itself_is_nan", arithmetic.infinity_less_itself_is_nan),
        ("loads_subnormals", arithmetic.loads_subnormals),
        ("takes_subnormals", arithmetic.takes_subnormals),
        ("gives_subnormals", arithmetic.gives_subnormals),
        ("contracts", arithmetic.contracts),
        ("fuses", arithmetic.fuses),
    ] {
        add(key, Property::Flag(holds));
    }
    add("min_with_nan", Property::Words(arithmetic.min_with_nan.to_string()));
    add("max_with_nan", Property::Words(arithmetic.max_with_nan.to_string()));
    Ok(found)
}

/// What one value that is no finite number does to the groups of a tensor.
#[derive(Debug, PartialEq, Eq)]
struct Poison {
    fills_its_group: bool,
    spares_others: bool,
}

impl Poison {
    /// Tries short rows, long rows and columns: other kernels each.
    fn of(engine: &Engine, bad: f32) -> Result<Self> {
        let rows: fn(usize, usize) -> usize = |i, width| i / width;
        let columns: fn(usize, usize) -> usize = |i, width| i % width;
        let mut all = Self { fills_its_group: true, spares_others: true };
        for (shape, axis, group_of) in [([3, 8], 1, rows), ([3, 5000], 1, rows), ([512, 3], 0, columns)] {
            let one = Self::in_shape(engine, bad, (shape, axis), |i| group_of(i, shape[1]) == 1)?;
            all.fills_its_group &= one.fills_its_group;
            all.spares_others &= one.spares_others;
        }
        Ok(all)
    }

    /// One value of a group is hit, about in the middle of the tensor.
    fn in_shape(
        engine: &Engine,
        bad: f32,
        (shape, axis): ([usize; 2], isize),
        in_group: impl Fn(usize) -> bool,
    ) -> Result<Self> {
        let norm = LayerNorm::over_axes([axis]);
        let normalize = |values: Vec<f32>| -> Result<Vec<f32>> {
            let output = engine.forward(&norm, &Tensor::from_f32(shape, values)?, &mut Parameters::default())?;
            Ok(output.data().to_f32())
        };
        let mut values: Vec<f32> = (0u16..).map(|i| f32::from(i % 11 * 7 % 11)).take(shape[0] * shape[1]).collect();
        let clean = normalize(values.clone())?;
        let middle = (values.len() / 2..).find(|&i| in_group(i)).unwrap_or_default();
        values[middle] = bad;
        let hit = normalize(values)?;
        let (own, others): (Vec<usize>, Vec<usize>) = (0..hit.len()).partition(|&i| in_group(i));
        Ok(Self {
            fills_its_group: own.into_iter().all(|i| hit[i].is_nan() || bad.is_infinite() && hit[i].is_infinite()),
            spares_others: others.into_iter().all(|i| hit[i].to_bits() == clean[i].to_bits()),
        })
    }
}

/// Whether a subnormal number comes out of a normalization that leaves every value as it is.
fn keeps_subnormals(engine: &Engine, dtype: Dtype) -> Result<bool> {
    let subnormal = match dtype {
        Dtype::F32 | Dtype::Bf16 => 2f64.powi(-130),
        Dtype::F16 => 2f64.powi(-20),
    };
    let mut running = RunningStatistics { mean: vec![0.0], var: vec![1.0], num_batches_tracked: None };
    let mut parameters = Parameters { running: Some(&mut running), ..Parameters::default() };
    let input = Tensor::new([2, 1], Data::from_f64(dtype, &[subnormal, -subnormal]))?;
    let output = engine.forward(&BatchNorm::new().training(false).eps(0.0), &input, &mut parameters)?;
    Ok(output.data() == input.data())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu_norm::Choice;

    #[test]
    fn every_property_has_words_and_is_found() {
        let engine = pollster::block_on(Engine::open(&Choice::Reference)).expect("always there");
        let found = properties(&engine).expect("found");
        let mut named: Vec<&str> = PROPERTIES.iter().map(|(key, _)| *key).collect();
        named.sort_unstable();
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), named);
    }

    /// Both promise what PyTorch does: a NaN stays in its group and in all of it, subnormal numbers are numbers.
    #[test]
    fn reference_and_cpu_keep_nan_in_its_group() {
        for choice in [Choice::Reference, Choice::Cpu] {
            let engine = pollster::block_on(Engine::open(&choice)).expect("always there");
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let poison = Poison::of(&engine, bad).expect("runs");
                assert_eq!(poison, Poison { fills_its_group: true, spares_others: true }, "{choice:?} {bad}");
            }
            for dtype in Dtype::ALL {
                assert!(keeps_subnormals(&engine, dtype).expect("runs"), "{choice:?} {dtype}");
            }
        }
    }
}
