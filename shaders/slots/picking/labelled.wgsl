// A row of a table for each sample, after what all classes share.
@group(0) @binding(17) var<storage, read> class_weight: array<ParameterWord>; // [classes, columns]
@group(0) @binding(18) var<storage, read> class_bias: array<ParameterWord>;   // [classes, columns]
@group(0) @binding(22) var<storage, read_write> error_flag: array<u32>;       // one: 1 where a label has no row

fn prepare(j: u32) {
    let sample = j / task.prepared_width;
    let column = j % task.prepared_width;
    let cell = class_of(sample) * task.prepared_width + column;
    var factor = 1.0;
    if is_present(CLASS_WEIGHT) {
        factor = parameter_value(class_weight[(cell + task.extra_shift.x) / PARAMETERS_A_WORD], cell + task.extra_shift.x);
    }
    var summand = 0.0;
    if is_present(CLASS_BIAS) {
        summand = parameter_value(class_bias[(cell + task.extra_shift.y) / PARAMETERS_A_WORD], cell + task.extra_shift.y);
    }
    let weight = shared_weight(column);
    let bias = shared_bias(column);
    // No bias adds nothing, be the factor infinite.
    keep(j, weight * factor, select(summand, bias * factor + summand, is_present(BIAS)), factor);
    if sample == 0u {
        prepared[3u * task.prepared_len + column] = weight;
        prepared[3u * task.prepared_len + task.prepared_width + column] = bias;
    }
    if column == 0u && !has_row(labels[sample]) {
        error_flag[0] = 1u;
    }
}
