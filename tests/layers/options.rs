//! What descriptions make: PyTorch's defaults, and what they and their layers refuse.

use crate::rig::{assert_says, layer, ramp, reference, tensor};
use std::collections::BTreeSet;
use wgpu_norm::layer::{
    BatchNorm1d, BatchNorm2d, BatchNorm3d, Description, Entry, GroupNorm, InstanceNorm1d, InstanceNorm2d,
    InstanceNorm3d, Layer, LayerNorm, RmsNorm,
};
use wgpu_norm::{Dtype, Error, Layout, Tensor};

#[test]
fn every_class_begins_as_in_pytorch() {
    let both = ["weight", "bias"];
    let all = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"];
    let rows: [(Layer, &str, &[&str]); 12] = [
        (layer(LayerNorm::new([4])), "LayerNorm", &both),
        (layer(LayerNorm::new([4]).bias(false)), "LayerNorm", &["weight"]),
        (layer(LayerNorm::new([4]).elementwise_affine(false).bias(true)), "LayerNorm", &[]),
        (layer(RmsNorm::new([4])), "RMSNorm", &["weight"]),
        (layer(GroupNorm::new(2, 4)), "GroupNorm", &both),
        (layer(InstanceNorm1d::new(4)), "InstanceNorm1d", &[]),
        (layer(InstanceNorm2d::new(4).affine(true)), "InstanceNorm2d", &both),
        (layer(InstanceNorm3d::new(4).affine(true).track_running_stats(true)), "InstanceNorm3d", &all),
        (layer(BatchNorm1d::new(4)), "BatchNorm1d", &all),
        (layer(BatchNorm2d::new(4).affine(false)), "BatchNorm2d", &all[2..]),
        (layer(BatchNorm3d::new(4).track_running_stats(false)), "BatchNorm3d", &both),
        (layer(BatchNorm3d::new(4).weight(false)), "BatchNorm3d", &all[1..]),
    ];
    for (layer, class, names) in rows {
        assert_eq!((layer.class(), layer.names().collect::<Vec<_>>()), (class, names.to_vec()));
        assert!(layer.is_training() && !layer.is_frozen(), "{class}");
        let dict = layer.state_dict("").expect("on the host");
        assert_eq!(
            dict.keys().map(String::as_str).collect::<BTreeSet<_>>(),
            names.iter().copied().collect(),
            "{class}"
        );
        for (name, entry) in dict {
            let initial = match name.as_str() {
                "weight" | "running_var" => Entry::Tensor(tensor(&[4], &[1.0; 4])),
                "num_batches_tracked" => Entry::Counter(0),
                _ => Entry::Tensor(tensor(&[4], &[0.0; 4])),
            };
            assert_eq!(entry, initial, "{class}.{name}");
        }
    }
}

#[test]
fn parameters_have_the_type_that_is_asked_for() {
    for dtype in Dtype::ALL {
        let layer = layer(BatchNorm1d::new(2).dtype(dtype).zero_centred_weight(true));
        let stored = |name| layer.get(name).expect("it is there");
        assert_eq!(stored("weight"), Tensor::zeros([2], dtype).expect("small"), "a distance from 1");
        assert_eq!((stored("bias").dtype(), stored("running_var").dtype()), (dtype, Dtype::F32));
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    fn of(description: impl TryInto<Description, Error = Error>) -> wgpu_norm::Result<Layer> {
        Layer::new(&reference(), description)
    }
    assert_says(of(BatchNorm2d::new(3).momentum(f64::NAN)), &["momentum", "NaN"]);
    assert_says(of(BatchNorm1d::new(3).momentum_kept(f64::NAN)), &["momentum", "NaN"]);
    assert_says(of(BatchNorm2d::new(3).eps(f64::NAN)), &["eps", "NaN"]);
    assert_says(of(GroupNorm::new(1, 3).eps(f64::NAN)), &["eps", "NaN"]);
    assert_says(of(GroupNorm::new(2, 5)), &["num_groups", "2", "num_channels must be divisible by num_groups"]);
    assert_says(of(GroupNorm::new(0, 5)), &["num_groups", "0"]);
    assert_says(of(GroupNorm::of_size(2, 5)), &["group_size", "2", "5"]);
    assert_says(of(GroupNorm::of_size(0, 5)), &["group_size", "0"]);
    assert_says(of(LayerNorm::new([])), &["normalized_shape", "at least one axis"]);
    assert_says(of(RmsNorm::over_axes([1, 2], [3])), &["shape", "[3]", "[1, 2]"]);
    assert_says(of(BatchNorm2d::new(usize::MAX)), &["num_features"]);
    assert_says(of(BatchNorm2d::new(usize::MAX / 8)), &["num_features"]);
    assert_says(of(LayerNorm::new([usize::MAX, 2])), &["normalized_shape"]);
}

#[test]
fn input_is_checked_in_the_words_of_pytorch() {
    let rows: [(Layer, &[usize], &[&str]); 17] = [
        (layer(BatchNorm1d::new(3)), &[2, 3, 4, 5], &["expected 2D or 3D input (got 4D input)"]),
        (layer(BatchNorm1d::new(3)), &[3], &["expected 2D or 3D input (got 1D input)"]),
        (layer(BatchNorm2d::new(3)), &[2, 3, 4], &["expected 4D input (got 3D input)"]),
        (layer(BatchNorm3d::new(3)), &[2, 3, 4, 5], &["expected 5D input (got 4D input)"]),
        (layer(InstanceNorm1d::new(3)), &[2, 3, 4, 5], &["expected 2D or 3D input (got 4D input)"]),
        (layer(InstanceNorm2d::new(3)), &[3, 4], &["expected 3D or 4D input (got 2D input)"]),
        (layer(InstanceNorm3d::new(3)), &[3, 4, 5], &["expected 4D or 5D input (got 3D input)"]),
        (layer(InstanceNorm3d::new(3)), &[], &["expected 4D or 5D input (got 0D input)"]),
        (layer(GroupNorm::new(1, 3)), &[3], &["at least 2D", "got 1D"]),
        (layer(BatchNorm1d::new(3)), &[2, 4], &["dim=1", "num_features (3)", "[2, 4]"]),
        (layer(BatchNorm2d::new(3).layout(Layout::ChannelsLast)), &[2, 3, 4, 5], &["dim=3", "num_features (3)"]),
        (layer(InstanceNorm1d::new(3).track_running_stats(true)), &[4, 5], &["dim=0", "num_features (3)"]),
        (layer(InstanceNorm1d::new(3).affine(true)), &[2, 4, 5], &["dim=1", "num_features (3)"]),
        (layer(GroupNorm::new(1, 3)), &[2, 4], &["dim=1", "num_channels (3)"]),
        (layer(LayerNorm::new([3])), &[2, 4], &["input", "[2, 4]", "[3]"]),
        (layer(LayerNorm::over_axes([1], [3])), &[2, 4, 5], &["weight", "[3]", "[4]"]),
        (layer(BatchNorm1d::new(3)), &[1, 3], &["[1, 3]", "more than one value per channel"]),
    ];
    for (mut layer, shape, parts) in rows {
        let before = layer.state_dict("").expect("on the host");
        assert_says(layer.forward(&ramp(shape)), parts);
        assert_eq!(layer.state_dict("").expect("on the host"), before, "a refusal leaves the state alone");
    }
    for shape in [&[4, 5][..], &[2, 4, 5]] {
        let taken = layer(InstanceNorm1d::new(3)).forward(&ramp(shape));
        assert!(taken.is_ok(), "PyTorch warns where an instance normalization has nothing of that length");
    }
}

#[test]
fn conventions_of_others_are_converted() {
    assert_eq!(
        Description::try_from(BatchNorm2d::new(3).momentum_kept(0.75)),
        BatchNorm2d::new(3).momentum(0.25).try_into()
    );
    assert_eq!(Description::try_from(GroupNorm::of_size(16, 64)), GroupNorm::new(4, 64).try_into());
    assert_ne!(Description::try_from(GroupNorm::of_size(16, 64)), GroupNorm::new(16, 64).try_into());
}
