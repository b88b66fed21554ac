use crate::tensor::Dtype;

/// What follows the normalization: `y = x_hat * weight[p] + bias[p]`, each factor optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Affine {
    /// The storage type of `weight`, if there is one.
    pub weight: Option<Dtype>,
    /// The storage type of `bias`, if there is one.
    pub bias: Option<Dtype>,
    /// Which parameter belongs to which element.
    pub map: ParameterMap,
}

/// Which parameter belongs to which element of a view.
///
/// ```text
/// p = (i_a % a_modulus) * a_scale + i_b * b_scale + i_c * c_scale + i_d / d_divisor
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterMap {
    /// Elements of `weight` and of `bias`.
    pub len: usize,
    /// Period of the outermost level; at least 1.
    pub a_modulus: usize,
    /// Parameters a step of the outermost level.
    pub a_scale: usize,
    /// Parameters a step of `b`.
    pub b_scale: usize,
    /// Parameters a step of `c`.
    pub c_scale: usize,
    /// Elements of `d` that share a parameter; at least 1.
    pub d_divisor: usize,
}

impl ParameterMap {
    /// The parameter of the element at `(a, b, c, d)`.
    #[must_use]
    pub fn index(&self, a: usize, b: usize, c: usize, d: usize) -> usize {
        (a % self.a_modulus) * self.a_scale + b * self.b_scale + c * self.c_scale + d / self.d_divisor
    }
}
