/// What is measured of the elements that share a statistic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// Mean and centred sum of squares, divided by the count.
    Centred,
    /// The same, divided by the count less one.
    Unbiased,
    /// The sum of squares alone, about zero: RMS.
    Uncentred,
}

impl Statistic {
    /// Whether the mean is taken away.
    #[must_use]
    pub fn is_centred(self) -> bool {
        self != Self::Uncentred
    }

    /// What the sum of squares of so many elements is divided by.
    #[must_use]
    pub fn divisor(self, count: f64) -> f64 {
        match self {
            Self::Centred | Self::Uncentred => count,
            Self::Unbiased => count - 1.0,
        }
    }
}
