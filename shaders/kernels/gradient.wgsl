// gradient: the input's gradient, where its group's sums are at hand.
//
// grid     one team of LANES lanes a segment of a row of d elements
// bytes    reads x and the output's gradient once, writes the input's once
// limits   a 16-bit row is of even length
fn run(here: Place) {
    let row = row_item(here.item);
    write_gradients(row, here.lane, through_of(entry_index(row.i_a, row.i_c)));
}
