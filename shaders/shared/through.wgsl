// The input's gradient from those of the affine map's result.

// Whether the statistics are given, so that no gradient goes through them.
override GIVEN: bool = false;

// What goes through the statistics of four elements.
struct Through {
    mean: vec4<f32>,
    normalized: vec4<f32>,
}

// Of elements of one group, whose pair this is.
fn through_pair(pair: vec2<f32>) -> Through {
    return Through(vec4<f32>(pair.x), vec4<f32>(pair.y));
}

fn through_sums(sums: vec2<f32>) -> Through {
    return through_pair(of_statistics(sums.x, sums.y));
}

fn gradient_of(terms: Terms, four: Four, through: Through, parameters: Parameters) -> vec4<f32> {
    let gradient = weighted(terms.of_affine, parameters);
    if GIVEN {
        return gradient * four.rstd;
    }
    return ((gradient - through.mean) - terms.normalized * through.normalized) * four.rstd;
}
