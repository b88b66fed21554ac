// What goes through the statistics of groups whose sums are at hand.
@group(0) @binding(13) var<storage, read> group_sums: array<vec2<f32>>; // [a, c] of (products, gradients)

fn pair_of(group: u32) -> vec2<f32> {
    if GIVEN {
        return vec2<f32>();
    }
    let s = group_sums[group];
    return of_statistics(s.x, s.y);
}

fn through_of(group: u32) -> Through {
    return through_pair(pair_of(group));
}

fn each_through(groups: vec4<u32>) -> Through {
    let p0 = pair_of(groups.x);
    let p1 = pair_of(groups.y);
    let p2 = pair_of(groups.z);
    let p3 = pair_of(groups.w);
    return Through(vec4<f32>(p0.x, p1.x, p2.x, p3.x), vec4<f32>(p0.y, p1.y, p2.y, p3.y));
}
