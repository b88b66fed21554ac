// affine: the apply step, where the statistics are at hand.
//
// grid     one team of LANES lanes a segment of a row; a row is d elements, or c * d with COLUMNS
// bytes    reads the tensor once, writes it once
// limits   a 16-bit row is of even length
@group(0) @binding(5) var<storage, read> statistics: array<vec4<f32>>; // [a, c] of (head, tail, rstd, variance)

fn normalized_columns(value: vec4<f32>, i_a: u32, place: u32) -> vec4<f32> {
    let d = task.levels.w;
    let s0 = statistics[statistic_index(i_a, place / d)];
    let s1 = statistics[statistic_index(i_a, (place + 1u) / d)];
    let s2 = statistics[statistic_index(i_a, (place + 2u) / d)];
    let s3 = statistics[statistic_index(i_a, (place + 3u) / d)];
    let head = vec4<f32>(s0.x, s1.x, s2.x, s3.x);
    let tail = vec4<f32>(s0.y, s1.y, s2.y, s3.y);
    return ((value - head) - tail) * vec4<f32>(s0.z, s1.z, s2.z, s3.z);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn affine_rows(lanes: LaneInput) {
    let here = place(lanes);
    if here.item >= task.items {
        return;
    }
    let row = row_item(here.item);
    let first = row_index(row.i_a, row.i_b, row.i_c);
    let base = parameter_base(row.i_a, row.i_b, row.i_c);
    var statistic = vec4<f32>();
    if !COLUMNS {
        statistic = statistics[statistic_index(row.i_a, row.i_c)];
    }

    for (var place = row.begin + 4u * here.lane; place < row.end; place += 4u * LANES) {
        let value = load(first + place + task.input_shift);
        var y = vec4<f32>();
        if COLUMNS {
            y = normalized_columns(value, row.i_a, place);
        } else {
            y = normalized(value, statistic);
        }
        store(first + place + task.output_shift, activate(affine(y, base, place)), min(4u, row.end - place));
    }
}
