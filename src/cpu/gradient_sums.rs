use super::gradient_parameters::Pair;
use std::ops::Range;

/// Some neighbouring sums of many.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    pub(super) first: usize,
    pub(super) pairs: Vec<Pair>,
}

/// All sums, added up in the order in which they come.
pub(super) fn merged<'s>(parts: impl Iterator<Item = &'s Sums>, len: usize) -> Vec<Pair> {
    let mut all = vec![[0.0; 2]; len];
    for part in parts {
        for (sum, more) in all[part.first..].iter_mut().zip(&part.pairs) {
            *sum = [sum[0] + more[0], sum[1] + more[1]];
        }
    }
    all
}

impl Sums {
    pub(super) fn add(&mut self, index: usize, pair: Pair) {
        self.reach(index..index + 1);
        let sum = &mut self.pairs[index - self.first];
        *sum = [sum[0] + pair[0], sum[1] + pair[1]];
    }

    pub(super) fn add_run(&mut self, first: usize, products: &[f32], gradients: &[f32]) {
        if self.pairs.is_empty() {
            self.first = first;
            let pairs = products.iter().zip(gradients).map(|(p, g)| [f64::from(*p), f64::from(*g)]);
            return self.pairs.extend(pairs);
        }
        self.reach(first..first + products.len());
        let sums = &mut self.pairs[first - self.first..];
        for ((sum, product), gradient) in sums.iter_mut().zip(products).zip(gradients) {
            *sum = [sum[0] + f64::from(*product), sum[1] + f64::from(*gradient)];
        }
    }

    /// Makes room for these sums.
    fn reach(&mut self, range: Range<usize>) {
        if self.pairs.is_empty() {
            self.first = range.start;
        }
        if range.start < self.first {
            let missing = self.first - range.start;
            self.pairs.splice(0..0, std::iter::repeat_n([0.0; 2], missing));
            self.first = range.start;
        }
        if range.end - self.first > self.pairs.len() {
            self.pairs.resize(range.end - self.first, [0.0; 2]);
        }
    }

    /// A sum; zeros where nothing was added.
    pub(super) fn get(&self, index: usize) -> Pair {
        self.pairs.get(index.wrapping_sub(self.first)).copied().unwrap_or_default()
    }
}
