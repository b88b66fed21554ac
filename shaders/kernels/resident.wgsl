// resident: LANES lanes hold a whole group, in registers or in a cache.
//
// grid     one team of LANES lanes a statistic, WORKGROUP_SIZE / LANES teams a workgroup
// bytes    reads the tensor once, writes it once; with a residual also reads that once and writes the sum once; with
//          running estimates reads and writes 8 bytes a channel. What is not held in registers is read three times, from
//          a cache after the first
// steps    load and sum to the mean's head; sum what is left to the tail and the squares, and hold that instead; apply and
//          store
// limits   b * d elements fit LANES * REGISTERS packs; a 16-bit row is of even length

// A value near the group's mean, from which that is counted. f32 has digits to spare for elements of 16 bits.
fn guess_of(group: Group) -> f32 {
    if HAVE_16_BITS {
        return 0.0;
    }
    return head_of(near(group.first));
}

// What elements add to the head beyond the guess: as shares of the mean where nothing else keeps sums from overflow.
fn beyond(guess: f32, value: vec4<f32>) -> vec4<f32> {
    if HAVE_16_BITS {
        return value * (1.0 / task.count);
    }
    return value - vec4<f32>(guess);
}

// A head of 16 bits is what the elements are where all are the same, so nothing is left of them.
fn head_from(guess: f32, total: f32) -> f32 {
    if HAVE_16_BITS {
        return rounded(vec4<f32>(total)).x;
    }
    return guess + total / task.count;
}

fn run(here: Place) {
    let group = group_of(here.item);
    let d = task.levels.w;
    let row_packs = packs_of(d);
    let packs = packs_in(group);
    let start = walk_from(here.lane, row_packs);
    let step = walk_step(row_packs);

    let guess = guess_of(group);
    var held: Held;
    var sum = vec4<f32>();
    var walk = start;
    for (var k = 0u; k < rounds(packs); k++) {
        if here.lane + k * LANES >= packs {
            continue;
        }
        let valid = min(4u, d - 4u * walk.pack);
        let value = take(index_of(group, walk), valid);
        hold(&held, k, value);
        if !HOLDS {
            sum += masked(beyond(guess, value), valid);
        }
        walk = walk_on(walk, step, row_packs);
    }
    // Nothing waits for a load before all are on their way.
    if HOLDS {
        walk = start;
        for (var k = 0u; k < rounds(packs); k++) {
            if here.lane + k * LANES >= packs {
                continue;
            }
            let value = beyond(guess, again(&held, k, index_of(group, walk)));
            sum += masked(value, min(4u, d - 4u * walk.pack));
            walk = walk_on(walk, step, row_packs);
        }
    }
    var head = guess;
    if CENTRED {
        head = head_from(guess, gather_sum(sums(sum)));
    }

    sum = vec4<f32>();
    var squares = vec4<f32>();
    walk = start;
    for (var k = 0u; k < rounds(packs); k++) {
        if here.lane + k * LANES >= packs {
            continue;
        }
        let value = again(&held, k, index_of(group, walk)) - vec4<f32>(head);
        hold(&held, k, value);
        let centred = masked(value, min(4u, d - 4u * walk.pack));
        sum += centred;
        squares += centred * centred;
        walk = walk_on(walk, step, row_packs);
    }
    // What the rounding of the head left: small, so the correction of the squares cancels nothing.
    let left = gather_sums(vec2<f32>(sums(sum), sums(squares)));
    var tail = 0.0;
    var about_mean = left.y;
    if CENTRED {
        tail = left.x / task.count;
        // Squares beyond f32 stay there: the correction may be as far.
        about_mean = select(about_mean - tail * left.x, about_mean, about_mean > 3.4028234e38);
    }
    let variance = about_mean / task.divisor;
    let statistic = vec4<f32>(head, tail, rstd_of(variance), variance);

    let group_base = group_parameter(group.i_a, group.i_c);
    let output_shift = task.output_shift;
    let statistic_at = statistic_index(group.i_a, group.i_c);
    walk = start;
    for (var k = 0u; k < rounds(packs); k++) {
        if here.lane + k * LANES >= packs {
            continue;
        }
        let place = 4u * walk.pack;
        let parameters = parameters_at(group_base + row_parameter(walk.row), place);
        let index = index_of(group, walk);
        var centred = again(&held, k, index);
        if !HOLDS {
            centred = hidden_four(centred - vec4<f32>(head));
        }
        let value = (centred - vec4<f32>(tail)) * statistic.z;
        store(index + output_shift, activate(affine(value, parameters)), min(4u, d - place));
        walk = walk_on(walk, step, row_packs);
    }
    if group.is_there && here.lane == 0u {
        save(statistic_at, statistic);
        track(group.i_a * task.levels.z + group.i_c, statistic);
    }
}

// The index of a group's pack.
fn index_of(group: Group, walk: Walk) -> u32 {
    return group.first + walk.row * task.levels.z * task.levels.w + 4u * walk.pack;
}
