use super::Operands;
use crate::error::{Error, Result};
use crate::plan::{Affine, ParameterMap, Plan, Source, Statistic, View};

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
        let map = ParameterMap {
            len: view.count(),
            a_modulus: 1,
            a_scale: 0,
            b_scale: if view.b == 1 { 0 } else { view.d },
            c_scale: 0,
            d_divisor: 1,
        };
        let affine: Affine = operands.affine(&parameters, map)?;
        let source = Source::Input { running: None };
        Ok(Plan { dtype: operands.input.dtype, view, statistic, source, affine, eps: super::check_eps(eps)? })
    }
}
