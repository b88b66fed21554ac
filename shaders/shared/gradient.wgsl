// What backward needs of four elements: their normalized values, and the gradients that reach these.
@group(0) @binding(5) var<storage, read> statistics: array<vec4<f32>>; // [a, c] of (mean, its tail, rstd, variance)

struct Terms {
    normalized: vec4<f32>,
    // The gradient of the affine map's result.
    of_affine: vec4<f32>,
    // What a threshold keeps from it.
    clipped: vec4<f32>,
}

// The statistics of four elements.
struct Four {
    mean: vec4<f32>,
    tail: vec4<f32>,
    rstd: vec4<f32>,
}

fn all_of(statistic: vec4<f32>) -> Four {
    return Four(vec4<f32>(statistic.x), vec4<f32>(statistic.y), vec4<f32>(statistic.z));
}

fn each_of(s0: vec4<f32>, s1: vec4<f32>, s2: vec4<f32>, s3: vec4<f32>) -> Four {
    return Four(
        vec4<f32>(s0.x, s1.x, s2.x, s3.x),
        vec4<f32>(s0.y, s1.y, s2.y, s3.y),
        vec4<f32>(s0.z, s1.z, s2.z, s3.z),
    );
}

fn terms_of(value: vec4<f32>, gradient: vec4<f32>, four: Four, base: u32, place: u32) -> Terms {
    let normalized = ((value - four.mean) - four.tail) * four.rstd;
    if ACTIVATION == 0u && !THRESHOLDED {
        return Terms(normalized, gradient, vec4<f32>());
    }
    let reaching = gradient * slope(affine(normalized, base, place));
    let passing = passes(normalized, base, place);
    return Terms(normalized, select(vec4<f32>(), reaching, passing), select(reaching, vec4<f32>(), passing));
}

// Of the four elements from `index` of the whole tensor on.
fn terms_at(index: u32, four: Four, base: u32, place: u32) -> Terms {
    return terms_of(load_x(index + task.x_shift), load(index + task.input_shift), four, base, place);
}
