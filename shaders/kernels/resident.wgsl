// resident: LANES lanes hold a whole group, in registers or in a cache.
//
// grid     one team of LANES lanes a statistic, or a block of block_a along a; WORKGROUP_SIZE / LANES teams a workgroup
// bytes    reads the tensor once, writes it once; with a residual also reads that once and writes the sum once; with
//          running estimates reads and writes 8 bytes a channel. What is not held in registers is read three times, from
//          a cache after the first
// steps    load and sum to the mean's head; load the next; sum what is left to the first's tail and the squares; apply
//          and store
// limits   b * d elements fit LANES * REGISTERS packs; a 16-bit row is of even length

// Whether a team takes a block of groups, and loads each while the one before is reduced and written.
override AHEAD: bool = false;

fn groups() -> u32 {
    return select(1u, task.block_a, AHEAD);
}

// Loads what a lane has of a group, if there is one; gives a value near its mean.
fn load_group(ahead: ptr<function, Ahead>, group: Group, lane: u32) -> f32 {
    let d = task.levels.w;
    let row_packs = packs_of(d);
    let packs = packs_in(group);
    let step = walk_step(row_packs);
    var walk = walk_from(lane, row_packs);
    for (var k = 0u; k < rounds(packs); k++) {
        if lane + k * LANES >= packs {
            continue;
        }
        put_ahead(ahead, k, take_stored(index_of(group, walk), min(4u, d - 4u * walk.pack)));
        walk = walk_on(walk, step, row_packs);
    }
    if !group.is_there {
        return 0.0;
    }
    return near(group.first);
}

fn run(here: Place) {
    var ahead: Ahead;
    var guess = 0.0;
    if AHEAD {
        guess = load_group(&ahead, group_of(here.item, 0u), here.lane);
    }
    for (var number = 0u; number < groups(); number++) {
        let group = group_of(here.item, number);
        if !AHEAD {
            guess = near(group.first);
        }
        guess = normalize(&ahead, head_of(guess), group, group_of(here.item, number + 1u), here.lane);
    }
}

// Gives a value near the next group's mean.
fn normalize(ahead: ptr<function, Ahead>, guess: f32, group: Group, next: Group, lane: u32) -> f32 {
    let d = task.levels.w;
    let row_packs = packs_of(d);
    let packs = packs_in(group);
    let start = walk_from(lane, row_packs);
    let step = walk_step(row_packs);

    var held: Held;
    var sum = vec4<f32>();
    var walk = start;
    for (var k = 0u; k < rounds(packs); k++) {
        if lane + k * LANES >= packs {
            continue;
        }
        let valid = min(4u, d - 4u * walk.pack);
        var value: vec4<f32>;
        if AHEAD {
            value = from_ahead(ahead, k);
        } else {
            value = take(index_of(group, walk), valid);
        }
        hold(&held, k, value);
        if !HOLDS {
            sum += masked(value - vec4<f32>(guess), valid);
        }
        walk = walk_on(walk, step, row_packs);
    }
    // Nothing waits for a load before all are on their way.
    if HOLDS {
        walk = start;
        for (var k = 0u; k < rounds(packs); k++) {
            if lane + k * LANES >= packs {
                continue;
            }
            let value = again(&held, k, index_of(group, walk)) - vec4<f32>(guess);
            sum += masked(value, min(4u, d - 4u * walk.pack));
            walk = walk_on(walk, step, row_packs);
        }
    }
    var next_guess = 0.0;
    if AHEAD {
        next_guess = load_group(ahead, next, lane);
    }
    var head = guess;
    if CENTRED {
        head += gather_sum(sums(sum)) / task.count;
    }

    sum = vec4<f32>();
    var squares = vec4<f32>();
    walk = start;
    for (var k = 0u; k < rounds(packs); k++) {
        if lane + k * LANES >= packs {
            continue;
        }
        let value = again(&held, k, index_of(group, walk)) - vec4<f32>(head);
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
    let statistic = vec4<f32>(head, tail, rstd_of(variance), variance);

    let group_base = group_parameter(group.i_a, group.i_c);
    walk = start;
    for (var k = 0u; k < rounds(packs); k++) {
        if lane + k * LANES >= packs {
            continue;
        }
        let place = 4u * walk.pack;
        let parameters = parameters_at(group_base + row_parameter(walk.row), place);
        let index = index_of(group, walk);
        let value = normalized_by(again(&held, k, index), all_of(statistic));
        store(index + task.output_shift, activate(affine(value, parameters)), min(4u, d - place));
        walk = walk_on(walk, step, row_packs);
    }
    if group.is_there && lane == 0u {
        save(group.i_a, group.i_c, statistic);
        track(group.i_a * task.levels.z + group.i_c, statistic);
    }
    return next_guess;
}

// The index of a group's pack.
fn index_of(group: Group, walk: Walk) -> u32 {
    return group.first + walk.row * task.levels.z * task.levels.w + 4u * walk.pack;
}
