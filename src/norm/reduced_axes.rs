use super::Operands;
use crate::error::{Error, Result};
use crate::plan::{Cells, Nesting, ParameterMap, Plan, Source, Statistic, StatisticMap, View};

/// The axes that a layer or RMS normalization reduces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReducedAxes {
    /// The last axes, which must have these lengths: PyTorch's `normalized_shape`.
    Last(Vec<usize>),
    /// These axes; a negative one counts from the end. Weight and bias have their lengths, in the
    /// order of the tensor.
    Axes(Vec<isize>),
}

impl ReducedAxes {
    /// Which axes of `shape` are reduced.
    fn mask(&self, shape: &[usize]) -> Result<Vec<bool>> {
        match self {
            Self::Last(normalized) => {
                let wrong = || Error::Shape {
                    argument: "input",
                    got: shape.to_vec(),
                    expected: format!("last axes {normalized:?}, the normalized_shape"),
                };
                if normalized.is_empty() {
                    return Err(Error::Value {
                        argument: "normalized_shape",
                        got: "[]".into(),
                        expected: "at least one axis".into(),
                    });
                }
                if !shape.ends_with(normalized) {
                    return Err(wrong());
                }
                let kept = shape.len() - normalized.len();
                Ok((0..shape.len()).map(|axis| axis >= kept).collect())
            }
            Self::Axes(axes) => {
                let mut mask = vec![false; shape.len()];
                for &axis in axes {
                    let index = if axis < 0 { axis.checked_add_unsigned(shape.len()) } else { Some(axis) };
                    let slot = index.and_then(|i| usize::try_from(i).ok()).and_then(|i| mask.get_mut(i));
                    match slot {
                        Some(reduced) if !*reduced => *reduced = true,
                        _ => {
                            return Err(Error::Value {
                                argument: "axes",
                                got: format!("{axes:?}"),
                                expected: format!(
                                    "different axes of input, which has {}, -1 being the last",
                                    shape.len()
                                ),
                            });
                        }
                    }
                }
                if axes.is_empty() {
                    return Err(Error::Value {
                        argument: "axes",
                        got: "[]".into(),
                        expected: "at least one axis".into(),
                    });
                }
                Ok(mask)
            }
        }
    }

    /// The plan of a normalization over these axes.
    pub(super) fn lower(&self, operands: &Operands, statistic: Statistic, eps: f64) -> Result<Plan> {
        operands.check_input()?;
        operands.no_running()?;
        let shape = &operands.input.shape;
        let mask = self.mask(shape)?;
        let view = View::collapse(shape, &mask)?;
        let parameters: Vec<usize> =
            shape.iter().zip(&mask).filter(|(_, reduced)| **reduced).map(|(&axis, _)| axis).collect();
        let samples = shape.first().copied().filter(|_| !mask[0]);
        let per_sample = samples.filter(|&n| operands.is_per_sample(&parameters, n));
        let view = match per_sample {
            Some(n) => by_sample(view, n, shape)?,
            None => view,
        };
        let shared = view.count();
        let map = ParameterMap {
            a_modulus: per_sample.unwrap_or(1).max(1),
            a_scale: if per_sample.is_some() { shared } else { 0 },
            b_scale: if view.b == 1 { 0 } else { view.d },
            d_divisor: 1,
            ..ParameterMap::constant(per_sample.unwrap_or(1).saturating_mul(shared))
        };
        let affine = operands.affine(&parameters, samples, map, cells(view, per_sample.is_some()))?;
        operands.plan(view, statistic, Source::Input { running: None }, affine, eps)
    }
}

/// The view with the samples alone as its outermost level.
fn by_sample(view: View, samples: usize, shape: &[usize]) -> Result<View> {
    if view.a == samples || view.elements() == 0 {
        return Ok(view);
    }
    if view.b == 1 && view.c == 1 {
        return Ok(View::new(samples, 1, view.a / samples, view.d));
    }
    Err(Error::Shape {
        argument: "axes",
        got: shape.to_vec(),
        expected: "reduced axes next to the samples, or last ones, since weight and bias have a row a sample".into(),
    })
}

/// The elements that differ in kept levels alone share a parameter.
fn cells(view: View, per_sample: bool) -> Cells {
    let View { a, b, c, d } = view;
    let none = StatisticMap::NONE;
    let (view, map) = if per_sample && b == 1 {
        (View::new(a, c, d, 1), StatisticMap { a_scale: c, b_scale: 1, ..none })
    } else if c == 1 && !per_sample {
        (View::new(1, a, b.saturating_mul(d), 1), StatisticMap { b_scale: 1, ..none })
    } else {
        let rows = a.saturating_mul(b);
        let map = StatisticMap { a_divisor: b.max(1), a_scale: c, ..none };
        if d == 1 {
            (View::new(rows, 1, 1, c), StatisticMap { d_scale: 1, ..map })
        } else {
            (View::new(rows, c, d, 1), StatisticMap { b_scale: 1, ..map })
        }
    };
    Cells { view, nesting: Nesting::Across(map) }
}
