//! `wgpu-norm adapters`: what is here.

use super::{Failure, print, print_json};
use serde_json::{Value, json};
use wgpu_norm::Choice;
use wgpu_norm::wgpu;

/// The features that make a difference to a normalization, to its measurement, or to how soon it can begin.
pub(super) const FEATURES: wgpu::Features = wgpu::Features::SUBGROUP
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::TIMESTAMP_QUERY)
    .union(wgpu::Features::IMMEDIATES)
    .union(wgpu::Features::PIPELINE_CACHE);

pub(super) fn names(features: wgpu::Features) -> Vec<String> {
    features.iter_names().map(|(name, _)| name.to_owned()).collect()
}

/// What `adapters` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn adapters(arguments: &Arguments) -> Result<(), Failure> {
    let auto = pollster::block_on(Choice::auto())?.name();
    let choices = pollster::block_on(Choice::all());
    let described: Vec<Value> = choices.iter().map(|choice| describe(choice, &auto)).collect();
    if arguments.json {
        print_json(&json!({ "adapters": described }));
        return Ok(());
    }
    for one in &described {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let mark = if one["auto"] == json!(true) { "*" } else { " " };
        print(&format!("{mark} {:<48} {:<14} {}", text("name"), text("type"), text("driver")));
        if let Some(features) = one["features"].as_array() {
            let names: Vec<&str> = features.iter().filter_map(Value::as_str).collect();
            let subgroups = format!("subgroups of {} to {}", one["subgroup_min_size"], one["subgroup_max_size"]);
            print(&format!("    {}; {subgroups}; bindings up to {} MiB", names.join(", "), mebibytes(one)));
        }
    }
    print("* is what --adapter auto takes");
    if !choices.iter().any(|choice| matches!(choice, Choice::Adapter { .. })) {
        print("no GPU adapter: install a Vulkan driver (on Debian mesa-vulkan-drivers or the vendor's)");
    }
    Ok(())
}

fn mebibytes(one: &Value) -> u64 {
    one["max_storage_buffer_binding_size"].as_u64().unwrap_or(0) >> 20
}

fn describe(choice: &Choice, auto: &str) -> Value {
    let name = choice.name();
    let is_auto = name == auto;
    let Choice::Adapter { adapter, .. } = choice else {
        return json!({ "name": name, "type": "host", "auto": is_auto });
    };
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let features = names(adapter.features() & FEATURES);
    json!({
        "name": name,
        "auto": is_auto,
        "type": format!("{:?}", info.device_type),
        "backend": info.backend.to_string(),
        "driver": format!("{} {}", info.driver, info.driver_info).trim(),
        "features": features,
        "subgroup_min_size": info.subgroup_min_size,
        "subgroup_max_size": info.subgroup_max_size,
        "max_storage_buffer_binding_size": limits.max_storage_buffer_binding_size,
        "max_buffer_size": limits.max_buffer_size,
    })
}
