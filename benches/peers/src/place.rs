//! Where is measured, and who is there.

use crate::device::Device;
use crate::peers::burn;
use crate::peers::candle::Candle;
use crate::peers::ours::Ours;
use crate::peers::python::{Python, Script};
use crate::peers::{Column, Peer};
use std::cell::RefCell;
use std::rc::Rc;
use wgpu_norm::{Choice, Engine, wgpu};

/// The CPU, or an adapter.
pub(crate) struct Place {
    pub(crate) name: String,
    /// Ours first.
    pub(crate) peers: Vec<Box<dyn Peer>>,
}

impl Place {
    /// Ours and these remain; all where none is named.
    pub(crate) fn keep(&mut self, libraries: &[Column]) {
        let wanted = |column| column == Column::Ours || libraries.is_empty() || libraries.contains(&column);
        self.peers.retain(|peer| wanted(peer.column()));
    }
}

/// The places that a name stands for.
pub(crate) fn open(name: &str, script: Script) -> Result<Vec<Place>, String> {
    let text = |error: wgpu_norm::Error| error.to_string();
    if name == "reference" {
        return Err("adapter: the reference says what is right and is not timed".into());
    }
    let script = Rc::new(RefCell::new(script));
    let mut places = Vec::new();
    for choice in pollster::block_on(Choice::named(name)).map_err(text)? {
        match &choice {
            Choice::Cpu => {
                let engine = pollster::block_on(Engine::open(&choice)).map_err(text)?;
                places.push(Place { name: choice.name(), peers: on_the_cpu(engine, &script) });
            }
            Choice::Adapter { adapter, .. } => {
                let device = Device::open(adapter).map_err(text)?;
                places.push(Place { name: choice.name(), peers: on_adapter(adapter, device, &script) });
            }
            _ => {}
        }
    }
    Ok(places)
}

fn on_the_cpu(engine: Engine, script: &Rc<RefCell<Script>>) -> Vec<Box<dyn Peer>> {
    let mut peers: Vec<Box<dyn Peer>> =
        vec![Box::new(Ours::Host(engine)), Box::new(burn::on_the_cpu()), Box::new(Candle)];
    peers.extend(Python::on_the_cpu(script).into_iter().map(|peer| Box::new(peer) as _));
    peers
}

fn on_adapter(adapter: &wgpu::Adapter, device: Device, script: &Rc<RefCell<Script>>) -> Vec<Box<dyn Peer>> {
    let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(Ours::Device(Box::new(device)))];
    match burn::on_adapter(adapter) {
        Ok(peer) => peers.push(Box::new(peer)),
        Err(reason) => eprintln!("burn on {}: {reason}", adapter.get_info().name),
    }
    peers.extend(Python::on_adapter(script, &adapter.get_info().name).into_iter().map(|peer| Box::new(peer) as _));
    peers
}
