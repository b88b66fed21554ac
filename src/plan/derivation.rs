//! Parameters of the affine map that are not the caller's own: picked by labels, repeated, or clipped below.

use super::{Extra, Plan};

/// How the parameters of the affine map are made from the caller's, where they are not the same.
///
/// Parameter `j` is in row `j / width` and belongs to column `j % width / repeat` of the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Derivation {
    /// Rows of parameters: samples, where labels pick one of the caller's for each, else 1.
    pub rows: usize,
    /// Parameters a row.
    pub width: usize,
    /// Neighbours in a row that share one of the caller's; at least 1.
    pub repeat: usize,
    /// What labels pick from.
    pub tables: Option<Tables>,
}

/// Tables with a row for each class, of which a sample's label picks one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// Rows.
    pub classes: usize,
    /// Whether `weight` and `bias` are the tables, rather than shared by all classes and followed by them.
    pub are_parameters: bool,
}

impl Derivation {
    /// The caller's columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.width / self.repeat
    }

    /// Values of the caller's `weight` and of its `bias`.
    #[must_use]
    pub fn parameter_len(&self) -> usize {
        match self.tables {
            Some(Tables { classes, are_parameters: true }) => classes.saturating_mul(self.columns()),
            _ => self.columns(),
        }
    }
}

/// The caller's parameters, in f64.
#[derive(Debug, Clone, Default)]
pub(crate) struct Own {
    pub(crate) weight: Option<Vec<f64>>,
    pub(crate) bias: Option<Vec<f64>>,
    pub(crate) extra: Extra<Option<Vec<f64>>>,
    /// Each within its table.
    pub(crate) labels: Vec<i64>,
}

/// The parameters of the affine map, in f64.
#[derive(Debug, Clone, Default)]
pub(crate) struct Derived {
    pub(crate) weight: Option<Vec<f64>>,
    pub(crate) bias: Option<Vec<f64>>,
    pub(crate) tau: Option<Vec<f64>>,
}

/// Sums over the elements that share a parameter of the affine map.
#[derive(Debug, Clone, Default)]
pub(crate) struct DerivedSums {
    /// Of gradients times normalized values.
    pub(crate) products: Vec<f64>,
    /// Of gradients.
    pub(crate) gradients: Vec<f64>,
    /// Of gradients that a threshold keeps from the affine map.
    pub(crate) clipped: Vec<f64>,
}

/// Shared parameters, and those of each class.
struct Split<'a> {
    weight: Option<&'a [f64]>,
    /// What is to be added to it.
    centre: f64,
    bias: Option<&'a [f64]>,
    class_weight: Option<&'a [f64]>,
    class_bias: Option<&'a [f64]>,
}

impl Split<'_> {
    /// The factor that all classes share.
    fn weight(&self, at: &Origin) -> f64 {
        self.weight.map_or(1.0, |weight| weight[at.column] + self.centre)
    }
}

/// Where a parameter of the affine map comes from.
struct Origin {
    column: usize,
    /// The place in a table.
    cell: usize,
}

impl Own {
    /// Whether there is a parameter.
    pub(crate) fn has_any(&self) -> bool {
        self.weight.is_some() || self.bias.is_some() || self.extra.any()
    }

    fn split(&self, plan: &Plan, derivation: &Derivation) -> Split<'_> {
        let (weight, bias) = (self.weight.as_deref(), self.bias.as_deref());
        let centre = if plan.is_made_with_one() { 1.0 } else { 0.0 };
        if derivation.tables.is_some_and(|tables| tables.are_parameters) {
            return Split { weight: None, centre, bias: None, class_weight: weight, class_bias: bias };
        }
        let (class_weight, class_bias) = (self.extra.class_weight.as_deref(), self.extra.class_bias.as_deref());
        Split { weight, centre, bias, class_weight, class_bias }
    }

    fn origin(&self, derivation: &Derivation, parameter: usize) -> Origin {
        let (row, column) = (parameter / derivation.width, parameter % derivation.width / derivation.repeat);
        let class = self.labels.get(row).and_then(|&label| usize::try_from(label).ok()).unwrap_or(0);
        Origin { column, cell: class * derivation.columns() + column }
    }

    /// The parameters of the affine map.
    pub(crate) fn derived(&self, plan: &Plan) -> Derived {
        let Some(derivation) = &plan.derivation else {
            return Derived { weight: self.weight.clone(), bias: self.bias.clone(), tau: None };
        };
        let split = self.split(plan, derivation);
        let origins = || (0..plan.affine.map.len).map(|j| self.origin(derivation, j));
        let class_weight = |at: &Origin| split.class_weight.map_or(1.0, |w| w[at.cell]);
        // No bias adds nothing, whatever it would meet.
        let bias = |at: &Origin| split.bias.map_or(0.0, |b| b[at.column] * class_weight(at));
        let class_bias = |at: &Origin| split.class_bias.map_or(0.0, |b| b[at.cell]);
        Derived {
            weight: plan.has_weight().then(|| origins().map(|at| split.weight(&at) * class_weight(&at)).collect()),
            bias: plan.has_bias().then(|| origins().map(|at| bias(&at) + class_bias(&at)).collect()),
            tau: self.extra.tau.as_ref().map(|tau| origins().map(|at| tau[at.column]).collect()),
        }
    }

    /// The gradients of the caller's parameters, from sums over what shares a parameter of the affine map.
    pub(crate) fn gradients(&self, plan: &Plan, sums: DerivedSums) -> Self {
        let Some(derivation) = &plan.derivation else {
            let (weight, bias) = (Some(sums.products), Some(sums.gradients));
            return Self { weight, bias, ..Self::default() };
        };
        let split = self.split(plan, derivation);
        let columns = derivation.columns();
        let cells = derivation.tables.map_or(0, |tables| tables.classes * columns);
        let (mut weight, mut bias, mut tau) = (vec![0.0; columns], vec![0.0; columns], vec![0.0; columns]);
        let (mut class_weight, mut class_bias) = (vec![0.0; cells], vec![0.0; cells]);
        for (j, (product, gradient)) in sums.products.iter().zip(&sums.gradients).enumerate() {
            let at = self.origin(derivation, j);
            let factor = split.class_weight.map_or(1.0, |w| w[at.cell]);
            weight[at.column] += factor * product;
            bias[at.column] += factor * gradient;
            if derivation.tables.is_some() {
                class_weight[at.cell] +=
                    split.weight(&at) * product + split.bias.map_or(0.0, |b| b[at.column] * gradient);
                class_bias[at.cell] += gradient;
            }
        }
        for (j, gradient) in sums.clipped.iter().enumerate() {
            tau[self.origin(derivation, j).column] += gradient;
        }
        let extra = Extra { tau: Some(tau), ..Extra::default() };
        if derivation.tables.is_some_and(|tables| tables.are_parameters) {
            return Self { weight: Some(class_weight), bias: Some(class_bias), extra, labels: Vec::new() };
        }
        let extra = Extra { class_weight: Some(class_weight), class_bias: Some(class_bias), ..extra };
        Self { weight: Some(weight), bias: Some(bias), extra, labels: Vec::new() }
    }
}
