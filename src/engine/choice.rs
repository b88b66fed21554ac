use crate::error::{Error, Result};
use std::cmp::Reverse;
use std::collections::HashMap;

/// Something that executes plans on this machine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Choice {
    /// The f64 reference.
    Reference,
    /// The processor.
    Cpu,
    /// A GPU, or what stands in for one.
    Adapter(wgpu::Adapter),
}

impl Choice {
    /// Everything on this machine: the reference, the CPU and every adapter that `WGPU_BACKEND` allows.
    pub async fn all() -> Vec<Self> {
        let mut all = vec![Self::Reference, Self::Cpu];
        all.extend(adapters().await.into_iter().map(Self::Adapter));
        all
    }

    /// The best GPU, or the CPU where there is none.
    ///
    /// A software rasterizer counts as a GPU only where `WGPU_ADAPTER_NAME` or `WGPU_BACKEND` asks for
    /// it: the CPU backend is faster than a processor that emulates a GPU.
    ///
    /// # Errors
    ///
    /// When no adapter has the name in `WGPU_ADAPTER_NAME`.
    pub async fn auto() -> Result<Self> {
        let mut adapters = adapters().await;
        let wanted = std::env::var("WGPU_ADAPTER_NAME").ok().filter(|wanted| !wanted.trim().is_empty());
        let best = if let Some(wanted) = wanted {
            named(adapters, &wanted, "")?
        } else {
            if wgpu::Backends::from_env().is_none() {
                adapters.retain(|adapter| adapter.get_info().device_type != wgpu::DeviceType::Cpu);
            }
            best_first(adapters)
        };
        Ok(best.into_iter().next().map_or(Self::Cpu, Self::Adapter))
    }

    /// What a name stands for: `auto`, `all`, `cpu`, `reference`, or part of an adapter's name. Of several that have it the
    /// best comes first. Among all adapters, the second of two cards of one make has the name with ` #2` at its end.
    ///
    /// # Errors
    ///
    /// When no adapter's name contains it, or it is empty.
    pub async fn named(name: &str) -> Result<Vec<Self>> {
        match name {
            "auto" => Ok(vec![Self::auto().await?]),
            "all" => Ok(Self::all().await),
            "cpu" => Ok(vec![Self::Cpu]),
            "reference" => Ok(vec![Self::Reference]),
            part => Ok(named(adapters().await, part, "auto, all, cpu, reference, ")?
                .into_iter()
                .map(Self::Adapter)
                .collect()),
        }
    }

    /// The names of several, no two of them alike: the second of two cards of one make has a ` #2` at its end, which is its
    /// number among these alone.
    ///
    /// ```
    /// use wgpu_norm::Choice;
    ///
    /// assert_eq!(Choice::names(&[Choice::Cpu, Choice::Reference, Choice::Cpu]), ["cpu", "reference", "cpu #2"]);
    /// ```
    #[must_use]
    pub fn names(choices: &[Self]) -> Vec<String> {
        numbered(choices.iter().map(Self::name))
    }

    /// The name: `reference`, `cpu`, or the adapter's with its backend.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Reference => "reference".into(),
            Self::Cpu => "cpu".into(),
            Self::Adapter(adapter) => full_name(&adapter.get_info()),
        }
    }
}

/// The adapters that `WGPU_BACKEND` allows, or all.
async fn adapters() -> Vec<wgpu::Adapter> {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let backends = descriptor.backends;
    let mut adapters = wgpu::Instance::new(descriptor).enumerate_adapters(backends).await;
    adapters
        .retain(|adapter| adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS));
    adapters
}

/// An adapter's name with its backend. Browsers may keep the name to themselves.
pub(super) fn full_name(info: &wgpu::AdapterInfo) -> String {
    let name = if info.name.is_empty() { "unnamed adapter" } else { &info.name };
    format!("{name} [{}]", info.backend)
}

/// Names, each that was there before with its number.
fn numbered(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = HashMap::<String, usize>::new();
    let number = |name: String| {
        let times = seen.entry(name.clone()).or_default();
        *times += 1;
        if *times == 1 { name } else { format!("{name} #{times}") }
    };
    names.into_iter().map(number).collect()
}

/// Those of whose names `part` is one, the best first; `others` are what else could have been asked for.
fn named(adapters: Vec<wgpu::Adapter>, part: &str, others: &str) -> Result<Vec<wgpu::Adapter>> {
    let names = numbered(adapters.iter().map(|adapter| full_name(&adapter.get_info())));
    if !names.iter().any(|name| is_part(part, name)) {
        return Err(Error::NoAdapter { wanted: part.to_owned(), available: format!("{others}{}", names.join(", ")) });
    }
    let found = adapters.into_iter().zip(names).filter(|(_, name)| is_part(part, name));
    Ok(best_first(found.map(|(adapter, _)| adapter).collect()))
}

/// Whether a name contains what was asked for, in whatever case. No name at all is part of none.
fn is_part(part: &str, name: &str) -> bool {
    !part.trim().is_empty() && name.to_lowercase().contains(&part.to_lowercase())
}

fn best_first(mut adapters: Vec<wgpu::Adapter>) -> Vec<wgpu::Adapter> {
    adapters.sort_by_key(|adapter| Reverse(rank(adapter)));
    adapters
}

fn rank(adapter: &wgpu::Adapter) -> u8 {
    match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 4,
        wgpu::DeviceType::IntegratedGpu => 3,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 1,
        wgpu::DeviceType::Cpu => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_of_two_cards_of_one_make_can_be_asked_for() {
        let names = numbered(["Card A [vulkan]", "Card B [vulkan]", "Card A [vulkan]"].map(String::from));
        assert_eq!(names, ["Card A [vulkan]", "Card B [vulkan]", "Card A [vulkan] #2"]);
        let found = |part| names.iter().map(|name| is_part(part, name)).collect::<Vec<_>>();
        assert_eq!(found("card a"), [true, false, true]);
        assert_eq!(found("a [vulkan] #2"), [false, false, true]);
        assert_eq!(found("#1"), [false; 3]);
        assert_eq!(found(" "), [false; 3]);
    }
}
