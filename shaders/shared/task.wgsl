// What one dispatch is told. `Task` in src/gpu/uniforms.rs mirrors it; a test compares the two.

// Lanes of a workgroup.
override WORKGROUP_SIZE: u32 = 64u;
// Lanes that share one item; a power of two that divides WORKGROUP_SIZE.
override LANES: u32 = 8u;

struct Task {
    levels: vec4<u32>,            // a, b, c, d of the whole tensor
    origin: vec4<u32>,            // where this dispatch's box begins, level by level
    extent: vec4<u32>,            // and how far it reaches, in the kernel's own steps
    statistics_origin: vec2<u32>, // i_a, i_c of statistics[0]
    statistics_row: u32,          // statistics a step of i_a
    items: u32,                   // what lanes or teams of lanes are counted out for
    input_shift: u32,             // added to an index into the whole tensor, it gives the index into
    output_shift: u32,            // the bound window; modulo 2^32, so that a window anywhere in a
    weight_shift: u32,            // tensor of any size is reached
    bias_shift: u32,
    x_shift: u32,
    added_shift: u32,
    sum_shift: u32,
    statistics_shift: u32,        // likewise for an index of a statistic
    extra_shift: vec2<u32>,       // and for two more tensors
    rows: u32,                    // rows of b a partial
    segment: u32,                 // elements of a row that go to one partial, or to one affine item
    segments: u32,                // partials a row
    partials: u32,                // partials a statistic, or a cell
    a_modulus: u32,               // p = (i_a % a_modulus) * a_scale + i_b / b_divisor * b_scale
    a_scale: u32,                 //     + i_c * c_scale + i_d / d_divisor
    b_divisor: u32,
    b_scale: u32,
    c_scale: u32,
    d_divisor: u32,
    channels: u32,                // elements of running_mean; statistic s belongs to s % channels
    samples: u32,                 // statistics a channel
    channel_origin: u32,          // first channel of this dispatch
    place_end: u32,               // where the box ends in its rows, for the affine kernel
    a_end: u32,                   // and in a and c, for teams that take several groups
    c_end: u32,
    is_first_chunk: u32,          // whether the running estimates are still those of before
    samples_share: f32,           // samples of this dispatch over all samples
    statistic_a_divisor: u32,     // backward: s = i_a / a_divisor % a_modulus * a_scale + i_b * b_scale
    statistic_a_modulus: u32,     //     + i_c / c_divisor * c_scale + i_d * d_scale
    statistic_a_scale: u32,
    statistic_b_scale: u32,
    statistic_c_divisor: u32,
    statistic_c_scale: u32,
    statistic_d_scale: u32,
    block_a: u32,                 // groups along a and along c that one team takes one after the other
    block_c: u32,
    sums_inner: u32,              // collect: sum j begins at term j / inner * outer + j % inner,
    sums_outer: u32,              // and goes on with the partials that are a stride further
    sums_stride: u32,
    sums_count: u32,
    sums_origin: u32,             // what leads from a term to its parameter
    sums_len: u32,                // parameters
    terms_origin: u32,            // where terms begin
    second_origin: u32,           // from the sums of a group or cell to its second ones
    prepared_len: u32,            // parameters of the affine map that the prepare kernel makes
    prepared_width: u32,          // of these a row
    repeat: u32,                  // neighbours in a row that share one of the caller's
    classes: u32,                 // rows of the caller's tables
    present: u32,                 // which of a kernel's tensors are there, bit by bit
    zero: u32,                    // 0
    eps: f32,
    count: f32,                   // elements a statistic, b * d
    divisor: f32,                 // what a sum of squares is divided by: the count, or one less
    unbiased: f32,                // count / (count - 1), or 1 where the running variance is biased
    momentum: f32,                // share of the new value; 0 where it is 1 / num_batches_tracked
}

@group(0) @binding(2) var<uniform> task: Task;

// Index of the first element of a row, modulo 2^32.
fn row_index(i_a: u32, i_b: u32, i_c: u32) -> u32 {
    return ((i_a * task.levels.y + i_b) * task.levels.z + i_c) * task.levels.w;
}

// Index of a group's or cell's entry in memory that this dispatch shares with others.
fn entry_index(i_a: u32, i_c: u32) -> u32 {
    return (i_a - task.statistics_origin.x) * task.statistics_row + (i_c - task.statistics_origin.y);
}

// Index of a statistic among those at hand.
fn statistic_index(i_a: u32, i_c: u32) -> u32 {
    return entry_index(i_a, i_c) + task.statistics_shift;
}

// Index of the statistic that an item of the box's own stands for.
fn statistic_of_item(item: u32) -> u32 {
    return statistic_index(task.origin.x + item / task.extent.z, task.origin.z + item % task.extent.z);
}

// A row is cut into packs of four elements, the last of which may be short.
fn packs_of(elements: u32) -> u32 {
    return (elements + 3u) / 4u;
}
