// Input and residual meet: the sum, rounded as it is stored, is written and is what is normalized.
@group(0) @binding(12) var<storage, read_write> sum: array<Word>; // [a, b, c, d]

fn take(index: u32, valid: u32) -> vec4<f32> {
    let value = rounded(load(index + task.input_shift) + load_added(index + task.added_shift));
    for (var i = 0u; i < 4u; i += ELEMENTS_A_WORD) {
        if i < valid {
            let word = (index + task.sum_shift + i) / ELEMENTS_A_WORD;
            var ours = word_of(value, i);
            if ELEMENTS_A_WORD == 2u && valid - i < 2u {
                ours = first_of(ours, sum[word]);
            }
            sum[word] = ours;
        }
    }
    return value;
}

fn load_sum_one(index: u32) -> f32 {
    return element_of(sum[index / ELEMENTS_A_WORD], index);
}

// What `take` gave for the same index.
fn retake(index: u32) -> vec4<f32> {
    let first = index + task.sum_shift;
    if ELEMENTS_A_WORD == 4u {
        return pack_of(sum[first / 4u]);
    }
    return vec4<f32>(load_sum_one(first), load_sum_one(first + 1u), load_sum_one(first + 2u), load_sum_one(first + 3u));
}
