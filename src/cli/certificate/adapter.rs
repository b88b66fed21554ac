//! What an executor is, has and lacks, and how it computes.

use super::behaviour::properties;
use super::{Adapter, Described};
use crate::cli::adapters::{FEATURES, names};
use crate::cli::one_line;
use std::collections::BTreeMap;
use wgpu_norm::wgpu;
use wgpu_norm::{Choice, Engine};

impl Adapter {
    /// Computes a little on the engine to find out. `disabled` is what the engine was opened without.
    pub(in crate::cli) fn of((choice, disabled): (&Choice, wgpu::Features), engine: &Engine) -> Self {
        let name = engine.name();
        let (properties, fault) = match properties(engine) {
            Ok(properties) => (properties, None),
            Err(error) => (BTreeMap::new(), Some(one_line(&error.to_string()))),
        };
        let Choice::Adapter { adapter, .. } = choice else {
            let described = Described::host(name);
            let (features, lacks, limits) = Default::default();
            return Self { described, features, lacks, limits, properties, fault };
        };
        Self {
            described: Described::adapter(name, &adapter.get_info()),
            features: names((adapter.features() - disabled) & FEATURES),
            lacks: names(FEATURES - (adapter.features() - disabled)),
            limits: limits(adapter),
            properties,
            fault,
        }
    }
}

/// The limits that decide how tensors are cut and kernels laid out.
fn limits(adapter: &wgpu::Adapter) -> BTreeMap<String, u64> {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let mut named = vec![
        ("max_storage_buffer_binding_size", limits.max_storage_buffer_binding_size),
        ("max_buffer_size", limits.max_buffer_size),
        ("max_compute_workgroups_per_dimension", limits.max_compute_workgroups_per_dimension.into()),
        ("max_compute_invocations_per_workgroup", limits.max_compute_invocations_per_workgroup.into()),
        ("max_compute_workgroup_storage_size", limits.max_compute_workgroup_storage_size.into()),
        ("min_storage_buffer_offset_alignment", limits.min_storage_buffer_offset_alignment.into()),
    ];
    if adapter.features().contains(wgpu::Features::SUBGROUP) {
        named.push(("subgroup_min_size", info.subgroup_min_size.into()));
        named.push(("subgroup_max_size", info.subgroup_max_size.into()));
    }
    named.into_iter().map(|(name, limit)| (name.to_owned(), limit)).collect()
}
