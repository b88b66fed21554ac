//! Several threads at once.

use super::{BYTES, COLUMNS, Outcome, ROWS, bound_to, forward, prepared, tensor};
use crate::subject::{App, Subject};
use wgpu_norm::gpu::{Buffers, Options};
use wgpu_norm::norm::{LayerNorm, Norm, Operands};
use wgpu_norm::{Dtype, Engine, Spec};

const THREADS: usize = 8;

/// What each thread gives.
fn on_threads<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..THREADS).map(|i| scope.spawn(move || work(i))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    })
}

fn input(app: &App) -> wgpu::Buffer {
    let buffer = app.buffer(BYTES);
    app.queue.write_buffer(&buffer, 0, tensor(ROWS).data().bytes());
    buffer
}

fn read(app: &App, buffer: &wgpu::Buffer) -> Vec<u8> {
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size: buffer.size(), usage, mapped_at_creation: false };
    let staging = app.device.create_buffer(&descriptor);
    let mut encoder = app.encoder();
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
    app.queue.submit([encoder.finish()]);
    staging.slice(..).map_async(wgpu::MapMode::Read, |result| result.expect("mapped"));
    app.device.poll(wgpu::PollType::wait_indefinitely()).expect("polled");
    let view = staging.slice(..).get_mapped_range().expect("mapped");
    view.to_vec()
}

/// Each thread records the same bound plan into encoders of its own.
pub(super) fn record_one_plan(subject: &Subject) -> Outcome {
    let app = subject.app();
    let buffers = [input(&app), app.buffer(BYTES)];
    let bound = prepared(&app).bind(&bound_to(&buffers)).expect("binds");
    let run = || {
        let mut encoder = app.encoder();
        bound.record_pass(&mut encoder);
        app.queue.submit([encoder.finish()]);
    };
    run();
    let alone = read(&app, &buffers[1]);
    on_threads(|_| (0..50).for_each(|_| run()));
    assert!(read(&app, &buffers[1]) == alone, "the bits of one thread");
    app.assert_undisturbed();
    "the bits of one thread".into()
}

/// Each thread prepares plans that others prepare too, binds them to buffers of its own and records.
pub(super) fn prepare_at_once(subject: &Subject) -> Outcome {
    let app = subject.app();
    let input = input(&app);
    let run = |columns: usize| {
        let spec = Spec::new([ROWS * COLUMNS / columns, columns], Dtype::F32);
        let plan = LayerNorm::new([columns]).lower(&Operands::new(spec)).expect("fits");
        let output = app.buffer(BYTES);
        let prepared = app.gpu.prepare(&plan, &Options::default()).expect("prepares");
        let bound = prepared.bind(&Buffers::new(input.slice(..), output.slice(..))).expect("binds");
        let mut encoder = app.encoder();
        bound.record_pass(&mut encoder);
        app.queue.submit([encoder.finish()]);
        output
    };
    let columns = |turn: usize| 1 << (3 + turn % 6);
    let outputs = on_threads(|i| (0..12).map(|turn| (columns(i + turn), run(columns(i + turn)))).collect::<Vec<_>>());
    let alone: Vec<Vec<u8>> = (0..6).map(|turn| read(&app, &run(columns(turn)))).collect();
    for (columns, output) in outputs.into_iter().flatten() {
        let turn = columns.trailing_zeros() as usize - 3;
        assert!(read(&app, &output) == alone[turn], "rows of {columns}: the bits of one thread");
    }
    app.assert_undisturbed();
    "the bits of one thread".into()
}

pub(super) fn share_an_engine(subject: &Subject) -> Outcome {
    let app = subject.app();
    let engine = Engine::with_gpu(&app.gpu, &app.queue).without_fallback();
    let alone = forward(&engine, 50).expect("runs");
    let all = on_threads(|_| (0..10).map(|_| forward(&engine, 50).expect("runs")).collect::<Vec<_>>());
    assert!(all.into_iter().flatten().all(|output| output == alone), "the bits of one thread");
    app.assert_undisturbed();
    "the bits of one thread".into()
}
