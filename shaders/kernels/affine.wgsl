// affine: the apply step, where the statistics are at hand.
//
// grid     one team of LANES lanes a segment of a row of d elements, of TOGETHER groups along a
// bytes    reads the tensor once, writes it once; parameters once for all groups
// limits   a 16-bit row is of even length
fn run(here: Place) {
    let row = row_item(here.item);
    let first_a = first_of_block(row.i_a - task.origin.x);
    let groups = groups_from(first_a);
    var kept: KeptOfAll;
    keep(&kept, 0u, known(first_known(first_a) + row.i_c));
    for (var k = 1u; k < groups; k++) {
        keep(&kept, k, known(first_known(first_a + k) + row.i_c));
    }

    let first = row_index(first_a, row.i_b, row.i_c) + bound_shifts();
    let base = parameter_base(first_a, row.i_b, row.i_c);
    var parameters = parameters_at(base, row.begin);
    for (var place = row.begin + 4u * here.lane; place < row.end; place += 4u * LANES) {
        if PARAMETER_STEP != 0u {
            parameters = parameters_at(base, place);
        }
        apply_to_all(&kept, groups, first + place, parameters, min(4u, row.end - place));
    }
}
