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
    let columns = column_item(here.item);
    let d = task.levels.w;
    let row_step = task.levels.z * d;
    let place = columns.place;
    let first = row_index(columns.i_a, columns.row, 0u) + place;
    let last = place + columns.valid - 1u;
    let column1 = min(place + 1u, last);
    let column2 = min(place + 2u, last);
    let o0 = statistic_offset(place / d, place % d);
    let o1 = statistic_offset(column1 / d, column1 % d);
    let o2 = statistic_offset(column2 / d, column2 % d);
    let o3 = statistic_offset(last / d, last % d);
    var products = vec4<f32>();
    var gradients = vec4<f32>();
    var clipped = vec4<f32>();
    var eps = vec4<f32>();
    for (var i = 0u; i < columns.rows; i++) {
        let s = statistic_base(columns.i_a, columns.row + i);
        let four = each_of(statistics[s + o0], statistics[s + o1], statistics[s + o2], statistics[s + o3]);
        let base = parameter_base(columns.i_a, columns.row + i, 0u);
        let terms = terms_at(first + i * row_step, four, base, place);
        let both = summed(terms, base, place);
        products += both.products;
        gradients += both.gradients;
        if SECOND {
            clipped += terms.clipped;
            eps += of_eps(terms, four, base, place);
        }
    }
    for (var i = 0u; i < columns.valid; i++) {
        partials[column_index(columns, i)] = vec2<f32>(products[i], gradients[i]);
        if SECOND {
            partials[column_index(columns, i) + task.second_origin] = vec2<f32>(clipped[i], eps[i]);
        }
    }
}
