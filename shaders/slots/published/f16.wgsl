// In f16, two a word.
alias MomentWord = u32;
const MOMENTS_A_WORD = 2u;

fn moment_word(first: f32, second: f32, old: MomentWord, valid: u32) -> MomentWord {
    return pair(first, second, old, valid);
}
