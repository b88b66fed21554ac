//! Faults, each injected on an adapter, and what comes of it, asserted and put into words.

mod least;
mod lost;
mod memory;
mod refused;
mod threads;

use crate::subject::{App, Subject};
pub(crate) use least::least;
use wgpu_norm::gpu::{Buffers, Options, Prepared};
use wgpu_norm::norm::{LayerNorm, Norm, Operands};
use wgpu_norm::plan::Plan;
use wgpu_norm::{Choice, Dtype, Engine, Error, Parameters, Spec, Tensor};

/// Something that goes wrong.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// Makes it go wrong, checks what comes of it, and says what that is.
    pub(crate) inject: fn(&Subject) -> Outcome,
}

/// What comes of a fault, in words.
pub(crate) type Outcome = String;

pub(crate) const FAULTS: [Fault; 22] = [
    Fault { name: "device destroyed before prepare", inject: lost::before_prepare },
    Fault { name: "device destroyed after prepare", inject: lost::before_bind },
    Fault { name: "device destroyed after bind", inject: lost::before_record },
    Fault { name: "device destroyed while a pass is recorded", inject: lost::while_recording },
    Fault { name: "device destroyed with work in flight", inject: lost::in_flight },
    Fault { name: "device destroyed while a result is read back", inject: lost::before_readback },
    Fault { name: "device destroyed under an engine without fallback", inject: lost::under_a_strict_engine },
    Fault { name: "device destroyed under an engine", inject: lost::under_an_engine },
    Fault { name: "device destroyed from another thread", inject: lost::from_another_thread },
    Fault { name: "device destroyed under a layer in training", inject: lost::under_a_layer },
    Fault { name: "device destroyed before a layer's state is set", inject: lost::before_a_state_is_set },
    Fault { name: "a tensor larger than any buffer of the device", inject: memory::larger_than_a_buffer },
    Fault { name: "a piece larger than any buffer of the device", inject: memory::pieces_larger_than_a_buffer },
    Fault { name: "a scratch buffer that the device refuses", inject: memory::scratch },
    Fault { name: "a kernel that does not compile", inject: refused::kernel },
    Fault { name: "a kernel that does not compile under a layer in training", inject: refused::kernel_under_a_layer },
    Fault { name: "a pass that does not end in time", inject: refused::stall },
    Fault { name: "a buffer that was destroyed", inject: refused::destroyed_buffer },
    Fault { name: "a bind that fails a thousand times", inject: refused::a_thousand_times },
    Fault { name: "eight threads record one bound plan", inject: threads::record_one_plan },
    Fault { name: "eight threads prepare and bind on one device", inject: threads::prepare_at_once },
    Fault { name: "eight threads share an engine", inject: threads::share_an_engine },
];

const ROWS: usize = 8;
const COLUMNS: usize = 64;
const BYTES: u64 = (ROWS * COLUMNS * 4) as u64;

fn plan() -> Plan {
    LayerNorm::new([COLUMNS]).lower(&Operands::new(Spec::new([ROWS, COLUMNS], Dtype::F32))).expect("fits")
}

fn prepared(app: &App) -> Prepared {
    app.gpu.prepare(&plan(), &Options::default()).expect("prepares")
}

fn buffers(app: &App) -> [wgpu::Buffer; 2] {
    [app.buffer(BYTES), app.buffer(BYTES)]
}

fn bound_to<'a>([input, output]: &'a [wgpu::Buffer; 2]) -> Buffers<'a> {
    Buffers::new(input.slice(..), output.slice(..))
}

fn tensor(rows: usize) -> Tensor {
    let values = (0..rows * COLUMNS).map(|i| ((i * 37 + 11) % 101) as f32 / 8.0 - 5.0).collect();
    Tensor::from_f32([rows, COLUMNS], values).expect("as many as the shape holds")
}

fn forward(engine: &Engine, rows: usize) -> Result<Tensor, Error> {
    engine.forward(&LayerNorm::new([COLUMNS]), &tensor(rows), &mut Parameters::default())
}

fn cpu() -> Engine {
    pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is there")
}

/// The pass fails without fallback, with an error of this kind; with it, the CPU repeats the pass, to the bit, and the
/// engine says why.
#[track_caller]
fn assert_repeated(engine: &Engine, rows: usize, is_meant: fn(&Error) -> bool) -> Outcome {
    let error = forward(&engine.clone().without_fallback(), rows).expect_err("the device fails");
    assert!(is_meant(&error), "another error than was meant: {error:?}");
    assert_eq!(engine.last_fallback(), None, "an engine without fallback has noted nothing");
    let output = forward(engine, rows).expect("the CPU repeats it");
    assert!(output == forward(&cpu(), rows).expect("the CPU runs"), "the CPU's bits");
    let noted = engine.last_fallback().expect("it is noted");
    assert!(is_meant(&noted), "another error than was meant: {noted:?}");
    let in_a_line = noted.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(engine.description().contains(&in_a_line), "{:?} says why", engine.description());
    format!("{}; the engine repeats the pass on the CPU and says so", named(&noted))
}

/// An error's kind.
fn named(error: &Error) -> String {
    let debugged = format!("{error:?}");
    let end = debugged.find(|c: char| !c.is_alphanumeric()).unwrap_or(debugged.len());
    format!("`Error::{}`", &debugged[..end])
}

fn is_lost(error: &Error) -> bool {
    matches!(error, Error::DeviceLost(_))
}
