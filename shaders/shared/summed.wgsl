// What is summed over groups, for the input's gradient, or over cells, for the parameters'.

// Whether gradients are those of the normalized values; else those of the affine map's result.
override WEIGHTED: bool = false;
// Whether what reaches a threshold and eps is summed as well.
override SECOND: bool = false;

struct Summed {
    products: vec4<f32>,
    gradients: vec4<f32>,
}

// What reaches eps by way of the variance.
fn of_eps(terms: Terms, four: Four, parameters: Parameters) -> vec4<f32> {
    let products = weighted(terms.of_affine, parameters) * terms.normalized;
    return (-0.5 * sign_of_eps()) * four.rstd * four.rstd * products;
}

fn summed(terms: Terms, parameters: Parameters) -> Summed {
    if WEIGHTED {
        let gradients = weighted(terms.of_affine, parameters);
        return Summed(gradients * terms.normalized, gradients);
    }
    return Summed(terms.of_affine * meeting_weight(terms.normalized), terms.of_affine);
}
