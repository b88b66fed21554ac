//! A tensor that JavaScript holds.

use crate::cli::npy;
use crate::{Outcome, in_words, pixels};
use serde_json::json;
use wasm_bindgen::prelude::wasm_bindgen;
use wgpu_norm::{Data, Tensor};

/// Values that fit WebAssembly's 4 GiB with the output, the reference's in f64 and what comparing them takes.
const MOST_VALUES: usize = 1 << 26;

/// A tensor; it lives until JavaScript frees it.
#[wasm_bindgen]
pub struct HostTensor(pub(crate) Tensor);

#[wasm_bindgen]
impl HostTensor {
    /// The tensor in the bytes of a `.npy` file.
    #[wasm_bindgen(js_name = fromNpy)]
    pub fn from_npy(bytes: &[u8]) -> Outcome<Self> {
        let tensor = npy::read(bytes)?;
        match tensor.data().len() {
            0..=MOST_VALUES => Ok(Self(tensor)),
            more => {
                Err(format!("expected at most {MOST_VALUES} values, got {more}; the command line takes larger files"))
            }
        }
    }

    /// A picture's colours, from 0 to 1, as `[1, 3, height, width]`.
    #[wasm_bindgen(js_name = fromPixels)]
    pub fn from_pixels(rgba: &[u8], width: usize, height: usize) -> Outcome<Self> {
        let planes = pixels::planes(rgba, width, height)?;
        Tensor::new([1, 3, height, width], Data::F32(planes)).map(Self).map_err(in_words)
    }

    /// The picture again. What is `normalized` lies about 0 and is shown from three deviations below to three above.
    #[wasm_bindgen(js_name = toPixels)]
    pub fn to_pixels(&self, normalized: bool) -> Vec<u8> {
        pixels::rgba(&self.0.data().to_f32(), normalized)
    }

    /// The bytes of a `.npy` file.
    #[wasm_bindgen(js_name = toNpy)]
    pub fn to_npy(&self) -> Outcome<Vec<u8>> {
        let mut bytes = Vec::new();
        npy::write(&self.0, &mut bytes)?;
        Ok(bytes)
    }

    /// Shape, type, and mean, variance, least and largest value, as JSON. Numbers that JSON does not know are null.
    pub fn summary(&self) -> String {
        let values = self.0.data().to_f64();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let var = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        let (least, largest) =
            values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)));
        json!({
            "shape": self.0.shape(),
            "dtype": self.0.dtype().to_string(),
            "mean": mean,
            "variance": var,
            "least": least,
            "largest": largest,
        })
        .to_string()
    }
}
