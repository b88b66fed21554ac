//! Adapters under test, each in an instance of its own, whose resources can be counted.

use crate::rig::{Rig, turned_off};
use std::sync::{Arc, Mutex};
use wgpu_norm::Choice;
use wgpu_norm::gpu::{Gpu, optional_features};

/// An adapter.
pub(crate) struct Subject {
    pub(crate) name: String,
    instance: wgpu::Instance,
    pub(crate) adapter: wgpu::Adapter,
}

/// An application's own device, with its own ears.
pub(crate) struct App {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) gpu: Gpu,
    /// What reached the application's handlers.
    pub(crate) complaints: Arc<Mutex<Vec<String>>>,
    pub(crate) losses: Arc<Mutex<Vec<String>>>,
}

/// Every adapter that `WGPU_BACKEND` allows, or a failure that says so. Empty only when GPU tests are turned off.
pub(crate) fn subjects() -> Vec<Subject> {
    if turned_off() {
        return Vec::new();
    }
    let names = pollster::block_on(Choice::all()).into_iter().filter(|choice| matches!(choice, Choice::Adapter { .. }));
    let subjects: Vec<Subject> = names.map(|choice| Subject::named(choice.name())).collect();
    assert!(!subjects.is_empty(), "no Vulkan or GL adapter; WGPU_NORM_TEST_GPU=off leaves GPU tests out");
    subjects
}

impl Subject {
    fn named(name: String) -> Self {
        let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
        let backends = descriptor.backends;
        let instance = wgpu::Instance::new(descriptor);
        let adapters = pollster::block_on(instance.enumerate_adapters(backends));
        let own = |adapter: &wgpu::Adapter| Choice::from(adapter.clone()).name() == name;
        let adapter = adapters.into_iter().find(own).expect("the adapter is still there");
        Self { name, instance, adapter }
    }

    /// A device with guard words round its buffers.
    pub(crate) fn rig(&self) -> Rig {
        Rig::new(self.name.clone(), &self.adapter)
    }

    /// An application with all that the adapter has.
    pub(crate) fn app(&self) -> App {
        self.app_with(optional_features(&self.adapter), self.adapter.limits())
    }

    /// An application that asked for these.
    pub(crate) fn app_with(&self, required_features: wgpu::Features, required_limits: wgpu::Limits) -> App {
        let descriptor = wgpu::DeviceDescriptor { required_features, required_limits, ..Default::default() };
        App::new(pollster::block_on(self.adapter.request_device(&descriptor)).expect("the adapter gives a device"))
    }

    /// How many of each kind of resource the instance holds.
    pub(crate) fn resources(&self) -> Vec<(&'static str, usize)> {
        let report = self.instance.generate_report().expect("a native instance");
        let hub = report.hub_report();
        [
            ("devices", &hub.devices),
            ("buffers", &hub.buffers),
            ("bind groups", &hub.bind_groups),
            ("bind group layouts", &hub.bind_group_layouts),
            ("pipelines", &hub.compute_pipelines),
            ("shader modules", &hub.shader_modules),
            ("command encoders", &hub.command_encoders),
            ("command buffers", &hub.command_buffers),
            ("compute passes", &hub.compute_passes),
        ]
        .map(|(name, registry)| (name, registry.num_kept_from_user))
        .to_vec()
    }
}

impl App {
    fn new((device, queue): (wgpu::Device, wgpu::Queue)) -> Self {
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&complaints);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            heard.lock().expect("no panic while locked").push(error.to_string());
        }));
        let losses = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&losses);
        device.set_device_lost_callback(move |reason, message| {
            heard.lock().expect("no panic while locked").push(format!("{reason:?}: {message}"));
        });
        Self { gpu: Gpu::new(&device), device, queue, complaints, losses }
    }

    pub(crate) fn buffer(&self, bytes: u64) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false };
        self.device.create_buffer(&descriptor)
    }

    pub(crate) fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.complaints.lock().expect("no panic while locked").clone()
    }

    /// Checks that nothing of ours reached the application, and that no scope of ours is open: an error that is made
    /// now is the application's to hear.
    #[track_caller]
    pub(crate) fn assert_undisturbed(&self) {
        assert_eq!(self.heard(), Vec::<String>::new(), "nothing reaches the application's handler");
        let nothing = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE;
        let refused = wgpu::BufferDescriptor { label: None, size: 4, usage: nothing, mapped_at_creation: false };
        drop(self.device.create_buffer(&refused));
        let heard = std::mem::take(&mut *self.complaints.lock().expect("no panic while locked"));
        assert_eq!(heard.len(), 1, "one error of the application's own, heard outside all scopes: {heard:?}");
        assert_eq!(*self.losses.lock().expect("no panic while locked"), Vec::<String>::new(), "the device lives");
    }
}
