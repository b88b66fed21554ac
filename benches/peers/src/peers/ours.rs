//! This library.

use super::{Column, Peer, Refusal, Round};
use crate::device::Device;
use crate::host;
use crate::task::Task;
use wgpu_norm::Engine;

/// On the CPU, or on an adapter.
pub(crate) enum Ours {
    Host(Engine),
    Device(Box<Device>),
}

impl Peer for Ours {
    fn column(&self) -> Column {
        Column::Ours
    }

    fn measure(&mut self, task: &Task) -> Result<Round, Refusal> {
        let problem = &task.problem;
        match self {
            Self::Host(engine) => {
                let results = host::results(engine, problem, task.backward).map_err(Refusal::failed)?.tensors;
                let time = host::timed(engine, problem, task.backward).map_err(Refusal::failed)?;
                Ok(Round { seconds: time.median, results })
            }
            Self::Device(device) => {
                let (seconds, results) = device.measure(problem, task.backward).map_err(Refusal::failed)?;
                Ok(Round { seconds, results })
            }
        }
    }
}
