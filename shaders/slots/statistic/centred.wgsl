// Mean and centred sum of squares.
const CENTRED = true;

fn head_of(value: f32) -> f32 {
    return value;
}

// Welford's step, on each component that is present. Of one that is not the factors are zeros: their product may be infinite.
fn accumulate(lane: ptr<function, LaneMoments>, value: vec4<f32>, one: vec4<f32>) {
    let count = (*lane).count + one;
    let delta = value - (*lane).mean;
    let mean = (*lane).mean + delta * share_of_one(one, count);
    (*lane).squares += (delta * one) * (value - mean);
    (*lane).mean = mean;
    (*lane).count = count;
}
