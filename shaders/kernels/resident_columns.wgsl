// resident_columns: LANES lanes hold a segment of columns from the first row to the last, for groups that lie side by side.
//
// grid     one team a segment of columns; ROW_LANES of its lanes share four columns
// bytes    reads the tensor once, writes it once; with running estimates reads and writes 8 bytes a channel
// steps    those of the resident kernel: load and sum to the means' heads; sum what is left to the tails and the squares,
//          and hold that instead; apply and store
// limits   d is 1; all b rows fit ROW_LANES * REGISTERS; a 16-bit row is of even length
fn run(here: Place) {
    let columns = column_item(here.item, here.lane);
    let is_there = here.item < task.items && columns.place < columns.end;
    let rows = select(0u, columns.rows, is_there);
    let row_step = task.levels.z;
    let start = row_index(columns.i_a, 0u, 0u) + columns.place;
    let first = start + columns.row * row_step;

    // Nothing waits for a load before all are on their way.
    var guess = vec4<f32>();
    if is_there {
        guess = heads_of(load(start + task.input_shift));
    }
    var held: Held;
    for (var k = 0u; k < rounds(rows); k++) {
        if k < rows {
            hold(&held, k, load(first + k * row_step + task.input_shift));
        }
    }
    var sum = vec4<f32>();
    for (var k = 0u; k < rounds(rows); k++) {
        if k < rows {
            sum += again(&held, k, first + k * row_step) - guess;
        }
    }
    var head = guess;
    if CENTRED {
        head += gather_apart(sum, column_lanes()) / task.count;
    }

    sum = vec4<f32>();
    var squares = vec4<f32>();
    for (var k = 0u; k < rounds(rows); k++) {
        if k >= rows {
            continue;
        }
        let centred = again(&held, k, first + k * row_step) - head;
        hold(&held, k, centred);
        sum += centred;
        squares += centred * centred;
    }
    // What the rounding of the heads left: small, so the correction of the squares cancels nothing.
    var left = vec4<f32>();
    if CENTRED {
        left = gather_apart(sum, column_lanes());
    }
    let tail = left / task.count;
    let variance = (gather_apart(squares, column_lanes()) - tail * left) / task.divisor;
    let rstd = vec4<f32>(rstd_of(variance.x), rstd_of(variance.y), rstd_of(variance.z), rstd_of(variance.w));

    let base = group_parameter(columns.i_a, 0u);
    var parameters = parameters_at(base + row_parameter(columns.row), columns.place);
    for (var k = 0u; k < rounds(rows); k++) {
        if k >= rows {
            continue;
        }
        if EACH_ROW {
            parameters = parameters_at(base + row_parameter(columns.row + k), columns.place);
        }
        let index = first + k * row_step;
        let value = (again(&held, k, index) - tail) * rstd;
        store(index + task.output_shift, activate(affine(value, parameters)), min(4u, columns.end - columns.place));
    }
    if is_there && here.lane < column_lanes() {
        for (var i = 0u; i < min(4u, columns.end - columns.place); i++) {
            let statistic = vec4<f32>(head[i], tail[i], rstd[i], variance[i]);
            save(statistic_index(columns.i_a, columns.place + i), statistic);
            track(columns.i_a * task.levels.z + columns.place + i, statistic);
        }
    }
}
