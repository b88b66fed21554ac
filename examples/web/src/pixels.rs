//! Pictures as canvases hold them, and as tensors do.

use crate::Outcome;

/// Deviations from the mean that are shown as black and as white.
const SHOWN: f32 = 3.0;

/// The three colours one after the other, from 0 to 1.
pub(crate) fn planes(rgba: &[u8], width: usize, height: usize) -> Outcome<Vec<f32>> {
    let expected = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(4));
    if expected != Some(rgba.len()) {
        return Err(format!("picture: expected {width} times {height} pixels of 4 bytes, got {} bytes", rgba.len()));
    }
    let plane = |colour| rgba.chunks_exact(4).map(move |pixel: &[u8]| f32::from(pixel[colour]) / 255.0);
    Ok((0..3).flat_map(plane).collect())
}

/// The picture of three planes.
pub(crate) fn rgba(planes: &[f32], normalized: bool) -> Vec<u8> {
    let pixels = planes.len() / 3;
    let shown = |value: f32| if normalized { value / (2.0 * SHOWN) + 0.5 } else { value };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was clamped; a NaN becomes 0")]
    let byte = |value: f32| (shown(value).clamp(0.0, 1.0) * 255.0).round() as u8;
    let pixel = |i: usize| [byte(planes[i]), byte(planes[pixels + i]), byte(planes[2 * pixels + i]), 255];
    (0..pixels).flat_map(pixel).collect()
}
