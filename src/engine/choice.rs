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
    Adapter {
        /// The adapter.
        adapter: wgpu::Adapter,
        /// Which of the adapters of this make it is, from 1 on.
        number: usize,
    },
}

impl From<wgpu::Adapter> for Choice {
    /// An application's own adapter, as the first of its make.
    fn from(adapter: wgpu::Adapter) -> Self {
        Self::Adapter { adapter, number: 1 }
    }
}

impl Choice {
    /// Everything on this machine: the reference, the CPU and every adapter that `WGPU_BACKEND` allows.
    pub async fn all() -> Vec<Self> {
        let mut all = vec![Self::Reference, Self::Cpu];
        all.extend(adapters().await);
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
                adapters.retain(|adapter| adapter.rank() > Self::EMULATED);
            }
            best_first(adapters)
        };
        Ok(best.into_iter().next().unwrap_or(Self::Cpu))
    }

    /// What a name stands for: `auto`, `all`, `cpu`, `reference`, or part of an adapter's name. Of several that have it the
    /// best comes first.
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
            part => named(adapters().await, part, "auto, all, cpu, reference, "),
        }
    }

    /// The name: `reference`, `cpu`, or the adapter's with its backend. The second of two cards of one make has a ` #2` at its
    /// end.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Reference => "reference".into(),
            Self::Cpu => "cpu".into(),
            Self::Adapter { adapter, number } => numbered(full_name(&adapter.get_info()), *number),
        }
    }

    const EMULATED: u8 = 0;

    fn rank(&self) -> u8 {
        let Self::Adapter { adapter, .. } = self else { return Self::EMULATED };
        match adapter.get_info().device_type {
            wgpu::DeviceType::DiscreteGpu => 4,
            wgpu::DeviceType::IntegratedGpu => 3,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 1,
            wgpu::DeviceType::Cpu => Self::EMULATED,
        }
    }
}

/// The adapters that `WGPU_BACKEND` allows, or all.
async fn adapters() -> Vec<Choice> {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let backends = descriptor.backends;
    let mut adapters = wgpu::Instance::new(descriptor).enumerate_adapters(backends).await;
    adapters
        .retain(|adapter| adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS));
    let numbers = numbers(adapters.iter().map(|adapter| full_name(&adapter.get_info())));
    adapters.into_iter().zip(numbers).map(|(adapter, number)| Choice::Adapter { adapter, number }).collect()
}

/// An adapter's name with its backend. Browsers may keep the name to themselves.
pub(super) fn full_name(info: &wgpu::AdapterInfo) -> String {
    let name = if info.name.is_empty() { "unnamed adapter" } else { &info.name };
    format!("{name} [{}]", info.backend)
}

fn numbered(name: String, number: usize) -> String {
    if number == 1 { name } else { format!("{name} #{number}") }
}

/// Of each name, how often it has come by then.
fn numbers(names: impl IntoIterator<Item = String>) -> Vec<usize> {
    let mut seen = HashMap::<String, usize>::new();
    let count = |name| {
        let times = seen.entry(name).or_default();
        *times += 1;
        *times
    };
    names.into_iter().map(count).collect()
}

/// Those of whose names `part` is one, the best first; `others` are what else could have been asked for.
fn named(adapters: Vec<Choice>, part: &str, others: &str) -> Result<Vec<Choice>> {
    let (found, rest): (Vec<_>, Vec<_>) = adapters.into_iter().partition(|adapter| is_part(part, &adapter.name()));
    if found.is_empty() {
        let available = rest.iter().map(Choice::name).collect::<Vec<_>>().join(", ");
        return Err(Error::NoAdapter { wanted: part.to_owned(), available: format!("{others}{available}") });
    }
    Ok(best_first(found))
}

/// Whether a name contains what was asked for, in whatever case. No name at all is part of none.
fn is_part(part: &str, name: &str) -> bool {
    !part.trim().is_empty() && name.to_lowercase().contains(&part.to_lowercase())
}

fn best_first(mut adapters: Vec<Choice>) -> Vec<Choice> {
    adapters.sort_by_key(|adapter| Reverse(adapter.rank()));
    adapters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_of_two_cards_of_one_make_can_be_asked_for() {
        let makes = ["Card A [vulkan]", "Card B [vulkan]", "Card A [vulkan]"].map(String::from);
        let names: Vec<String> =
            makes.iter().cloned().zip(numbers(makes.clone())).map(|(n, i)| numbered(n, i)).collect();
        assert_eq!(names, ["Card A [vulkan]", "Card B [vulkan]", "Card A [vulkan] #2"]);
        let found = |part| names.iter().map(|name| is_part(part, name)).collect::<Vec<_>>();
        assert_eq!(found("card a"), [true, false, true]);
        assert_eq!(found("a [vulkan] #2"), [false, false, true]);
        assert_eq!(found("#1"), [false; 3]);
        assert_eq!(found(" "), [false; 3]);
    }
}
