//! The engines that tests compare.

use wgpu_norm::{Choice, Engine};

/// The engine that says what is right, then every other that is here, without the adapters where
/// `WGPU_NORM_TEST_GPU=off`.
pub(crate) fn engines() -> Vec<Engine> {
    let off = std::env::var("WGPU_NORM_TEST_GPU").is_ok_and(|value| value == "off");
    let mut choices = pollster::block_on(Choice::all());
    choices.retain(|choice| !(off && matches!(choice, Choice::Adapter { .. })));
    // What the CPU did instead would say nothing about an adapter.
    let open = |choice| pollster::block_on(Engine::open(choice)).expect("it opens").without_fallback();
    choices.iter().map(open).collect()
}
