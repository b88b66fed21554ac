//! Linked shaders through naga's front end, faults traced to our own files.

use naga::Module;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use wgpu_norm::gpu::kernels::Linked;

/// What every device has: unpack2x16float is core WGSL, and naga lists it because Direct3D 11 lacks it.
pub(crate) const CORE: Capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;

pub(crate) fn parse(linked: &Linked) -> Result<Module, String> {
    naga::front::wgsl::parse_str(&linked.source).map_err(|error| {
        let line = error.location(&linked.source).map_or(0, |l| l.line_number as usize);
        format!("{:?}: {}", linked.origin(line), error.message())
    })
}

pub(crate) fn validate(module: &Module, capabilities: Capabilities) -> Result<ModuleInfo, String> {
    Validator::new(ValidationFlags::all(), capabilities).validate(module).map_err(|error| format!("{error:?}"))
}
