// gradient_flat: the gradient kernel for packed 16-bit rows of odd length, which share words with their
// neighbours. The box is one run of memory; each lane owns whole words and looks every element up.
//
// grid     one lane a pack of four elements, counted from an even place of the window
// bytes    reads x and the output's gradient once, writes the input's once
// The gradient of the element at `place` of the run.
fn element(place: u32) -> f32 {
    let at = element_at(place);
    let index = row_index(at.x, at.y, at.z) + at.w;
    let parameters = parameters_at(parameter_base(at.x, at.y, at.z), at.w);
    let group = entry_index(at.x, at.z);
    let four = all_of(statistics[group + task.statistics_shift]);
    let value = vec4<f32>(load_x_one(index + task.x_shift));
    let upstream = vec4<f32>(load_one(index + task.input_shift));
    let terms = terms_of(value, upstream, four, parameters);
    let of_input = gradient_of(terms, four, through_of(group), parameters).x;
    return with_inflow_one(of_input, index);
}

fn run(here: Place) {
    store_run(here.item);
}
