// Groups along a that a team takes together, since elements at the same place share their parameters: a pack of these is
// loaded once for all.

// How many, KEPT at most.
override TOGETHER: u32 = 1u;

// The statistic of each is kept.
const KEPT = 4u;
alias Kept = vec4<f32>;

// The first of a block of them.
fn first_of_block(block: u32) -> u32 {
    return task.origin.x + block * TOGETHER;
}

// How many there are from the first on.
fn groups_from(i_a: u32) -> u32 {
    return min(TOGETHER, task.a_end - i_a);
}

// From an element of one to that of the next.
fn group_step() -> u32 {
    return task.levels.y * task.levels.z * task.levels.w;
}

// Applies the statistic of each group to its pack at the same place. The loop is not one over TOGETHER, which a compiler
// can count: it would write all of it out.
fn apply_to_all(kept: ptr<function, KeptOfAll>, groups: u32, at: vec2<u32>, parameters: Parameters, valid: u32) {
    if TOGETHER == 1u {
        apply(at, (*kept)[0], parameters, valid);
        return;
    }
    for (var k = 0u; k < groups; k++) {
        apply(at + k * group_step(), kept_of(kept, k), parameters, valid);
    }
}
