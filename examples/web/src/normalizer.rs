//! An engine, and what it normalizes and checks.

use crate::cli::attributes::Attributes;
use crate::cli::case::{Case, Found};
use crate::cli::compare::Errors;
use crate::cli::memory;
use crate::tensor::HostTensor;
use crate::timed::{Device, Timed};
use crate::{Outcome, in_words};
use serde_json::{Value, json};
use wasm_bindgen::prelude::wasm_bindgen;
use wgpu_norm::norm::Norm;
use wgpu_norm::plan::Plan;
use wgpu_norm::{Choice, Engine, Parameters, Tensor, gpu, reference};

/// An engine on the visitor's GPU or on the CPU.
#[wasm_bindgen]
pub struct Normalizer {
    engine: Engine,
    device: Option<Device>,
}

#[wasm_bindgen]
impl Normalizer {
    /// One on the adapter that the browser prefers, with a device that has all of the optional features that it offers.
    #[wasm_bindgen(js_name = onGpu)]
    pub async fn on_gpu() -> Outcome<Self> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let options = wgpu::RequestAdapterOptions::default();
        let adapter = instance.request_adapter(&options).await.map_err(|error| error.to_string())?;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("wgpu-norm"),
            required_features: gpu::required_features() | gpu::optional_features(&adapter),
            required_limits: gpu::recommended_limits(&adapter, wgpu::Limits::default()),
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| error.to_string())?;
        // What the page says of the GPU must not come from the CPU.
        let engine = Engine::with_device(&device, &queue).without_fallback();
        Ok(Self { engine, device: Some(Device { gpu: gpu::Gpu::new(&device), queue }) })
    }

    /// One on the CPU.
    #[wasm_bindgen(js_name = onCpu)]
    pub async fn on_cpu() -> Outcome<Self> {
        Ok(Self { engine: Engine::open(&Choice::Cpu).await.map_err(in_words)?, device: None })
    }

    /// The optional features that the kernels use, in a few words.
    pub fn extras(&self) -> String {
        let capabilities = self.device.as_ref().map(|device| device.gpu.capabilities());
        let subgroups = capabilities.and_then(|capabilities| capabilities.subgroups);
        let subgroups = subgroups.map(|(least, most)| format!("subgroups of {least} to {most} lanes"));
        let f16 = capabilities.filter(|capabilities| capabilities.native_f16).map(|_| "f16".to_owned());
        let extras: Vec<String> = subgroups.into_iter().chain(f16).collect();
        if extras.is_empty() { "no optional feature".into() } else { extras.join(", ") }
    }

    /// Normalizes a tensor. The attributes are JSON, in PyTorch's spelling.
    pub async fn normalize(&self, input: &HostTensor, op: &str, attributes: &str) -> Outcome<HostTensor> {
        let norm = norm(&input.0, op, attributes)?;
        let output = self.engine.forward_async(&*norm, &input.0, &mut Parameters::default()).await;
        output.map(HostTensor).map_err(in_words)
    }

    /// The same again and again, to be timed: what stays on the device, without upload and readback.
    pub async fn timed(&self, input: &HostTensor, op: &str, attributes: &str) -> Outcome<Timed> {
        let plan = plan(&input.0, op, attributes)?;
        match &self.device {
            Some(device) => Timed::on_device(device, &plan, input.0.data()),
            None => Ok(Timed::on_host(self.engine.clone(), plan, input.0.data().clone())),
        }
    }

    /// Runs a conformance case, the bytes of its file; the result is JSON.
    pub async fn check(&self, name: &str, bytes: Vec<u8>) -> String {
        let result = match self.worst(name, bytes).await {
            Ok(worst) => json!({ "result": "pass", "worst": worst }),
            Err(reason) => json!({ "result": "FAIL", "reason": reason }),
        };
        result.to_string()
    }
}

impl Normalizer {
    /// The worst error of a case over its tolerance.
    async fn worst(&self, name: &str, bytes: Vec<u8>) -> Outcome<f64> {
        Case::from_bytes(name, bytes)?.run(&self.engine, &mut Found::default()).await
    }
}

#[wasm_bindgen]
impl HostTensor {
    /// The errors of an output against the f64 reference's from `input`, as JSON.
    pub fn errors(&self, input: &Self, op: &str, attributes: &str) -> Outcome<String> {
        memory::check_reference(input.0.data().len())?;
        let plan = plan(&input.0, op, attributes)?;
        let mut values = reference::Values { input: input.0.data().to_f64(), ..Default::default() };
        let want = reference::execute(&plan, &mut values).map_err(in_words)?;
        Ok(Errors::of(self.0.data(), &want).json().to_string())
    }
}

fn norm(input: &Tensor, op: &str, attributes: &str) -> Outcome<Box<dyn Norm>> {
    let Ok(Value::Object(values)) = serde_json::from_str(attributes) else {
        return Err(format!("attributes: expected a JSON object, got {attributes}"));
    };
    let last = input.shape().len().saturating_sub(1);
    Attributes::new(op, values)?.norm(&input.shape()[last..])
}

fn plan(input: &Tensor, op: &str, attributes: &str) -> Outcome<Plan> {
    norm(input, op, attributes)?.lower(&Parameters::default().operands(input)).map_err(in_words)
}
