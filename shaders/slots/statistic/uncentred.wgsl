// The sum of squares about zero.
const CENTRED = false;

fn head_of(value: f32) -> f32 {
    return 0.0;
}

fn accumulate(lane: ptr<function, LaneMoments>, value: vec4<f32>, one: vec4<f32>) {
    (*lane).squares += value * value;
    (*lane).count += one;
}
