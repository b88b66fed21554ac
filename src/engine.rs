//! Picks a backend, falls back, and keeps the choice visible.
//!
//! STUB: signatures only, bodies come with the GPU backend.

use crate::error::Result;
use crate::norm::{Norm, Operands, Running};
use crate::plan::{Arguments, Plan, RunningStatistics, check_tensor};
use crate::tensor::Tensor;
use crate::{cpu, reference};

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
    /// Everything on this machine: the reference, the CPU and every adapter.
    pub async fn all() -> Vec<Self> {
        vec![Self::Reference, Self::Cpu]
    }

    /// What a name stands for: `auto`, `all`, `cpu`, `reference`, or part of an adapter's name.
    ///
    /// # Errors
    ///
    /// When no adapter's name contains it.
    pub async fn named(name: &str) -> Result<Vec<Self>> {
        let _ = name;
        Ok(Self::all().await)
    }

    /// The name: `reference`, `cpu`, or the adapter's with its backend.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Reference => "reference".into(),
            Self::Cpu => "cpu".into(),
            Self::Adapter(adapter) => adapter.get_info().name,
        }
    }
}

/// The tensors beside the input.
#[derive(Debug, Default)]
pub struct Parameters<'a> {
    /// The factor after the normalization.
    pub weight: Option<&'a Tensor>,
    /// The summand after the factor.
    pub bias: Option<&'a Tensor>,
    /// The running estimates, read in evaluation and updated in training.
    pub running: Option<&'a mut RunningStatistics>,
}

impl Parameters<'_> {
    /// The operands of a call on `input`, for [`Norm::lower`].
    #[must_use]
    pub fn operands(&self, input: &Tensor) -> Operands {
        Operands {
            input: input.spec(),
            weight: self.weight.map(Tensor::spec),
            bias: self.bias.map(Tensor::spec),
            running: self.running.as_ref().map(|r| Running {
                mean: r.mean.len(),
                var: r.var.len(),
                counter: r.num_batches_tracked.is_some(),
            }),
        }
    }
}

/// A backend, ready to normalize host tensors.
#[derive(Debug)]
pub struct Engine {
    choice: Choice,
}

impl Engine {
    /// The best GPU, or the CPU where there is none; [`description`](Self::description) says which.
    ///
    /// # Errors
    ///
    /// When a GPU that the environment asks for by name is not there.
    pub fn new() -> Result<Self> {
        pollster::block_on(Self::new_async())
    }

    /// As [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub async fn new_async() -> Result<Self> {
        Ok(Self { choice: Choice::Cpu })
    }

    /// An engine on this choice.
    ///
    /// # Errors
    ///
    /// When the adapter gives no device.
    pub async fn open(choice: &Choice) -> Result<Self> {
        Ok(Self { choice: choice.clone() })
    }

    /// One line for a person: what executes, and, where that is the CPU for want of a GPU, how to get one.
    #[must_use]
    pub fn description(&self) -> String {
        self.choice.name()
    }

    /// Normalizes `input`; running estimates in `parameters` are updated in training.
    ///
    /// # Errors
    ///
    /// As [`Norm::lower`]; and when the device fails or has too little memory.
    pub fn forward(&self, norm: &dyn Norm, input: &Tensor, parameters: &mut Parameters<'_>) -> Result<Tensor> {
        pollster::block_on(self.forward_async(norm, input, parameters))
    }

    /// As [`forward`](Self::forward).
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub async fn forward_async(
        &self,
        norm: &dyn Norm,
        input: &Tensor,
        parameters: &mut Parameters<'_>,
    ) -> Result<Tensor> {
        let plan = norm.lower(&parameters.operands(input))?;
        let mut output = Tensor::zeros(input.shape(), input.dtype())?;
        let _: &Plan = &plan;
        let _ = (check_tensor, cpu::execute, reference::execute, Arguments::default(), &mut output);
        Ok(output)
    }
}
