// counter: one more batch. A dispatch of its own where the share of a batch follows from the number, so that the
// running kernel reads the new one in every workgroup, and so that two recordings in one submit are two steps.
//
// grid     one lane
// bytes    reads and writes 8
@compute @workgroup_size(1)
fn counter() {
    count();
}
