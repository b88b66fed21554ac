// counter: one more batch. A dispatch of its own where the share of a batch follows from the number, so that
// every workgroup that moves estimates reads the new one, and so that two recordings in one submit are two steps;
// and where the batch is empty, so that no workgroup counts it by the way.
//
// grid     one lane
// bytes    reads and writes 8
@compute @workgroup_size(1)
fn counter() {
    count();
}
