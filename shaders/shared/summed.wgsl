// What is summed over groups, for the input's gradient, or over cells, for the parameters'.

// Whether gradients are those of the normalized values; else those of the affine map's result.
override WEIGHTED: bool = false;

struct Summed {
    products: vec4<f32>,
    gradients: vec4<f32>,
}

fn summed(terms: Terms, base: u32, place: u32) -> Summed {
    if WEIGHTED {
        let gradients = weighted(terms.of_affine, base, place);
        return Summed(gradients * terms.normalized, gradients);
    }
    return Summed(terms.of_affine * meeting_weight(terms.normalized), terms.of_affine);
}
