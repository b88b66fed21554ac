use super::element::Element;
use super::epilogue::{Epilogue, clip};
use super::gradient_columns::Wide;
use super::gradient_places::Places;
use super::past_caches::PastCaches;
use pulp::{Simd, WithSimd};

/// Columns of a tile at most.
pub(super) const TILE: usize = 1024;

/// Independent sums of neighbouring columns.
const LANES: usize = 8;

/// A tile's coefficients, and what is added up over its rows.
#[derive(Debug)]
pub(super) struct Workspace {
    pub(super) head: Vec<f32>,
    pub(super) tail: Vec<f32>,
    pub(super) rstd: Vec<f32>,
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    /// [`Through`](super::gradient_groups::Through), column by column.
    pub(super) through_mean: Vec<f32>,
    pub(super) through_variance: Vec<f32>,
    /// [`Folded`](super::gradient_element::Folded), column by column, and the columns that it does not stand for.
    pub(super) folded: [Vec<f32>; 3],
    pub(super) unfolded: Vec<usize>,
    pub(super) products: Vec<f32>,
    pub(super) gradients: Vec<f32>,
    pub(super) of_weight: Vec<f32>,
    pub(super) of_bias: Vec<f32>,
    /// Thresholds, and what they keep from the affine map.
    pub(super) tau: Vec<f32>,
    pub(super) of_tau: Vec<f32>,
    /// Sums of runs whose columns have parameters of their own.
    pub(super) places: Places,
    pub(super) past: Option<PastCaches>,
    /// Whether there are thresholds.
    pub(super) clips: bool,
    /// Several rows in f32.
    pub(super) wide_rows: Wide,
    wide: [Vec<f32>; 2],
    normalized: Vec<f32>,
    of_affine: Vec<f32>,
    clipped: Vec<f32>,
    results: Vec<f32>,
}

impl Workspace {
    /// For tiles of at most `len` columns.
    pub(super) fn new(len: usize, past: Option<PastCaches>) -> Self {
        let new = || vec![0.0; len];
        Self {
            head: new(),
            tail: new(),
            rstd: new(),
            weight: new(),
            bias: new(),
            through_mean: new(),
            through_variance: new(),
            folded: [new(), new(), new()],
            unfolded: Vec::new(),
            products: new(),
            gradients: new(),
            of_weight: new(),
            of_bias: new(),
            tau: new(),
            of_tau: new(),
            places: Places::default(),
            past,
            clips: false,
            wide_rows: Wide::new(len),
            wide: [new(), new()],
            normalized: new(),
            of_affine: new(),
            clipped: new(),
            results: new(),
        }
    }

    /// Finds the normalized values of a row of a tile and the gradients of the affine map's results.
    #[inline(always)]
    fn find<T: Element>(&mut self, x: &[T], upstream: &[T], epilogue: Epilogue) {
        let len = x.len();
        let [wide_x, wide_g] = &mut self.wide;
        let (x, g) = (T::read(x, wide_x), T::read(upstream, wide_g));
        let (head, tail, rstd) = (&self.head[..len], &self.tail[..len], &self.rstd[..len]);
        let normalized = &mut self.normalized[..len];
        for j in 0..len {
            normalized[j] = (x[j] - head[j] - tail[j]) * rstd[j];
        }
        let of_affine = &mut self.of_affine[..len];
        if epilogue.activation.is_none() && !self.clips {
            return of_affine.copy_from_slice(g);
        }
        of_affine.copy_from_slice(normalized);
        epilogue.round::<T>(of_affine);
        let (weight, bias) = (&self.weight[..len], &self.bias[..len]);
        for j in 0..len {
            of_affine[j] = of_affine[j] * weight[j] + bias[j];
        }
        if self.clips {
            let (tau, clipped) = (&self.tau[..len], &mut self.clipped[..len]);
            for j in 0..len {
                // A NaN is not above any threshold.
                clipped[j] = if of_affine[j] > tau[j] { 0.0 } else { 1.0 };
            }
            clip(of_affine, |j| tau[j]);
        }
        epilogue.slopes(of_affine);
        for j in 0..len {
            of_affine[j] *= g[j];
        }
        if self.clips {
            for (of_affine, clipped) in of_affine.iter_mut().zip(&mut self.clipped) {
                let passes = *clipped == 0.0;
                *clipped = if passes { 0.0 } else { *of_affine };
                *of_affine = if passes { *of_affine } else { 0.0 };
            }
        }
    }
}

/// Adds a row of a tile to its sums.
#[derive(Debug)]
pub(super) struct AddRow<'a, T> {
    pub(super) x: &'a [T],
    pub(super) upstream: &'a [T],
    pub(super) workspace: &'a mut Workspace,
    pub(super) epilogue: Epilogue,
    /// Whether there are parameters that want gradients.
    pub(super) parameters: bool,
}

impl<T: Element> WithSimd for AddRow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let len = self.x.len();
        self.workspace.find(self.x, self.upstream, self.epilogue);
        let w = self.workspace;
        let (normalized, of_affine, weight) = (&mut w.normalized[..len], &w.of_affine[..len], &w.weight[..len]);
        let (products, gradients) = (&mut w.products[..len], &mut w.gradients[..len]);
        for j in 0..len {
            let gradient = of_affine[j] * weight[j];
            gradients[j] += gradient;
            products[j] += gradient * normalized[j];
        }
        if w.clips {
            let (of_tau, clipped) = (&mut w.of_tau[..len], &w.clipped[..len]);
            for j in 0..len {
                of_tau[j] += clipped[j];
            }
        }
        if self.parameters {
            self.epilogue.round::<T>(normalized);
            let (of_weight, of_bias) = (&mut w.of_weight[..len], &mut w.of_bias[..len]);
            for j in 0..len {
                of_weight[j] += of_affine[j] * normalized[j];
                of_bias[j] += of_affine[j];
            }
        }
    }
}

/// Writes the gradient of a row of a tile.
#[derive(Debug)]
pub(super) struct WriteRow<'a, T> {
    pub(super) x: &'a [T],
    pub(super) upstream: &'a [T],
    /// What reaches the sum of input and residual by other ways.
    pub(super) inflow: Option<&'a [T]>,
    pub(super) output: &'a mut [T],
    /// Whether anything goes through the statistics: else values that are not finite reach no gradient that way.
    pub(super) through: bool,
    pub(super) workspace: &'a mut Workspace,
    pub(super) epilogue: Epilogue,
}

impl<T: Element> WithSimd for WriteRow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let len = self.x.len();
        self.workspace.find(self.x, self.upstream, self.epilogue);
        let w = self.workspace;
        let (normalized, of_affine) = (&w.normalized[..len], &w.of_affine[..len]);
        let (weight, rstd) = (&w.weight[..len], &w.rstd[..len]);
        let (mean, variance) = (&w.through_mean[..len], &w.through_variance[..len]);
        let past = w.past.as_ref();
        let results = &mut T::target(self.output, &mut w.results, past)[..len];
        if self.through {
            for j in 0..len {
                results[j] = (of_affine[j] * weight[j] - mean[j] - normalized[j] * variance[j]) * rstd[j];
            }
        } else {
            write_scaled(of_affine, 1.0, [weight, rstd], results);
        }
        add_inflow(self.inflow, results, &mut w.wide[0]);
        T::finish(self.output, &w.results, past);
    }
}

/// Gradients that nothing reaches through statistics.
#[inline(always)]
pub(super) fn write_scaled(g: &[f32], of_row: f32, [weight, rstd]: [&[f32]; 2], y: &mut [f32]) {
    for (((y, g), weight), rstd) in y.iter_mut().zip(g).zip(weight).zip(rstd) {
        *y = g * of_row * weight * rstd;
    }
}

/// Adds what reaches the sum of input and residual by other ways, where anything does.
#[inline(always)]
pub(super) fn add_inflow<T: Element>(inflow: Option<&[T]>, results: &mut [f32], buffer: &mut [f32]) {
    if let Some(inflow) = inflow {
        for (result, inflow) in results.iter_mut().zip(T::read(inflow, buffer)) {
            *result += inflow;
        }
    }
}

/// The sum of neighbouring columns, whose order their number alone fixes.
#[inline(always)]
pub(super) fn total(values: &[f32]) -> f64 {
    if let [one] = values {
        return f64::from(*one);
    }
    let mut lanes = [0f32; LANES];
    for chunk in values.chunks(LANES) {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().map(|&lane| f64::from(lane)).sum()
}
