//! The device lives, but does not do what it is asked for.

use super::{COLUMNS, Outcome, assert_repeated, bound_to, buffers, cpu, forward, lost, named, plan, prepared, tensor};
use crate::subject::{App, Subject};
use std::time::Duration;
use wgpu_norm::gpu::{Capabilities, Gpu, Options};
use wgpu_norm::layer::{BatchNorm1d, Layer};
use wgpu_norm::{Data, Dtype, Engine, Error, Tensor};

/// A device without subgroups and f16, and kernels that are made as if it had them.
fn mistaken(subject: &Subject) -> (App, Gpu) {
    let app = subject.app_with(wgpu::Features::empty(), subject.adapter.limits());
    let capabilities = Capabilities { max_invocations: 1 << 20, emulated: false, ..*app.gpu.capabilities() };
    let gpu = app.gpu.clone().assuming(Capabilities { subgroups: Some((4, 8)), native_f16: true, ..capabilities });
    (app, gpu)
}

fn is_kernel(error: &Error) -> bool {
    matches!(error, Error::Kernel { kernel, message } if kernel.contains("wgpu-norm.") && !message.is_empty())
}

pub(super) fn kernel(subject: &Subject) -> Outcome {
    let (app, gpu) = mistaken(subject);
    let error = gpu.prepare(&plan(), &Options::default()).expect_err("there are no subgroups");
    assert!(is_kernel(&error), "{error:?}");
    let outcome = assert_repeated(&Engine::with_gpu(&gpu, &app.queue), super::ROWS, is_kernel);
    app.assert_undisturbed();
    outcome
}

pub(super) fn kernel_under_a_layer(subject: &Subject) -> Outcome {
    let (app, gpu) = mistaken(subject);
    let engine = Engine::with_gpu(&gpu, &app.queue);
    let mut layers = [engine.clone(), cpu()].map(|on| Layer::new(&on, BatchNorm1d::new(COLUMNS)).expect("fits"));
    for step in 5..8 {
        let [one, other] = layers.each_mut().map(|layer| layer.forward(&halves(step)).expect("the CPU steps in"));
        assert!(one == other, "the CPU's bits");
    }
    lost::assert_same_state(&layers);
    assert!(engine.last_fallback().as_ref().is_some_and(is_kernel), "it is noted");
    let mut strict = Layer::new(&engine.without_fallback(), BatchNorm1d::new(COLUMNS)).expect("fits");
    let before = strict.get("running_mean").expect("it is kept");
    assert!(strict.forward(&halves(5)).is_err_and(|error| is_kernel(&error)), "without fallback it is an error");
    assert!(strict.get("running_mean").expect("it is kept") == before, "and the state is as it was");
    app.assert_undisturbed();
    "training goes on on the CPU; without fallback an error, and the state as it was".into()
}

/// A tensor whose every kernel takes f16 that the device has not.
fn halves(rows: usize) -> Tensor {
    let values = tensor(rows).data().to_f64();
    Tensor::new([rows, COLUMNS], Data::from_f64(Dtype::F16, &values)).expect("as many as the shape holds")
}

/// A pass takes longer than the engine waits. Vulkan's drivers compute beside the submission, so there it has to show;
/// those of GL may compute inside it, and then nothing is left to wait for.
pub(super) fn stall(subject: &Subject) -> Outcome {
    const LONG: usize = 100_000;
    let app = subject.app();
    let engine = Engine::with_gpu(&app.gpu, &app.queue);
    let hasty = engine.clone().time_limit(Duration::from_micros(20));
    let result = forward(&hasty.clone().without_fallback(), LONG);
    let outcome = match result {
        Err(Error::TimedOut { limit }) => {
            assert_eq!(limit, Duration::from_micros(20), "the limit that was set");
            assert_repeated(&hasty, LONG, |error| matches!(error, Error::TimedOut { .. }))
        }
        Ok(_) if subject.adapter.get_info().backend != wgpu::Backend::Vulkan => {
            "none: the driver computes inside the submission".into()
        }
        other => panic!("{}: {:?}", subject.name, other.map(|output| output.shape().to_vec())),
    };
    app.device.poll(wgpu::PollType::wait_indefinitely()).expect("the work ends");
    let patient = engine.time_limit(Duration::from_secs(60)).without_fallback();
    forward(&patient, super::ROWS).expect("afterwards the device serves on");
    app.assert_undisturbed();
    outcome
}

pub(super) fn destroyed_buffer(subject: &Subject) -> Outcome {
    let app = subject.app();
    let (prepared, buffers) = (prepared(&app), buffers(&app));
    buffers[1].destroy();
    let error = prepared.bind(&bound_to(&buffers)).expect_err("the buffer is gone");
    assert!(matches!(error, Error::ForeignBuffer { argument: "output", .. }), "{error:?}");
    app.assert_undisturbed();
    format!("{}, which names the argument", named(&error))
}

/// Inside an error scope of the application's, which hears nothing of it; and nothing is left.
pub(super) fn a_thousand_times(subject: &Subject) -> Outcome {
    let app = subject.app();
    let (prepared, buffers) = (prepared(&app), buffers(&app));
    buffers[0].destroy();
    let before = subject.resources();
    let scope = app.device.push_error_scope(wgpu::ErrorFilter::Validation);
    for _ in 0..1000 {
        assert!(prepared.bind(&bound_to(&buffers)).is_err(), "the buffer is gone");
    }
    let heard = pollster::block_on(scope.pop());
    assert!(heard.is_none(), "the application's own scope hears nothing of it: {heard:?}");
    app.device.poll(wgpu::PollType::wait_indefinitely()).expect("polled");
    assert_eq!(subject.resources(), before, "nothing is left of a bind that failed");
    app.assert_undisturbed();
    "a thousand errors; the application's scope hears none, and no resource is left".into()
}
