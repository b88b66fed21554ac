//! The digits, read from the text that ships with the example.

/// Pixels of an image.
pub(crate) const PIXELS: usize = 64;
/// Kinds of digits.
pub(crate) const CLASSES: usize = 10;

/// Images and what they show.
#[derive(Debug, Clone, Default)]
pub(crate) struct Digits {
    /// Row by row, from 0 to 1.
    pub(crate) pixels: Vec<f32>,
    pub(crate) labels: Vec<usize>,
}

impl Digits {
    /// The training set and the test set, which is every fifth ten: most digits come in turns of ten.
    pub(crate) fn load() -> Result<(Self, Self), String> {
        let (mut train, mut test) = (Self::default(), Self::default());
        for (number, line) in include_str!("../data/digits.txt").lines().enumerate() {
            let wrong = || format!("digits.txt, line {}: expected a digit and {PIXELS} letters", number + 1);
            let (label, pixels) = line.split_once(' ').ok_or_else(wrong)?;
            let set = if number / 10 % 5 == 4 { &mut test } else { &mut train };
            set.labels.push(label.parse().ok().filter(|label| *label < CLASSES).ok_or_else(wrong)?);
            set.pixels.extend(pixels.bytes().map(|letter| f32::from(letter.wrapping_sub(b'a')) / 16.0));
            if pixels.len() != PIXELS {
                return Err(wrong());
            }
        }
        Ok((train, test))
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Batches of `size`, every image once, in an order that `epoch` fixes.
    pub(crate) fn batches(&self, size: usize, epoch: usize) -> Vec<Self> {
        let mut random = Random::new(epoch as u64 + 1);
        let mut order: Vec<usize> = (0..self.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, random.below(i + 1));
        }
        order.chunks(size).map(|some| self.pick(some)).collect()
    }

    fn pick(&self, indices: &[usize]) -> Self {
        Self {
            pixels: indices.iter().flat_map(|i| &self.pixels[i * PIXELS..(i + 1) * PIXELS]).copied().collect(),
            labels: indices.iter().map(|i| self.labels[*i]).collect(),
        }
    }
}

/// A small generator (xorshift), the same everywhere.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below a usize")]
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// From -1 to 1.
    #[expect(clippy::cast_possible_truncation, reason = "f32 is what the network computes in")]
    pub(crate) fn uniform(&mut self) -> f32 {
        (self.next() as f64 / (1u64 << 52) as f64 - 1.0) as f32
    }
}
