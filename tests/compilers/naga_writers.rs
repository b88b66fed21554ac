//! naga's way from WGSL to each backend's language, with the options that wgpu-hal 30 gives it.

use crate::specialisations::Specialisation;
use crate::wgsl::{CORE, parse, validate};
use naga::back::pipeline_constants::process_overrides;
use naga::back::{PipelineConstants, glsl, hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo};
use naga::{AddressSpace, BuiltIn, Module, ResourceBinding, ShaderStage, StorageAccess};
use std::collections::BTreeSet;
use wgpu_norm::gpu::kernels::{Target, Variant};

/// A module without overrides, ready for a writer.
pub(crate) struct Ready {
    module: Module,
    info: ModuleInfo,
    needs_f16: bool,
    needs_subgroups: bool,
}

/// HLSL, and what DXC has to know of it.
pub(crate) struct Hlsl {
    pub(crate) source: String,
    pub(crate) entry_point: String,
    pub(crate) profile: &'static str,
    pub(crate) has_f16: bool,
}

/// What a variant says that it requires, and nothing else.
fn declared(variant: &Variant) -> Capabilities {
    let mut capabilities = CORE;
    capabilities.set(Capabilities::SHADER_FLOAT16, variant.needs_f16());
    capabilities.set(Capabilities::SUBGROUP, variant.needs_subgroups());
    capabilities
}

/// Parsed, valid with what its variant declares, overrides replaced by their values.
pub(crate) fn ready(one: &Specialisation) -> Result<Ready, String> {
    let module = parse(&one.linked(Target::Naga))?;
    let info = validate(&module, declared(&one.variant))?;
    let names = module.overrides.iter().filter_map(|(_, declared)| declared.name.as_deref());
    let values: PipelineConstants =
        names.filter_map(|name| Some((name.to_owned(), one.overrides.value(name)?))).collect();
    let needs = (one.variant.needs_f16(), one.variant.needs_subgroups());
    Ready::with_overrides(&module, &info, &values, needs)
}

/// A buffer of the module: where it is bound, and whether it is a uniform or may be written.
#[derive(Clone, Copy)]
struct Buffer {
    at: ResourceBinding,
    is_uniform: bool,
    is_written: bool,
}

impl Ready {
    /// A module that is no variant's, with the defaults of its overrides.
    pub(crate) fn of(source: &str) -> Result<Self, String> {
        let module = naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string(source))?;
        let info = validate(&module, CORE)?;
        Self::with_overrides(&module, &info, &PipelineConstants::default(), (false, false))
    }

    fn with_overrides(
        module: &Module,
        info: &ModuleInfo,
        values: &PipelineConstants,
        (needs_f16, needs_subgroups): (bool, bool),
    ) -> Result<Self, String> {
        let entry = &module.entry_points[0].name;
        let (module, info) = process_overrides(module, info, Some((ShaderStage::Compute, entry)), values)
            .map_err(|error| format!("overrides: {error}"))?;
        Ok(Self { module: module.into_owned(), info: info.into_owned(), needs_f16, needs_subgroups })
    }

    fn entry(&self) -> &str {
        &self.module.entry_points[0].name
    }

    /// The buffers that the entry point uses, as wgpu's automatic layout has them.
    fn buffers(&self) -> Vec<Buffer> {
        let info = self.info.get_entry_point(0);
        let used = self.module.global_variables.iter().filter(|(handle, _)| !info[*handle].is_empty());
        let mut buffers: Vec<Buffer> = used
            .filter_map(|(_, variable)| {
                let is_written = match variable.space {
                    AddressSpace::Storage { access } => access.contains(StorageAccess::STORE),
                    _ => false,
                };
                let is_uniform = variable.space == AddressSpace::Uniform;
                Some(Buffer { at: variable.binding?, is_uniform, is_written })
            })
            .collect();
        buffers.sort_by_key(|buffer| buffer.at);
        buffers
    }

    /// The numbers of the bindings that the entry point uses.
    pub(crate) fn bindings(&self) -> BTreeSet<u32> {
        self.buffers().iter().map(|buffer| buffer.at.binding).collect()
    }

    fn asks_for_the_number_of_workgroups(&self) -> bool {
        let arguments = &self.module.entry_points[0].function.arguments;
        arguments.iter().any(|a| a.binding == Some(naga::Binding::BuiltIn(BuiltIn::NumWorkGroups)))
    }

    /// SPIR-V 1.3 for Vulkan 1.1, or 1.6 for Vulkan 1.3.
    pub(crate) fn spirv(&self, newer: bool) -> Result<Vec<u32>, String> {
        let bind = |buffer: &Buffer| {
            let ResourceBinding { group, binding } = buffer.at;
            (buffer.at, spv::BindingInfo { descriptor_set: group, binding, binding_array_size: None })
        };
        let options = spv::Options {
            lang_version: if newer { (1, 6) } else { (1, 3) },
            flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
            capabilities: Some(self.spirv_capabilities()),
            binding_map: self.buffers().iter().map(bind).collect(),
            bounds_check_policies: BoundsCheckPolicies {
                index: BoundsCheckPolicy::Restrict,
                // As the adapter has robustBufferAccess2, or has not.
                buffer: if newer { BoundsCheckPolicy::Unchecked } else { BoundsCheckPolicy::Restrict },
                image_load: BoundsCheckPolicy::Restrict,
                binding_array: BoundsCheckPolicy::Unchecked,
            },
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: true,
            emit_int_div_checks: true,
            ..spv::Options::default()
        };
        let pipeline =
            spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: self.entry().to_owned() };
        spv::write_vec(&self.module, &self.info, &options, Some(&pipeline)).map_err(|error| format!("SPIR-V: {error}"))
    }

    fn spirv_capabilities(&self) -> naga::FastHashSet<spv::Capability> {
        use spv::Capability as Is;
        let always = [Is::Shader, Is::Matrix, Is::Sampled1D, Is::Image1D, Is::ImageQuery, Is::DerivativeControl];
        let of_subgroups = [
            Is::GroupNonUniform,
            Is::GroupNonUniformVote,
            Is::GroupNonUniformArithmetic,
            Is::GroupNonUniformBallot,
            Is::GroupNonUniformShuffle,
            Is::GroupNonUniformShuffleRelative,
            Is::GroupNonUniformQuad,
        ];
        let of_subgroups = of_subgroups.into_iter().filter(|_| self.needs_subgroups);
        let of_f16 = [Is::Float16].into_iter().filter(|_| self.needs_f16);
        always.into_iter().chain([Is::StorageImageExtendedFormats]).chain(of_subgroups).chain(of_f16).collect()
    }

    /// Metal's language, which no compiler outside Apple's takes.
    pub(crate) fn metal(&self) -> Result<String, String> {
        let buffers = self.buffers();
        let slots = (0_u8..).zip(&buffers);
        let bind = |(slot, buffer): (u8, &Buffer)| {
            let target = msl::BindTarget { buffer: Some(slot), mutable: buffer.is_written, ..Default::default() };
            (buffer.at, target)
        };
        let resources = msl::EntryPointResources {
            resources: slots.map(bind).collect(),
            immediates_buffer: None,
            sizes_buffer: u8::try_from(buffers.len()).ok(),
        };
        let policy = BoundsCheckPolicy::Restrict;
        let options = msl::Options {
            lang_version: (2, 4),
            per_entry_point_map: [(self.entry().to_owned(), resources)].into_iter().collect(),
            spirv_cross_compatibility: false,
            fake_missing_bindings: false,
            bounds_check_policies: BoundsCheckPolicies {
                index: policy,
                buffer: policy,
                image_load: policy,
                binding_array: BoundsCheckPolicy::Unchecked,
            },
            zero_initialize_workgroup_memory: false,
            force_loop_bounding: true,
            ..msl::Options::default()
        };
        let pipeline = msl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, self.entry().to_owned())),
            vertex_pulling_transform: true,
            ..Default::default()
        };
        let (source, info) = msl::write_string(&self.module, &self.info, &options, &pipeline)
            .map_err(|error| format!("MSL: {error}"))?;
        info.entry_point_names[0].as_ref().map_err(|error| format!("MSL: {error}"))?;
        Ok(source)
    }

    /// HLSL of the lowest shader model that serves: 6.0, or 6.2 for f16.
    pub(crate) fn hlsl(&self) -> Result<Hlsl, String> {
        let [mut constants, mut read, mut written] = [hlsl::BindTarget::default(); 3];
        let mut binding_map = hlsl::BindingMap::default();
        for buffer in self.buffers() {
            let next = match buffer {
                Buffer { is_uniform: true, .. } => &mut constants,
                Buffer { is_written: true, .. } => &mut written,
                _ => &mut read,
            };
            binding_map.insert(buffer.at, *next);
            next.register += 1;
        }
        let options = hlsl::Options {
            shader_model: if self.needs_f16 { hlsl::ShaderModel::V6_2 } else { hlsl::ShaderModel::V6_0 },
            binding_map,
            fake_missing_bindings: false,
            special_constants_binding: self.asks_for_the_number_of_workgroups().then_some(constants),
            zero_initialize_workgroup_memory: false,
            restrict_indexing: true,
            force_loop_bounding: true,
            ..hlsl::Options::default()
        };
        let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, self.entry().to_owned())) };
        let mut source = String::new();
        let mut info = hlsl::Writer::new(&mut source, &options, &pipeline)
            .write(&self.module, &self.info, None)
            .map_err(|error| format!("HLSL: {error}"))?;
        let entry_point = info.entry_point_names.remove(0).map_err(|error| format!("HLSL: {error}"))?;
        let profile = if self.needs_f16 { "cs_6_2" } else { "cs_6_0" };
        Ok(Hlsl { source, entry_point, profile, has_f16: self.needs_f16 })
    }

    /// GLSL ES 3.10; wgpu has neither f16 nor subgroups there.
    pub(crate) fn glsl(&self) -> Result<Option<String>, String> {
        if self.needs_f16 || self.needs_subgroups {
            return Ok(None);
        }
        let [mut uniforms, mut storage] = [0_u8; 2];
        let mut binding_map = glsl::BindingMap::default();
        for buffer in self.buffers() {
            let next = if buffer.is_uniform { &mut uniforms } else { &mut storage };
            binding_map.insert(buffer.at, *next);
            *next += 1;
        }
        let options = glsl::Options {
            version: glsl::Version::new_gles(310),
            writer_flags: glsl::WriterFlags::ADJUST_COORDINATE_SPACE | glsl::WriterFlags::FORCE_POINT_SIZE,
            binding_map,
            zero_initialize_workgroup_memory: false,
        };
        let pipeline = glsl::PipelineOptions {
            shader_stage: ShaderStage::Compute,
            entry_point: self.entry().to_owned(),
            multiview: None,
        };
        let policy = BoundsCheckPolicy::Unchecked;
        let policies = BoundsCheckPolicies { index: policy, buffer: policy, image_load: policy, binding_array: policy };
        let mut source = String::new();
        glsl::Writer::new(&mut source, &self.module, &self.info, &options, &pipeline, policies)
            .and_then(|mut writer| writer.write())
            .map_err(|error| format!("GLSL: {error}"))?;
        Ok(Some(source))
    }
}
