// column_sums: as the sums kernel, for groups or cells that lie side by side. A lane takes four neighbouring
// columns of c * d and `rows` rows of b.
//
// grid     one lane a pack of columns and block of rows
// bytes    reads x and the output's gradient once, writes 8 bytes a column and block
// limits   `rows` bounds a lane's iterations
@group(0) @binding(6) var<storage, read_write> partials: array<vec2<f32>>; // (products, gradients)

@compute @workgroup_size(WORKGROUP_SIZE)
fn sum_columns(lanes: LaneInput) {
    let here = place(lanes);
    if here.item >= task.items {
        return;
    }
    let d = task.levels.w;
    let columns = task.levels.z * d;
    let place = task.origin.w + 4u * (here.item % task.extent.w);
    let rest = here.item / task.extent.w;
    let block = task.origin.y + rest % task.extent.y;
    let i_a = task.origin.x + rest / task.extent.y;
    let row = block * task.rows;
    let rows = min(task.rows, task.levels.y - row);
    let valid = min(4u, (task.origin.z + task.extent.z) * d - place);

    let first = row_index(i_a, row, 0u) + place;
    let last = place + valid - 1u;
    let column1 = min(place + 1u, last);
    let column2 = min(place + 2u, last);
    let o0 = statistic_offset(place / d, place % d);
    let o1 = statistic_offset(column1 / d, column1 % d);
    let o2 = statistic_offset(column2 / d, column2 % d);
    let o3 = statistic_offset(last / d, last % d);
    var products = vec4<f32>();
    var gradients = vec4<f32>();
    for (var i = 0u; i < rows; i++) {
        let s = statistic_base(i_a, row + i);
        let four = each_of(statistics[s + o0], statistics[s + o1], statistics[s + o2], statistics[s + o3]);
        let base = parameter_base(i_a, row + i, 0u);
        let both = summed(terms_at(first + i * columns, four, base, place), base, place);
        products += both.products;
        gradients += both.gradients;
    }
    for (var i = 0u; i < valid; i++) {
        let entry = entry_index(i_a, (place + i) / d);
        partials[entry * task.partials + block * d + (place + i) % d] = vec2<f32>(products[i], gradients[i]);
    }
}
