use std::ops::Range;

/// A task's share of the output, piece by piece.
#[derive(Debug)]
pub(super) enum Pieces<'a, T> {
    /// Pieces that follow each other, of `stride` elements each; the last may be shorter.
    Adjacent { data: &'a mut [T], stride: usize },
    /// Pieces from everywhere.
    Scattered(Vec<&'a mut [T]>),
}

impl<T> Pieces<'_, T> {
    /// Elements `range` of piece `i`; of adjacent ones it may end in a later one.
    #[inline(always)]
    pub(super) fn get(&self, i: usize, range: Range<usize>) -> &[T] {
        match self {
            Self::Adjacent { data, stride } => &data[i * stride + range.start..i * stride + range.end],
            Self::Scattered(pieces) => &pieces[i][range],
        }
    }

    /// Elements `range` of piece `i`, to be overwritten.
    #[inline(always)]
    pub(super) fn get_mut(&mut self, i: usize, range: Range<usize>) -> &mut [T] {
        match self {
            Self::Adjacent { data, stride } => &mut data[i * *stride + range.start..i * *stride + range.end],
            Self::Scattered(pieces) => &mut pieces[i][range],
        }
    }
}

/// Cuts slabs of `rows` rows of `len` elements into bands of `width` columns; a band has one piece a row.
///
/// The bands come slab by slab, and in a slab from left to right.
pub(super) fn bands<T>(data: &mut [T], rows: usize, len: usize, width: usize) -> Vec<Pieces<'_, T>> {
    let mut all = Vec::new();
    for slab in data.chunks_mut(rows * len) {
        if width >= len {
            all.push(Pieces::Adjacent { data: slab, stride: len });
            continue;
        }
        let mut bands: Vec<Vec<&mut [T]>> = (0..len.div_ceil(width)).map(|_| Vec::with_capacity(rows)).collect();
        for row in slab.chunks_mut(len) {
            for (band, piece) in bands.iter_mut().zip(row.chunks_mut(width)) {
                band.push(piece);
            }
        }
        all.extend(bands.into_iter().map(Pieces::Scattered));
    }
    all
}
