use super::View;
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
    /// Which elements share a parameter, for the parameters' gradients.
    pub cells: Cells,
}

/// Which parameter belongs to which element of a view.
///
/// ```text
/// p = (i_a % a_modulus) * a_scale + (i_b / b_divisor) * b_scale + i_c * c_scale + i_d / d_divisor
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterMap {
    /// Elements of `weight` and of `bias`.
    pub len: usize,
    /// Period of the outermost level; at least 1.
    pub a_modulus: usize,
    /// Parameters a step of the outermost level.
    pub a_scale: usize,
    /// Steps of `b` that share a parameter; at least 1.
    pub b_divisor: usize,
    /// Parameters a step of `b`.
    pub b_scale: usize,
    /// Parameters a step of `c`.
    pub c_scale: usize,
    /// Elements of `d` that share a parameter; at least 1.
    pub d_divisor: usize,
}

impl ParameterMap {
    /// Sends every element to the first of `len` parameters.
    #[must_use]
    pub const fn constant(len: usize) -> Self {
        Self { len, a_modulus: 1, a_scale: 0, b_divisor: 1, b_scale: 0, c_scale: 0, d_divisor: usize::MAX }
    }

    /// The parameter of the element at `(a, b, c, d)`.
    #[must_use]
    pub fn index(&self, a: usize, b: usize, c: usize, d: usize) -> usize {
        (a % self.a_modulus) * self.a_scale + b / self.b_divisor * self.b_scale + c * self.c_scale + d / self.d_divisor
    }
}

/// The tensor divided into cells: elements that share a parameter, which is `cell % len`.
///
/// Cell `i_a * c + i_c` of `view` covers the elements that a statistic of that view would. Sums over cells are
/// what the gradients of parameters are made of, and, where cells lie within groups, that of the input too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cells {
    /// The tensor once more as keep, reduce, keep, reduce.
    pub view: View,
    /// How cells and the groups that share a statistic lie to each other.
    pub nesting: Nesting,
}

/// How cells and the groups that share a statistic lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nesting {
    /// A cell is a group: statistic `cell`.
    Equal,
    /// A group is so many neighbouring cells: statistic `cell / n`.
    Neighbours(usize),
    /// A group is every n-th cell: statistic `cell % n`.
    Repeated(usize),
    /// A cell has elements of many groups.
    Across(StatisticMap),
}

/// Which statistic belongs to which element of a view of cells.
///
/// ```text
/// s = (i_a / a_divisor % a_modulus) * a_scale + i_b * b_scale + i_c / c_divisor * c_scale + i_d * d_scale
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatisticMap {
    /// Steps of the outermost level that share a statistic; at least 1.
    pub a_divisor: usize,
    /// Period of the outermost level; at least 1.
    pub a_modulus: usize,
    /// Statistics a step of the outermost level.
    pub a_scale: usize,
    /// Statistics a step of `b`.
    pub b_scale: usize,
    /// Steps of `c` that share a statistic; at least 1.
    pub c_divisor: usize,
    /// Statistics a step of `c`.
    pub c_scale: usize,
    /// Statistics a step of `d`.
    pub d_scale: usize,
}

impl StatisticMap {
    /// Sends every element to statistic 0: what maps are built from.
    pub const NONE: Self =
        Self { a_divisor: 1, a_modulus: usize::MAX, a_scale: 0, b_scale: 0, c_divisor: 1, c_scale: 0, d_scale: 0 };

    /// The statistic of the element at `(a, b, c, d)`.
    #[must_use]
    pub fn index(&self, a: usize, b: usize, c: usize, d: usize) -> usize {
        a / self.a_divisor % self.a_modulus * self.a_scale
            + b * self.b_scale
            + c / self.c_divisor * self.c_scale
            + d * self.d_scale
    }
}

impl Cells {
    /// Cells that are the groups of a view.
    #[must_use]
    pub const fn groups(view: View) -> Self {
        Self { view, nesting: Nesting::Equal }
    }

    /// Which statistic belongs to which element of [`view`](Self::view).
    #[must_use]
    pub fn statistics(&self) -> StatisticMap {
        let c = self.view.c;
        let none = StatisticMap::NONE;
        match self.nesting {
            Nesting::Equal => StatisticMap { a_scale: c, c_scale: 1, ..none },
            Nesting::Neighbours(n) if c == 1 => StatisticMap { a_divisor: n.max(1), a_scale: 1, ..none },
            Nesting::Neighbours(n) => {
                let n = n.max(1);
                StatisticMap { a_scale: c / n, c_divisor: n, c_scale: 1, ..none }
            }
            Nesting::Repeated(n) if c == 1 => StatisticMap { a_modulus: n.max(1), a_scale: 1, ..none },
            Nesting::Repeated(_) => StatisticMap { c_scale: 1, ..none },
            Nesting::Across(map) => map,
        }
    }
}
