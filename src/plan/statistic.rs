/// What is measured of the elements that share a statistic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// Mean and centred sum of squares.
    Centred,
    /// The sum of squares alone, about zero: RMS.
    Uncentred,
}
