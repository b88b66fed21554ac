//! Which samples and which ways to run them are due on an adapter, and what came of them.

use crate::draw::{all_are_drawn, drawn, is_drawn};
use crate::rig::Rig;
use crate::sample::Sample;
use std::collections::HashSet;
use wgpu_norm::Dtype;
use wgpu_norm::gpu::{Options, Strategy};
use wgpu_norm::plan::Activation;

/// The samples whose turn it is with one of the activations: in each run of as many samples as there are activations,
/// another.
pub(crate) fn in_turn(samples: Vec<Sample>, turn: usize) -> Vec<Sample> {
    let all = Activation::ALL.len();
    let is_due = |number: usize| is_drawn(drawn(number / all) + number + turn, all);
    samples.into_iter().enumerate().filter(|(number, _)| is_due(*number)).map(|(_, sample)| sample).collect()
}

pub(crate) struct Tally<'a> {
    pub(crate) rig: &'a Rig,
    ways: usize,
    /// The largest share of what an element of f32 may be off. In short types the error is the storage's own, nearly
    /// half a unit.
    worst: f64,
    faults: Vec<String>,
    /// What ran so far: strategies and types, each in and out of place, whole packs and one by one, with and without
    /// subgroups and the adapter's own f16.
    ran: HashSet<(Option<Strategy>, Dtype, [bool; 4])>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(rig: &'a Rig) -> Self {
        Self { rig, ways: 0, worst: 0.0, faults: Vec::new(), ran: HashSet::new() }
    }

    /// Which of the ways to run a sample by a strategy are due on this adapter: one in four, and one at least, drawn for the
    /// sample and the strategy, since the time of these tests is that of a compiler. Interfaces of one device, which share
    /// it, take turns at them as well; not at what one may have that another lacks. What has not run here yet is due in
    /// any case.
    pub(crate) fn due(&mut self, [sample, kind]: [usize; 2], dtype: Dtype, ways: &[Options]) -> Vec<usize> {
        let lot = drawn(Strategy::ALL.len() * sample + kind);
        (0..ways.len()).filter(|way| self.is_due(lot + way, ways.len().min(4), dtype, &ways[*way])).collect()
    }

    fn is_due(&mut self, lot: usize, one_in: usize, dtype: Dtype, options: &Options) -> bool {
        let has = self.rig.gpu.capabilities();
        let subgroups = options.subgroups && has.subgroups.is_some();
        let native_f16 = options.native_f16 && has.native_f16 && dtype == Dtype::F16;
        let by_element = options.offset_alignment == 4;
        let is_new = self.ran.insert((options.strategy, dtype, [options.in_place, by_element, subgroups, native_f16]));
        let is_its_turn = all_are_drawn() || subgroups || native_f16 || self.rig.takes(lot / one_in);
        is_new || (is_drawn(lot, one_in) && is_its_turn)
    }

    /// One way more, of which this or that came.
    pub(crate) fn add(&mut self, dtype: Dtype, result: Result<f64, String>, way: impl FnOnce() -> String) {
        self.ways += 1;
        match result {
            Ok(share) if dtype == Dtype::F32 => self.worst = self.worst.max(share),
            Ok(_) => {}
            Err(fault) => self.faults.push(format!("{}: {}: {fault}", self.rig.name, way())),
        }
    }

    /// Says how far off the worst was, of so many units that it may be; panics at faults.
    pub(crate) fn finish(self, units: f64) {
        let Self { rig, ways, worst, faults, .. } = self;
        println!("{}: {ways} ways, worst f32 error {:.2} units, {units} allowed", rig.name, worst * units);
        assert!(faults.is_empty(), "{} of {ways} ways fail: {:#?}", faults.len(), &faults[..faults.len().min(8)]);
    }
}
