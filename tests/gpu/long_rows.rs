//! Rows as long as a lane's iterations allow, whose last pack is not whole: drivers that cut a lane off say nothing.

use crate::rig::rigs;
use crate::sample::{Sample, distance};
use wgpu_norm::gpu::{Options, Strategy};
use wgpu_norm::norm::{LayerNorm, Operands};
use wgpu_norm::{Choice, Dtype, Engine, Parameters, Spec, Tensor, Wanted};

fn operands(rows: usize, d: usize, dtype: Dtype) -> Operands {
    let spec = |shape: &[usize]| Spec::new(shape, dtype);
    Operands::new(spec(&[rows, d])).weight(spec(&[d])).bias(spec(&[d]))
}

/// Both share their partials, so streaming has the bits of split, whose lanes take a part of a row each.
#[test]
fn streaming_has_the_bits_of_split() {
    for rig in rigs() {
        // The longest that a lane takes one group of, and four together.
        for (rows, d, dtype) in [(2, 930_001, Dtype::F32), (64, 110_001, Dtype::F32), (2, 930_002, Dtype::F16)] {
            let sample = Sample::new(&LayerNorm::new([d]), &operands(rows, d, dtype), 3.0);
            let outputs = [Strategy::Streaming, Strategy::Split].map(|strategy| {
                let options = Options::default().strategy(strategy).native_f16(false);
                rig.run(&sample.call(options, 0)).expect("runs").output
            });
            let differ =
                outputs[0].to_f64().iter().zip(outputs[1].to_f64()).position(|(a, b)| a.to_bits() != b.to_bits());
            assert_eq!(differ, None, "{}: [{rows}, {d}] {dtype}", rig.name);
        }
    }
}

/// A block of groups goes through a lane one after the other; the CPU has no bound on iterations.
#[test]
fn gradients_of_a_block_of_long_rows_are_those_of_the_cpu() {
    let cpu = pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is there");
    for (rows, d) in [(128, 32_765), (64, 65_533)] {
        let sample = Sample::new(&LayerNorm::new([d]), &operands(rows, d, Dtype::F32), 3.0);
        let tensor = |shape: &[usize], data: &Option<wgpu_norm::Data>| {
            Tensor::new(shape, data.clone().expect("there is one")).expect("fits")
        };
        let input = tensor(&[rows, d], &Some(sample.input.clone()));
        let upstream = Tensor::new([rows, d], input.data().clone()).expect("fits");
        let (weight, bias) = (tensor(&[d], &sample.weight), tensor(&[d], &sample.bias));
        let gradients = |engine: &Engine| {
            let norm = LayerNorm::new([d]);
            let mut parameters = Parameters { weight: Some(&weight), bias: Some(&bias), ..Parameters::default() };
            let forward = engine.forward_saving(&norm, &input, &mut parameters).expect("runs");
            engine
                .backward(&norm, &input, &upstream, &forward.statistics, &parameters, Wanted::all(&sample.plan))
                .expect("runs")
        };
        let want = gradients(&cpu);
        for rig in rigs() {
            let choice = Choice::from(rig.adapter.clone());
            let engine = pollster::block_on(Engine::open(&choice)).expect("opens").without_fallback();
            let got = gradients(&engine);
            for (name, got, want) in [
                ("input", &got.input, &want.input),
                ("weight", &got.weight, &want.weight),
                ("bias", &got.bias, &want.bias),
            ] {
                let [got, want] = [got, want].map(|tensor| tensor.as_ref().expect("asked for").data().to_f64());
                let largest = want.iter().fold(0f64, |m, x| m.max(x.abs()));
                let worst = got.iter().zip(&want).fold(0f64, |m, (g, w)| m.max(distance(*g, *w))) / largest;
                assert!(worst < 1e-5, "{}: [{rows}, {d}]: {name}: {worst:.1e} of the largest", rig.name);
            }
        }
    }
}
