// What backward needs of four elements: their normalized values, and the gradients that reach these.
@group(0) @binding(5) var<storage, read> statistics: array<vec4<f32>>; // [a, c] of (head, tail, rstd, variance)

struct Terms {
    normalized: vec4<f32>,
    // The gradient of the affine map's result.
    of_affine: vec4<f32>,
    // What a threshold keeps from it.
    clipped: vec4<f32>,
}

fn terms_of(value: vec4<f32>, gradient: vec4<f32>, four: Four, parameters: Parameters) -> Terms {
    let normalized = normalized_by(value, four);
    if ACTIVATION == 0u && !THRESHOLDED {
        return Terms(normalized, gradient, vec4<f32>());
    }
    let reaching = gradient * slope(affine(normalized, parameters));
    let passing = passes(normalized, parameters);
    return Terms(normalized, select(vec4<f32>(), reaching, passing), select(reaching, vec4<f32>(), passing));
}

// From an index into the whole tensor to those into what is bound of x, of the output's gradient and of the input's.
fn bound_shifts() -> vec3<u32> {
    return vec3<u32>(task.x_shift, task.input_shift, task.output_shift);
}

// Of the four elements that lie there in x and the output's gradient.
fn terms_at(at: vec3<u32>, four: Four, parameters: Parameters) -> Terms {
    return terms_of(load_x(at.x), load(at.y), four, parameters);
}
