// In f32.
alias MomentWord = f32;
const MOMENTS_A_WORD = 1u;

fn moment_word(first: f32, second: f32, old: MomentWord, valid: u32) -> MomentWord {
    return first;
}
