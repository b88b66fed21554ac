// resident: LANES lanes hold a whole group, in registers or in a cache.
//
// grid     one team of LANES lanes a statistic, WORKGROUP_SIZE / LANES teams a workgroup
// bytes    reads the tensor once, writes it once; with a residual also reads that once and writes the sum once.
//          What is not held in registers is read three times, from a cache after the first
// steps    load and sum to the mean's head; sum what is left to its tail and the squares; apply and store
// limits   b * d elements fit LANES * REGISTERS packs; a 16-bit row is of even length
fn run(here: Place) {
    let is_item = here.item < task.items;
    let i_a = task.origin.x + here.item / task.extent.z;
    let i_c = task.origin.z + here.item % task.extent.z;
    let d = task.levels.w;
    let row_packs = packs_of(d);
    let packs = select(0u, task.levels.y * row_packs, is_item);
    let row_step = task.levels.z * d;
    let first = row_index(i_a, 0u, i_c);
    let start = walk_from(here.lane, row_packs);
    let step = walk_step(row_packs);

    let guess = head_of(near(first));
    var held: Held;
    var sum = vec4<f32>();
    var walk = start;
    for (var k = 0u; k < rounds(packs); k++) {
        if here.lane + k * LANES >= packs {
            continue;
        }
        let valid = min(4u, d - 4u * walk.pack);
        let value = take(first + walk.row * row_step + 4u * walk.pack, valid);
        hold(&held, k, value);
        sum += masked(value - vec4<f32>(guess), valid);
        walk = walk_on(walk, step, row_packs);
    }
    var head = guess;
    if CENTRED {
        head += gather_sum(sums(sum)) / task.count;
    }

    sum = vec4<f32>();
    var squares = vec4<f32>();
    walk = start;
    for (var k = 0u; k < rounds(packs); k++) {
        if here.lane + k * LANES >= packs {
            continue;
        }
        let value = again(&held, k, first + walk.row * row_step + 4u * walk.pack) - vec4<f32>(head);
        let centred = masked(value, min(4u, d - 4u * walk.pack));
        sum += centred;
        squares += centred * centred;
        walk = walk_on(walk, step, row_packs);
    }
    // What the rounding of the head left: small, so the correction of the squares cancels nothing.
    let left = gather_sums(vec2<f32>(sums(sum), sums(squares)));
    var tail = 0.0;
    if CENTRED {
        tail = left.x / task.count;
    }
    let variance = (left.y - tail * left.x) / task.divisor;
    let rstd = rstd_of(variance);

    let group_base = group_parameter(i_a, i_c);
    walk = start;
    for (var k = 0u; k < rounds(packs); k++) {
        if here.lane + k * LANES >= packs {
            continue;
        }
        let place = 4u * walk.pack;
        let parameters = parameters_at(group_base + row_parameter(walk.row), place);
        let index = first + walk.row * row_step + place;
        let value = (again(&held, k, index) - vec4<f32>(head)) - vec4<f32>(tail);
        store(index + task.output_shift, activate(affine(value * rstd, parameters)), min(4u, d - place));
        walk = walk_on(walk, step, row_packs);
    }
    if is_item && here.lane == 0u {
        save(i_a, i_c, vec4<f32>(head, tail, rstd, variance));
    }
}
