// The statistics of four elements, and the normalization itself.

struct Four {
    head: vec4<f32>,
    tail: vec4<f32>,
    rstd: vec4<f32>,
}

// Of elements of one group.
fn all_of(statistic: vec4<f32>) -> Four {
    return Four(vec4<f32>(statistic.x), vec4<f32>(statistic.y), vec4<f32>(statistic.z));
}

// Of elements of a group each.
fn each_of(s0: vec4<f32>, s1: vec4<f32>, s2: vec4<f32>, s3: vec4<f32>) -> Four {
    return Four(
        vec4<f32>(s0.x, s1.x, s2.x, s3.x),
        vec4<f32>(s0.y, s1.y, s2.y, s3.y),
        vec4<f32>(s0.z, s1.z, s2.z, s3.z),
    );
}

// Head and tail go one after the other: the first difference is exact or nearly so, and the second then has small
// numbers to work on.
fn normalized_by(value: vec4<f32>, four: Four) -> vec4<f32> {
    return (hidden_four(value - four.head) - four.tail) * four.rstd;
}
