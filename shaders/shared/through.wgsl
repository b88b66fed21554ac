// The input's gradient from those of the affine map's result.

// Whether the statistics are given, so that no gradient goes through them.
override GIVEN: bool = false;

// What goes through the statistics of four elements.
struct Through {
    mean: vec4<f32>,
    normalized: vec4<f32>,
}

fn pair_of(group: u32) -> vec2<f32> {
    if GIVEN {
        return vec2<f32>();
    }
    let s = group_sums[group];
    return of_statistics(s.x, s.y);
}

fn through_of(group: u32) -> Through {
    let pair = pair_of(group);
    return Through(vec4<f32>(pair.x), vec4<f32>(pair.y));
}

fn each_through(g0: u32, g1: u32, g2: u32, g3: u32) -> Through {
    let p0 = pair_of(g0);
    let p1 = pair_of(g1);
    let p2 = pair_of(g2);
    let p3 = pair_of(g3);
    return Through(vec4<f32>(p0.x, p1.x, p2.x, p3.x), vec4<f32>(p0.y, p1.y, p2.y, p3.y));
}

fn gradient_of(terms: Terms, four: Four, through: Through, parameters: Parameters) -> vec4<f32> {
    let gradient = weighted(terms.of_affine, parameters);
    if GIVEN {
        return gradient * four.rstd;
    }
    return ((gradient - through.mean) - terms.normalized * through.normalized) * four.rstd;
}
