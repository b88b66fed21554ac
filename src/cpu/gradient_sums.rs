use super::gradient_parameters::Pair;
use super::parallel;
use std::ops::Range;

/// Sums that are added up by one thread at a time.
const CHUNK: usize = 1024;

/// Fewer of all parts do not wake threads.
const SERIAL: usize = 16 * CHUNK;

/// Some neighbouring sums of many.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    pub(super) first: usize,
    pub(super) pairs: Vec<Pair>,
}

#[inline(always)]
pub(super) fn added(a: Pair, b: Pair) -> Pair {
    [a[0] + b[0], a[1] + b[1]]
}

/// All sums, added up in the order in which they come.
pub(super) fn merged<'s>(parts: impl Iterator<Item = &'s Sums>, len: usize, threads: usize) -> Vec<Pair> {
    let parts: Vec<&Sums> = parts.collect();
    let count: usize = parts.iter().map(|part| part.pairs.len()).sum();
    let mut all = vec![[0.0; 2]; len];
    parallel::each_chunk(if count < SERIAL { 1 } else { threads }, &mut all, CHUNK, |i, sums| {
        parts.iter().for_each(|part| part.add_to(i * CHUNK, sums));
    });
    all
}

impl Sums {
    pub(super) fn add(&mut self, index: usize, pair: Pair) {
        self.reach(index..index + 1);
        let sum = &mut self.pairs[index - self.first];
        *sum = added(*sum, pair);
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
            *sum = added(*sum, [f64::from(*product), f64::from(*gradient)]);
        }
    }

    /// Adds them to others, the first of which is number `first` of all.
    fn add_to(&self, first: usize, sums: &mut [Pair]) {
        let own = self.pairs.get(first.saturating_sub(self.first)..).unwrap_or_default();
        let others = sums.get_mut(self.first.saturating_sub(first)..).unwrap_or_default();
        others.iter_mut().zip(own).for_each(|(sum, more)| *sum = added(*sum, *more));
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
