// affine_flat: the apply step for packed 16-bit rows of odd length, which share words with their
// neighbours. The box is one run of memory; each lane owns whole words and looks every element up.
//
// grid     one lane a pack of four elements, counted from an even place of the window
// bytes    reads the tensor once, writes it once

// The element at `place` of the run.
fn element(place: u32) -> f32 {
    let at = element_at(place);
    let value = load_one(row_index(at.x, at.y, at.z) + at.w + task.input_shift);
    let y = normalized_by(vec4<f32>(value), all_of(known(first_known(at.x) + at.z)));
    return activate(affine(y, parameters_at(parameter_base(at.x, at.y, at.z), at.w))).x;
}

fn run(here: Place) {
    store_run(here.item);
}
