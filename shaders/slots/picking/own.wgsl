// Parameters of the columns, perhaps several neighbours with the same one; a threshold, and a part of eps.
@group(0) @binding(19) var<storage, read> tau: array<ParameterWord>;   // columns
@group(0) @binding(20) var<storage, read> eps_l: array<ParameterWord>; // one

fn prepare(j: u32) {
    let column = j % task.prepared_width / task.repeat;
    var threshold = 0.0;
    if is_present(TAU) {
        threshold = parameter_value(tau[(column + task.extra_shift.x) / PARAMETERS_A_WORD], column + task.extra_shift.x);
    }
    keep(j, shared_weight(column), shared_bias(column), threshold);
    if j == 0u && is_present(EPS_L) {
        let learned = parameter_value(eps_l[task.extra_shift.y / PARAMETERS_A_WORD], task.extra_shift.y);
        prepared[3u * task.prepared_len] = abs(learned);
        prepared[3u * task.prepared_len + 1u] = sign(learned);
    }
}
