//! Hostile input: the corpus of `fuzz/`, and some thousand mutants of it, the same in every run. `fuzz/README.md` says
//! how to look for more.
#![cfg(feature = "cli")]

mod targets;

use std::path::Path;
use wgpu_norm::norm::InstanceNorm;
use wgpu_norm::{Choice, Dtype, Engine, Parameters, Tensor};

/// Mutants of the corpus a target, unless `WGPU_NORM_MUTANTS` says another number. Some seconds altogether.
const MUTANTS: usize = 50_000;

/// What a byte-wise mutation seldom hits upon.
const TOKENS: [&[u8]; 20] = [
    b"0",
    b"-1",
    b"1",
    b"4294967296",
    b"18446744073709551615",
    b"9223372036854775807",
    b"1e999",
    b"NaN",
    b"null",
    b"true",
    b"()",
    b"[]",
    b"(0,)",
    b"{",
    b"'<f2'",
    b"'|O'",
    b"\"F16\"",
    b"\"I64\"",
    b"\"shape\":[0]",
    b"\xff\xff\xff\xff",
];

/// A sequence that looks random and is the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % end.max(1)
    }

    #[expect(clippy::cast_possible_truncation, reason = "a byte is wanted")]
    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    /// One change: a bit, a byte, a piece out, a piece of another in, a token, an end.
    fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len() + 1);
        let end = at + self.below(bytes.len() - at + 1);
        match self.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.byte(),
            2 => drop(bytes.drain(at..end.min(at + 16))),
            3 => {
                let from = self.below(other.len() + 1);
                let to = (from + self.below(32)).min(other.len());
                drop(bytes.splice(at..at, other[from..to].iter().copied()));
            }
            4 => {
                let token = TOKENS[self.below(TOKENS.len())];
                let cut = if self.below(2) == 0 { at } else { end.min(at + token.len()) };
                drop(bytes.splice(at..cut, token.iter().copied()));
            }
            _ => bytes.insert(at, self.byte()),
        }
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/corpus").join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("readable")).collect()
}

/// Gives a target the corpus and its mutants. Where it panics, the bytes are printed.
fn replay(name: &str, target: fn(&[u8])) {
    let corpus = corpus(name);
    assert!(corpus.len() >= 5, "a corpus of {} is none", corpus.len());
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let give = |bytes: &[u8]| {
        let result = std::panic::catch_unwind(|| target(bytes));
        assert!(result.is_ok(), "{name} panics on {:?}", bytes.escape_ascii().to_string());
    };
    corpus.iter().for_each(|bytes| give(bytes));
    let wanted = std::env::var("WGPU_NORM_MUTANTS").ok();
    for _ in 0..wanted.map_or(MUTANTS, |wanted| wanted.parse().expect("a number of mutants")) {
        let (one, other) = (dice.below(corpus.len()), dice.below(corpus.len()));
        let mut bytes = corpus[one].clone();
        for _ in 0..=dice.below(4) {
            dice.mutate(&mut bytes, &corpus[other]);
        }
        give(&bytes);
    }
}

#[test]
fn npy_files() {
    replay("npy", targets::npy);
}

#[test]
fn safetensors_files() {
    replay("safetensors", targets::safetensors);
}

#[test]
fn case_files() {
    replay("case", targets::case);
}

#[test]
fn plans() {
    replay("plan", targets::plan);
}

/// Its groups are more than memory has places for, but there is nothing in them.
#[test]
fn an_empty_tensor_may_have_axes_beyond_all_memory() {
    let input = Tensor::zeros([1 << 61, 2, 0], Dtype::F32).expect("no element");
    for choice in [Choice::Cpu, Choice::Reference] {
        let engine = pollster::block_on(Engine::open(&choice)).expect("both are always there");
        let norm = InstanceNorm::new();
        let forward = engine.forward_saving(&norm, &input, &mut Parameters::default()).expect("nothing to do");
        let parameters = Parameters::default();
        let gradients = engine.backward(&norm, &input, &input, &forward.statistics, &parameters, None);
        assert_eq!(gradients.expect("nothing to do").input, Some(input.clone()), "on {}", choice.name());
    }
}
