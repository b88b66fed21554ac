//! The device goes away.

use super::{Outcome, assert_repeated, bound_to, buffers, cpu, forward, is_lost, named, plan, prepared, tensor};
use crate::subject::{App, Subject};
use std::future::Future;
use std::task::{Context, Poll, Waker};
use wgpu_norm::gpu::Options;
use wgpu_norm::layer::{BatchNorm1d, Layer};
use wgpu_norm::norm::LayerNorm;
use wgpu_norm::{Engine, Error, Parameters};

/// Checks that the loss was the application's own, heard by its own callback once the device was polled, and that
/// no error of ours reached it.
#[track_caller]
fn assert_own_loss(app: &App) {
    app.device.poll(wgpu::PollType::wait_indefinitely()).expect("a destroyed device can be polled");
    let losses = app.losses.lock().expect("no panic while locked").clone();
    assert!(
        losses.len() == 1 && losses[0].starts_with("Destroyed"),
        "the application's callback is in place: {losses:?}"
    );
    assert_eq!(app.heard(), Vec::<String>::new(), "nothing reaches the application's handler");
}

fn refused<T: std::fmt::Debug>(app: &App, result: Result<T, Error>) -> Outcome {
    let error = result.expect_err("a lost device does nothing");
    assert!(is_lost(&error), "{error:?}");
    assert_own_loss(app);
    named(&error)
}

pub(super) fn before_prepare(subject: &Subject) -> Outcome {
    let app = subject.app();
    app.device.destroy();
    refused(&app, app.gpu.prepare(&plan(), &Options::default()))
}

pub(super) fn before_bind(subject: &Subject) -> Outcome {
    let app = subject.app();
    let (prepared, buffers) = (prepared(&app), buffers(&app));
    app.device.destroy();
    refused(&app, prepared.bind(&bound_to(&buffers)))
}

/// `record` cannot fail: wgpu takes what is recorded, and tells the application at `finish` or `submit` as it does of
/// its own commands.
pub(super) fn before_record(subject: &Subject) -> Outcome {
    let app = subject.app();
    let buffers = buffers(&app);
    let bound = prepared(&app).bind(&bound_to(&buffers)).expect("binds");
    let mut encoder = app.encoder();
    app.device.destroy();
    bound.record_pass(&mut encoder);
    app.queue.submit([encoder.finish()]);
    assert_as_wgpu_alone(subject, &app, |app, encoder| {
        app.device.destroy();
        drop(encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
    })
}

pub(super) fn while_recording(subject: &Subject) -> Outcome {
    let app = subject.app();
    let buffers = buffers(&app);
    let bound = prepared(&app).bind(&bound_to(&buffers)).expect("binds");
    let mut encoder = app.encoder();
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        bound.record(&mut pass);
        app.device.destroy();
        bound.record(&mut pass);
    }
    app.queue.submit([encoder.finish()]);
    assert_as_wgpu_alone(subject, &app, |app, encoder| {
        let pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        app.device.destroy();
        drop(pass);
    })
}

/// The application hears what it hears of an encoder in which nothing of ours was recorded.
fn assert_as_wgpu_alone(subject: &Subject, ours: &App, record: impl Fn(&App, &mut wgpu::CommandEncoder)) -> Outcome {
    let alone = subject.app();
    let mut encoder = alone.encoder();
    record(&alone, &mut encoder);
    alone.queue.submit([encoder.finish()]);
    let count = |app: &App| {
        app.device.poll(wgpu::PollType::wait_indefinitely()).expect("a destroyed device can be polled");
        (app.heard().len(), app.losses.lock().expect("no panic while locked").len())
    };
    assert_eq!(count(ours), count(&alone), "ours {:?}, alone {:?}", ours.heard(), alone.heard());
    "`record` goes through; the application hears what it hears of wgpu alone".into()
}

pub(super) fn in_flight(subject: &Subject) -> Outcome {
    let app = subject.app();
    let buffers = buffers(&app);
    let prepared = prepared(&app);
    let bound = prepared.bind(&bound_to(&buffers)).expect("binds");
    let mut encoder = app.encoder();
    (0..100).for_each(|_| bound.record_pass(&mut encoder));
    app.queue.submit([encoder.finish()]);
    app.device.destroy();
    let outcome = refused(&app, prepared.bind(&bound_to(&buffers)));
    format!("the work ends; what is asked for afterwards is {outcome}")
}

/// The engine has submitted and waits for the result.
pub(super) fn before_readback(subject: &Subject) -> Outcome {
    let app = subject.app();
    let engine = Engine::with_gpu(&app.gpu, &app.queue);
    let (norm, input, mut parameters) = (LayerNorm::new([super::COLUMNS]), tensor(4000), Parameters::default());
    let output = {
        let mut pass = Box::pin(engine.forward_async(&norm, &input, &mut parameters));
        let first = pass.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        app.device.destroy();
        let output = match first {
            Poll::Ready(output) => output,
            Poll::Pending => pollster::block_on(pass),
        };
        output.expect("the result, or the CPU's")
    };
    // The result was on its way, so either comes; which, the engine says.
    let want = forward(&cpu(), 4000).expect("the CPU runs");
    let fallback = engine.last_fallback();
    match &fallback {
        Some(error) => assert!(is_lost(error) && output == want, "the CPU's bits, after {error:?}"),
        None => assert!(close(&output, &want), "the device's result"),
    }
    assert_own_loss(&app);
    "the result arrives, or the CPU repeats the pass and the engine says so".into()
}

fn close(got: &wgpu_norm::Tensor, want: &wgpu_norm::Tensor) -> bool {
    got.data().to_f64().iter().zip(want.data().to_f64()).all(|(got, want)| (got - want).abs() < 1e-5)
}

pub(super) fn under_a_strict_engine(subject: &Subject) -> Outcome {
    let app = subject.app();
    let engine = Engine::with_gpu(&app.gpu, &app.queue).without_fallback();
    forward(&engine, super::ROWS).expect("the device lives");
    app.device.destroy();
    refused(&app, forward(&engine, super::ROWS))
}

pub(super) fn under_an_engine(subject: &Subject) -> Outcome {
    let app = subject.app();
    let engine = Engine::with_gpu(&app.gpu, &app.queue);
    forward(&engine, super::ROWS).expect("the device lives");
    assert_eq!(engine.last_fallback(), None, "nothing has gone wrong yet");
    app.device.destroy();
    let outcome = assert_repeated(&engine, super::ROWS, is_lost);
    assert_own_loss(&app);
    outcome
}

pub(super) fn from_another_thread(subject: &Subject) -> Outcome {
    let app = subject.app();
    let engine = Engine::with_gpu(&app.gpu, &app.queue);
    let want = forward(&cpu(), 100).expect("the CPU runs");
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let passes = scope.spawn(|| (0..60).map(|_| forward(&engine, 100)).collect());
        std::thread::sleep(std::time::Duration::from_millis(20));
        app.device.destroy();
        passes.join().expect("no pass panics")
    });
    for output in outputs {
        assert!(close(&output.expect("the CPU steps in"), &want), "every pass is right");
    }
    assert!(forward(&engine, 100).expect("the CPU steps in") == want, "the CPU's bits");
    assert!(engine.last_fallback().is_some_and(|error| is_lost(&error)), "it is noted");
    assert_own_loss(&app);
    "every pass gives the right result, before the loss and after".into()
}

/// Weight, bias and running estimates outlive the device, and training goes on from where it was.
pub(super) fn under_a_layer(subject: &Subject) -> Outcome {
    let app = subject.app();
    let engine = Engine::with_gpu(&app.gpu, &app.queue);
    let mut layers = [engine.clone(), cpu()].map(|on| Layer::new(&on, BatchNorm1d::new(super::COLUMNS)).expect("fits"));
    let weight = wgpu_norm::Tensor::from_f32([super::COLUMNS], vec![1.5; super::COLUMNS]).expect("fits");
    layers.iter_mut().for_each(|layer| layer.set("weight", weight.clone()).expect("fits"));
    for step in 0..6 {
        if step == 3 {
            app.device.destroy();
            assert!(layers[0].get("weight").expect("it is kept") == weight, "parameters can be read");
        }
        let [one, other] = layers.each_mut().map(|layer| {
            let forward = layer.forward_saving(&tensor(5 + step)).expect("the CPU steps in");
            let gradients = layer.backward(&tensor(5 + step), &tensor(5 + step), &forward, None).expect("so it does");
            (forward.output, gradients.weight.expect("it was asked for"))
        });
        assert!(close(&one.0, &other.0) && relatively_close(&one.1, &other.1), "step {step}");
    }
    assert_same_state(&layers);
    assert!(engine.last_fallback().is_some_and(|error| is_lost(&error)), "it is noted");
    let [survivor, _] = &mut layers;
    survivor.to(&cpu()).expect("it moves to another engine");
    assert_own_loss(&app);
    "training goes on on the CPU; parameters, running estimates and counter are what they would have been".into()
}

/// A step of an optimizer after a loss that a backward pass came upon: it leaves the state where it is.
pub(super) fn before_a_state_is_set(subject: &Subject) -> Outcome {
    let app = subject.app();
    let engine = Engine::with_gpu(&app.gpu, &app.queue);
    let made = |on: &Engine| Layer::new(on, BatchNorm1d::new(super::COLUMNS)).expect("the CPU steps in");
    let filled = |value| wgpu_norm::Tensor::from_f32([super::COLUMNS], vec![value; super::COLUMNS]).expect("fits");
    let strict = engine.clone().without_fallback();
    let [mut layer, mut resumed, mut held, mut counted] = std::array::from_fn(|_| made(&engine));
    let mut refusing = made(&strict);
    let forward = layer.forward_saving(&tensor(5)).expect("the device lives");
    app.device.destroy();
    layer.backward(&tensor(5), &tensor(5), &forward, None).expect("the CPU steps in");
    layer.set("weight", filled(0.5)).expect("the CPU steps in");
    assert_eq!(layer.get("weight"), Ok(filled(0.5)), "it is set");
    layer.forward(&tensor(5)).expect("training goes on");
    assert_eq!(layer.num_batches_tracked(), Ok(Some(2)), "the second batch is counted");

    resumed.load_state_dict(&layer.state_dict("").expect("it is kept"), "", true).expect("the CPU steps in");
    assert_same_state(&[resumed, layer]);
    held.set("bias", filled(2.0)).expect("the CPU steps in");
    held.reset_parameters().expect("and stays");
    counted.set_num_batches_tracked(7).expect("the CPU steps in");
    assert_same_state(&[held, made(&engine)]);
    assert_eq!(counted.num_batches_tracked(), Ok(Some(7)), "it is set");

    let error = refusing.set("weight", filled(0.5)).expect_err("nobody steps in");
    assert!(is_lost(&error), "{error:?}");
    assert_eq!(refusing.get("weight"), Ok(filled(1.0)), "the state is as it was");
    let line = engine.description();
    assert!(line.contains("on the CPU where that failed") && !line.contains('\n'), "one line: {line:?}");
    assert_own_loss(&app);
    "values go into host memory, where training goes on; a new layer has its own there".into()
}

fn relatively_close(got: &wgpu_norm::Tensor, want: &wgpu_norm::Tensor) -> bool {
    let pairs = got.data().to_f64();
    pairs.iter().zip(want.data().to_f64()).all(|(got, want)| (got - want).abs() < 1e-4 * (1.0 + want.abs()))
}

#[track_caller]
pub(super) fn assert_same_state(layers: &[Layer; 2]) {
    for name in ["weight", "bias", "running_mean", "running_var"] {
        let [one, other] = layers.each_ref().map(|layer| layer.get(name).expect("it is kept"));
        assert!(close(&one, &other), "{name}: {one:?} and {other:?}");
    }
    let [one, other] = layers.each_ref().map(|layer| layer.num_batches_tracked());
    assert_eq!(one, other, "counters");
}
