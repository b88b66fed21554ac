//! A buffer cannot be had.

use super::{Outcome, assert_repeated, named};
use crate::subject::Subject;
use wgpu_norm::gpu::{Buffers, Options, Strategy};
use wgpu_norm::norm::{LayerNorm, Norm, Operands};
use wgpu_norm::{Dtype, Engine, Error, Spec};

/// A device that has buffers of 64 KiB at most.
fn app(subject: &Subject) -> crate::subject::App {
    let limits = wgpu::Limits { max_buffer_size: 1 << 16, ..subject.adapter.limits() };
    subject.app_with(wgpu::Features::empty(), limits)
}

pub(super) fn larger_than_a_buffer(subject: &Subject) -> Outcome {
    let app = app(subject);
    let engine = Engine::with_gpu(&app.gpu, &app.queue);
    let outcome = assert_repeated(&engine, 1000, |error| matches!(error, Error::TooLarge { .. }));
    app.assert_undisturbed();
    outcome
}

/// The tensors fit 64 KiB, what lies between the dispatches does not.
pub(super) fn scratch(subject: &Subject) -> Outcome {
    let app = app(subject);
    let plan = LayerNorm::new([2]).lower(&Operands::new(Spec::new([8000, 2], Dtype::F32))).expect("fits");
    let prepared = app.gpu.prepare(&plan, &Options::default().strategy(Strategy::Split)).expect("prepares");
    assert!(prepared.scratch_size() > 1 << 16, "{} bytes of scratch", prepared.scratch_size());
    let (input, output) = (app.buffer(64_000), app.buffer(64_000));
    let before = subject.resources();
    let error = prepared.bind(&Buffers::new(input.slice(..), output.slice(..))).expect_err("there is no such buffer");
    assert!(matches!(error, Error::Device(_)), "{error:?}");
    assert_eq!(subject.resources(), before, "nothing is left of a bind that failed");
    app.assert_undisturbed();
    named(&error)
}
