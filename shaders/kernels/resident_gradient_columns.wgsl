// resident_gradient_columns: LANES lanes hold what backward needs of a segment of columns from the first row to the last,
// for groups that lie side by side.
//
// grid     one team a segment of columns; ROW_LANES of its lanes share four columns
// bytes    reads x and the output's gradient once, writes the input's once; 16 bytes a column, 8 a column or 8 a row and
//          segment
// steps    load and sum; store the sums of the parameters, and the gradient
// limits   d is 1; all b rows fit ROW_LANES * REGISTERS; a 16-bit row is of even length

// What is left for the parameters' gradients. 0: nothing; 1: a sum for each row, which has the same parameter in every
// column; 2: a sum for each column, which has one parameter.
override PARAMETER_SUMS: u32 = 0u;

// What goes through the statistics of four columns.
struct OfColumns {
    mean: vec4<f32>,
    normalized: vec4<f32>,
}

fn of_columns(products: vec4<f32>, gradients: vec4<f32>) -> OfColumns {
    let x = of_statistics(products.x, gradients.x);
    let y = of_statistics(products.y, gradients.y);
    let z = of_statistics(products.z, gradients.z);
    let w = of_statistics(products.w, gradients.w);
    return OfColumns(vec4<f32>(x.x, y.x, z.x, w.x), vec4<f32>(x.y, y.y, z.y, w.y));
}

fn run(here: Place) {
    let columns = column_item(here.item, here.lane);
    let is_there = here.item < task.items && columns.place < columns.end;
    let rows = select(0u, columns.rows, is_there);
    let valid = select(0u, min(4u, columns.end - columns.place), is_there);
    let row_step = task.levels.z;
    let first = row_index(columns.i_a, columns.row, 0u) + columns.place;

    // Nothing waits for a load before all are on their way.
    var normalized: array<vec4<f32>, REGISTERS>;
    var gradient: array<vec4<f32>, REGISTERS>;
    for (var k = 0u; k < REGISTERS; k++) {
        if k < rows {
            normalized[k] = load_x(first + k * row_step + task.x_shift);
            gradient[k] = load(first + k * row_step + task.input_shift);
        }
    }
    var four: Four;
    if is_there {
        let s = vec4<u32>(statistic_index(columns.i_a, 0u)) + columns_of(columns, columns.place);
        four = each_of(statistics[s.x], statistics[s.y], statistics[s.z], statistics[s.w]);
    }

    let base = group_parameter(columns.i_a, 0u);
    var parameters = parameters_at(base + row_parameter(columns.row), columns.place);
    var sum = vec4<f32>();
    var product = vec4<f32>();
    var weight_sum = vec4<f32>();
    var bias_sum = vec4<f32>();
    for (var k = 0u; k < REGISTERS; k++) {
        if EACH_ROW {
            parameters = parameters_at(base + row_parameter(columns.row + k), columns.place);
        }
        var of_weight = vec4<f32>();
        var of_bias = vec4<f32>();
        if k < rows {
            let terms = terms_of(normalized[k], gradient[k], four, parameters);
            normalized[k] = terms.normalized;
            gradient[k] = weighted(terms.of_affine, parameters);
            sum += gradient[k];
            product += gradient[k] * normalized[k];
            of_weight = terms.of_affine * meeting_weight(normalized[k]);
            of_bias = terms.of_affine;
        }
        if PARAMETER_SUMS == 1u {
            let own = vec2<f32>(sums(masked(of_weight, valid)), sums(masked(of_bias, valid)));
            let of_row = gather_beside(own, column_lanes());
            if k < rows && here.lane % column_lanes() == 0u {
                keep_pair(here.item * task.levels.y + columns.row + k, of_row);
            }
        }
        if PARAMETER_SUMS == 2u {
            weight_sum += of_weight;
            bias_sum += of_bias;
        }
    }
    let through = of_columns(gather_apart(product, column_lanes()), gather_apart(sum, column_lanes()));
    if PARAMETER_SUMS == 2u {
        weight_sum = gather_apart(weight_sum, column_lanes());
        bias_sum = gather_apart(bias_sum, column_lanes());
        if here.lane < column_lanes() {
            keep_pack(entry_index(columns.i_a, columns.place), weight_sum, bias_sum, valid);
        }
    }

    for (var k = 0u; k < REGISTERS; k++) {
        if k < rows {
            let index = first + k * row_step;
            let of_input = ((gradient[k] - through.mean) - normalized[k] * through.normalized) * four.rstd;
            store(index + task.output_shift, with_inflow(of_input, index), valid);
        }
    }
}
