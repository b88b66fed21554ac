// prepare: the parameters of the affine map, in f32, from the caller's.
//
// grid     one lane a parameter of the affine map
// bytes    reads the caller's parameters and labels, writes 12 bytes a parameter
@group(0) @binding(3) var<storage, read> weight: array<ParameterWord>;   // columns
@group(0) @binding(4) var<storage, read> bias: array<ParameterWord>;     // columns
@group(0) @binding(16) var<storage, read_write> prepared: array<f32>;    // as in prepared.wgsl

// Bits of task.present.
const WEIGHT = 1u;
const BIAS = 2u;
const CLASS_WEIGHT = 4u;
const CLASS_BIAS = 8u;
const TAU = 16u;
const EPS_L = 32u;

// Whether a weight is stored as its distance from 1.
override ZERO_CENTRED: bool = false;

fn is_present(which: u32) -> bool {
    return (task.present & which) != 0u;
}

fn shared_weight(column: u32) -> f32 {
    let index = column + task.weight_shift;
    if is_present(WEIGHT) {
        let own = parameter_value(weight[index / PARAMETERS_A_WORD], index);
        return select(own, own + 1.0, ZERO_CENTRED);
    }
    return 1.0;
}

fn shared_bias(column: u32) -> f32 {
    let index = column + task.bias_shift;
    if is_present(BIAS) {
        return parameter_value(bias[index / PARAMETERS_A_WORD], index);
    }
    return 0.0;
}

fn keep(j: u32, factor: f32, summand: f32, third: f32) {
    prepared[j] = factor;
    prepared[j + task.prepared_len] = summand;
    prepared[j + 2u * task.prepared_len] = third;
}

fn run(here: Place) {
    if here.item < task.items {
        prepare(here.item);
    }
}
