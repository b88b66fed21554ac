//! A buffer cannot be had.

use super::{Outcome, assert_repeated, cpu, named};
use crate::subject::Subject;
use wgpu_norm::gpu::{Buffers, Options, Strategy};
use wgpu_norm::norm::{BatchNorm, LayerNorm, Norm, Operands};
use wgpu_norm::{Data, Dtype, Engine, Error, Parameters, Spec};

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

/// In pieces too, of which each is measured before one is normalized.
pub(super) fn pieces_larger_than_a_buffer(subject: &Subject) -> Outcome {
    let app = app(subject);
    let engine = Engine::with_gpu(&app.gpu, &app.queue);
    // Two pieces, and none left over that the device would take.
    let values: Vec<f32> = (0..58_368).map(|i| (i % 101) as f32).collect();
    let normalized = |engine: &Engine| {
        let spec = Spec::new([19_456, 3], Dtype::F32);
        let streamed = engine.streamed(&BatchNorm::new(), &spec, Parameters::default(), 116_736).expect("it fits");
        let mut streamed = streamed.expect("it can be cut");
        for piece in streamed.to_measure() {
            streamed.measure(&piece, &Data::F32(values[piece.elements()].to_vec()))?;
        }
        let mut output = Vec::new();
        for piece in streamed.to_normalize() {
            let mut own = Data::F32(values[piece.elements()].to_vec());
            streamed.normalize(&piece, &mut own)?;
            output.extend(own.to_f32());
        }
        Ok::<_, Error>(output)
    };
    let error = normalized(&engine.clone().without_fallback()).expect_err("there is no such buffer");
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    let want = normalized(&cpu()).expect("the CPU runs");
    assert!(normalized(&engine).expect("the CPU repeats each piece") == want, "the CPU's bits");
    let noted = engine.last_fallback().expect("it is noted");
    assert!(matches!(noted, Error::TooLarge { .. }), "{noted:?}");
    app.assert_undisturbed();
    format!("{}; the engine repeats each piece on the CPU and says so", named(&noted))
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
