//! Training by layers: the example's networks on everything that is here, and running estimates over many steps.
#![cfg(feature = "checkpoint")]

#[path = "../examples/train/data.rs"]
mod data;
mod engines;
#[path = "../examples/train/network.rs"]
mod network;
#[path = "../examples/train/training.rs"]
mod training;

use data::{Digits, Random};
use engines::engines;
use training::{EPOCHS, Kind, LEAST_ACCURACY, TOLERANCE, distance, train};
use wgpu_norm::layer::{BatchNorm1d, Layer};
use wgpu_norm::{Engine, Tensor};

#[test]
fn networks_learn_the_same_everywhere() {
    let (training_set, test_set) = Digits::load().expect("the digits are there");
    assert_eq!((training_set.len(), test_set.len()), (480, 120));
    let [reference, engines @ ..] = &engines()[..] else { panic!("the reference is always there") };
    for kind in Kind::ALL {
        let on = |engine: &Engine| train(kind, engine, (&training_set, &test_set), &|| ()).expect("it trains");
        let right = on(reference);
        assert!(right.losses[0] > 1.0 && right.losses[EPOCHS - 1] < 0.1, "{:?}", right.losses);
        for engine in engines {
            let run = on(engine);
            let name = format!("{} on {}", run.kind.name(), run.engine);
            let largest = distance(&run, &right);
            assert!(largest < TOLERANCE, "{name}: the curves differ by {largest}");
            assert!(run.accuracy >= LEAST_ACCURACY, "{name}: {}", run.accuracy);
            let names = run.network.norm.names().count();
            assert_eq!(names, if kind == Kind::Batch { 5 } else { 2 }, "{name}: its state is still there");
        }
    }
}

/// A thousand steps, each a batch of its own, by a share and by the plain average.
#[test]
fn running_estimates_follow_a_thousand_steps() {
    const CHANNELS: usize = 5;
    let batch = |random: &mut Random| {
        let values = (0..8 * CHANNELS).map(|i| random.uniform() * 3.0 + i as f32 % 5.0 * 100.0);
        Tensor::from_f32([8, CHANNELS], values.collect::<Vec<_>>()).expect("as many as the shape holds")
    };
    let after = |engine: &Engine, momentum: Option<f64>| {
        let mut norm = Layer::new(engine, BatchNorm1d::new(CHANNELS).momentum(momentum)).expect("its options fit");
        let mut random = Random::new(3);
        for _ in 0..1000 {
            norm.forward(&batch(&mut random)).expect("a batch");
        }
        assert_eq!(norm.num_batches_tracked(), Ok(Some(1000)), "{}", engine.name());
        ["running_mean", "running_var"].map(|name| norm.get(name).expect("it tracks").data().to_f64())
    };
    for momentum in [Some(0.1), None] {
        let want = in_f64(batch, momentum);
        for engine in engines() {
            let got = after(&engine, momentum);
            for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
                let error = (got - want).abs() / want.abs();
                assert!(error < 1e-5, "{} {momentum:?}: {got} instead of {want}, {error:.1e}", engine.name());
            }
        }
    }

    /// The same by the f64 reference, which keeps its state in f64 from step to step.
    fn in_f64(batch: impl Fn(&mut Random) -> Tensor, momentum: Option<f64>) -> [Vec<f64>; 2] {
        use wgpu_norm::norm::{BatchNorm, Norm, Operands};
        use wgpu_norm::plan::Momentum;
        let momentum = momentum.map_or(Momentum::Cumulative, Momentum::Fixed);
        let mut random = Random::new(3);
        let mut values = wgpu_norm::reference::Values {
            running_mean: vec![0.0; CHANNELS],
            running_var: vec![1.0; CHANNELS],
            ..Default::default()
        };
        for _ in 0..1000 {
            let batch = batch(&mut random);
            let operands = Operands::new(batch.spec()).running(CHANNELS, true);
            let plan = BatchNorm::new().momentum(momentum).lower(&operands).expect("the batch fits");
            values.input = batch.data().to_f64();
            let _ = wgpu_norm::reference::execute(&plan, &mut values).expect("it fits");
        }
        [values.running_mean, values.running_var]
    }
}
