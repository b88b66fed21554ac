//! What was compiled once, kept by the application for the next start.

use crate::rig::{Rig, rigs};
use wgpu_norm::gpu::{Gpu, Options};
use wgpu_norm::norm::{LayerNorm, Norm, Operands};
use wgpu_norm::{Dtype, Spec};

/// Prepares a plan, or nothing, with a cache that begins with this content, and gives what is in it then.
fn cache_after(rig: &Rig, data: Option<&[u8]>, prepares: bool) -> Vec<u8> {
    let (device, _) = pollster::block_on(rig.adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: wgpu_norm::gpu::optional_features(&rig.adapter) | wgpu::Features::PIPELINE_CACHE,
        required_limits: rig.adapter.limits(),
        ..Default::default()
    }))
    .expect("the adapter offers what is asked for");
    // SAFETY: the content comes from `get_data` of a cache of the same adapter.
    let cache =
        unsafe { device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor { label: None, data, fallback: true }) };
    let gpu = Gpu::with_pipeline_cache(&device, Some(cache.clone()));
    let plan = LayerNorm::new([96]).lower(&Operands::new(Spec::new([8, 96], Dtype::F32))).expect("fits");
    if prepares {
        gpu.prepare(&plan, &Options::default()).expect("prepares");
    }
    cache.get_data().expect("the backend keeps caches")
}

#[test]
fn a_cache_of_the_applications_own_is_filled_and_taken_again() {
    for rig in rigs() {
        if !rig.adapter.features().contains(wgpu::Features::PIPELINE_CACHE) {
            println!("{}: no pipeline caches", rig.name);
            continue;
        }
        let [empty, filled] = [false, true].map(|prepares| cache_after(&rig, None, prepares));
        let again = cache_after(&rig, Some(&filled), true);
        println!("{}: {} bytes, {} filled, {} again", rig.name, empty.len(), filled.len(), again.len());
        // Mesa's software driver keeps nothing but a header.
        assert!(!empty.is_empty() && filled.len() >= empty.len(), "{}: what was compiled is in the cache", rig.name);
        assert!(again.len() >= filled.len(), "{}: and is there again", rig.name);
    }
}
