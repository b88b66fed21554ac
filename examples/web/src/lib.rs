//! What the page asks for: tensors from pictures and files, engines on the GPU and the CPU, and what came out of them.

/// The command line's readers and its runner of conformance cases, which the page shares.
#[path = "../../../src/cli"]
#[allow(dead_code, reason = "the command line asks more of them")]
mod cli {
    pub(crate) mod attributes;
    pub(crate) mod case;
    pub(crate) mod compare;
    mod learned;
    pub(crate) mod memory;
    pub(crate) mod npy;
    mod place;
    mod ranks;
    mod safetensors_file;
}
mod normalizer;
mod pixels;
mod tensor;
mod timed;

/// Why something cannot be done, in words for a person. JavaScript catches it as a string.
type Outcome<T> = Result<T, String>;

fn in_words(error: wgpu_norm::Error) -> String {
    error.to_string()
}
