// To the tables: the terms of the samples of one class, after what all classes share.
fn term_at(index: u32, j: u32, k: u32) -> vec2<f32> {
    return select(vec2<f32>(), partials[index], class_of(k) == j / task.prepared_width);
}

fn finished(total: vec2<f32>, j: u32) -> vec2<f32> {
    let column = 3u * task.prepared_len + j % task.prepared_width;
    let weight = prepared[column];
    let bias = prepared[column + task.prepared_width];
    // A bias of 0, which is what there is without one, adds nothing, be the sum infinite.
    return vec2<f32>(weight * total.x + select(bias * total.y, 0.0, bias == 0.0), total.y);
}
