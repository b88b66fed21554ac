// column_sums: as the sums kernel, for groups or cells that lie side by side. A lane takes packs of four neighbouring
// columns of c * d and `rows` rows of b.
//
// grid     one team of LANES lanes a segment of columns and block of rows; ROW_LANES of them share a column
// bytes    reads x and the output's gradient once, writes 8 bytes a column and block, or the gradient of a parameter; beside
//          these, where columns have parameters and rows are groups, the input's gradient
// steps    each lane the sums of its rows; where several share a column, one adds theirs in the order of rows
// limits   a lane's rows times REGISTERS bound its iterations; REGISTERS is 1 where ROW_LANES is not

// Whether rows of b have statistics of their own, and whether columns have.
override ROW_STATISTICS: bool = false;
override COLUMN_STATISTICS: bool = false;
// Rows that a lane reads of one pack before it goes on to the next.
const ROWS_AT_ONCE = 8u;
const KEPT = REGISTERS;

// What is summed for a pack.
struct Kept {
    products: vec4<f32>,
    gradients: vec4<f32>,
    clipped: vec4<f32>,
    eps: vec4<f32>,
}

// The statistics of four columns, whose offsets these are, in a row.
fn four_at(base: u32, offsets: vec4<u32>) -> Four {
    if !COLUMN_STATISTICS {
        return all_of(statistics[base]);
    }
    return each_of(
        statistics[base + offsets.x],
        statistics[base + offsets.y],
        statistics[base + offsets.z],
        statistics[base + offsets.w],
    );
}

fn run(here: Place) {
    let columns = column_item(here.item, here.lane);
    let row_step = task.levels.z * task.levels.w;
    let first = row_index(columns.i_a, columns.row, 0u);
    let shifts = bound_shifts();
    let base = group_parameter(columns.i_a, 0u);
    let statistic = statistic_base(columns.i_a, columns.row);
    let row_statistic = statistic_row(1u);
    let others = beside(statistic);
    let results = column_results(columns);
    var kept: KeptOfAll;
    for (var i = 0u; i < columns.rows; i += ROWS_AT_ONCE) {
        let end = min(i + ROWS_AT_ONCE, columns.rows);
        for (var place = columns.place; place < columns.end; place += column_step()) {
            let k = pack_number(columns, place);
            let offsets = statistic_offsets(columns, place);
            var four = four_at(statistic, offsets);
            var parameters = parameters_at(base + row_parameter(columns.row), place);
            var sums = kept_of(&kept, k);
            for (var row = i; row < end; row++) {
                if ROW_STATISTICS {
                    four = four_at(statistic + row * row_statistic, offsets);
                }
                if EACH_ROW {
                    parameters = parameters_at(base + row_parameter(columns.row + row), place);
                }
                let index = first + row * row_step + place;
                let terms = terms_at(index + shifts, four, parameters);
                let valid = min(4u, columns.end - place);
                write_beside(others, index + shifts.z, row * row_statistic, valid, terms, four, parameters);
                let both = summed(terms, parameters);
                sums.products += both.products;
                sums.gradients += both.gradients;
                if SECOND {
                    sums.clipped += terms.clipped;
                    sums.eps += of_eps(terms, four, parameters);
                }
            }
            keep(&kept, k, sums);
        }
    }
    if ROW_LANES > 1u {
        add_lanes(here, columns, results, kept[0]);
        return;
    }
    if columns.rows == 0u {
        return;
    }
    for (var place = columns.place; place < columns.end; place += column_step()) {
        let sums = kept_of(&kept, pack_number(columns, place));
        for (var i = 0u; i < min(4u, columns.end - place); i++) {
            keep_sums(column_index(results, place + i), sums_of(sums, i));
        }
    }
}

// (products, gradients, clipped, eps) of one column of four.
fn sums_of(kept: Kept, i: u32) -> vec4<f32> {
    return vec4<f32>(kept.products[i], kept.gradients[i], kept.clipped[i], kept.eps[i]);
}

fn keep_sums(index: u32, sums: vec4<f32>) {
    put(index, sums.xy, vec2<f32>(), 1u);
    if SECOND {
        put(index + task.second_origin, sums.zw, vec2<f32>(), 1u);
    }
}

// What the lanes of a column have of their rows is added up. Those without rows have zeros.
fn add_lanes(here: Place, columns: ColumnItem, results: ColumnResults, own: Kept) {
    for (var i = 0u; i < 4u; i++) {
        tile[4u * own_lane + i] = sums_of(own, i);
    }
    workgroupBarrier();
    let begin = segment_begin(columns, here.lane);
    for (var column = here.lane; column < column_step(); column += LANES) {
        if here.item < task.items && begin + column < columns.end {
            var sums = vec4<f32>();
            for (var y = 0u; y < ROW_LANES; y++) {
                sums += of_row_lane(here.lane, y, column);
            }
            keep_sums(column_index(results, begin + column), sums);
        }
    }
}

// What leads to the statistics of four columns.
fn statistic_offsets(columns: ColumnItem, place: u32) -> vec4<u32> {
    let at = min(vec4<u32>(place) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(columns.end - 1u));
    let d = task.levels.w;
    return vec4<u32>(
        statistic_column(at.x / d) + statistic_place(at.x % d),
        statistic_column(at.y / d) + statistic_place(at.y % d),
        statistic_column(at.z / d) + statistic_place(at.z % d),
        statistic_column(at.w / d) + statistic_place(at.w % d),
    );
}
