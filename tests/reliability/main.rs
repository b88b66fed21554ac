//! What the library does when something goes wrong, and how often nothing does: faults injected one by one, resources
//! counted, bits compared, random cases held to their bounds.
//!
//! `cargo test --features cli --test reliability` runs a little of everything; under `WGPU_NORM_RELIABILITY=all` it runs all
//! of it, which takes an hour, and writes the figures into `docs/reliability.md`.
#![cfg(feature = "cli")]

#[path = "../common/mod.rs"]
mod common;
mod counts;
#[allow(dead_code, reason = "of what tests/gpu has, a part is needed here")]
#[path = "../gpu/drawn.rs"]
mod drawn;
mod faults;
#[allow(dead_code, reason = "of what tests/gpu has, a part is needed here")]
#[path = "../gpu/gradient_sample.rs"]
mod gradient_sample;
mod page;
mod random;
#[allow(dead_code, reason = "of what tests/gpu has, a part is needed here")]
#[path = "../gpu/rig.rs"]
mod rig;
#[allow(dead_code, reason = "of what tests/gpu has, a part is needed here")]
#[path = "../gpu/sample.rs"]
mod sample;
mod subject;

use counts::Counts;
use faults::FAULTS;
use page::Page;
use random::{Executor, Tally};
use std::time::Duration;
use subject::subjects;

/// How much is run.
struct Effort {
    random_cases: usize,
    /// What the random cases of one adapter may take; those that do not fit are not run.
    seconds: Option<u64>,
    repetitions: usize,
    cycles: usize,
    conformance_cases: usize,
}

/// Half a minute on two cores.
const QUICK: Effort =
    Effort { random_cases: 300, seconds: Some(5), repetitions: 20, cycles: 100, conformance_cases: 10 };

impl Effort {
    /// All of it where the environment asks for that, or as much of all as it says.
    fn asked() -> (Self, bool) {
        if std::env::var("WGPU_NORM_RELIABILITY").is_ok_and(|effort| effort == "all") {
            (Self::full(), true)
        } else {
            (QUICK, false)
        }
    }

    fn full() -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
        Self {
            random_cases: number("WGPU_NORM_RANDOM_CASES").unwrap_or(100_000),
            seconds: number("WGPU_NORM_RANDOM_SECONDS").map(|seconds| seconds as u64),
            repetitions: 1000,
            cycles: 10_000,
            conformance_cases: usize::MAX,
        }
    }

    fn limit(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs)
    }
}

#[test]
fn faults_end_in_errors_or_on_the_cpu_and_nothing_is_lost_or_wrong() {
    let (effort, writes) = Effort::asked();
    let mut page = Page::default();
    inject(&effort, &mut page);
    measure(&effort, &mut page, |page| {
        if writes {
            page.write();
        }
    });
    println!("{}", page.text());
}

/// Injects every fault on everything that is here, and runs cases on the least devices.
fn inject(effort: &Effort, page: &mut Page) {
    assert!(FAULTS.len() >= 12, "a dozen faults at least");
    for subject in subjects() {
        for fault in &FAULTS {
            page.outcome(fault, &subject.name, (fault.inject)(&subject));
        }
        for (limits, passed) in faults::least(&subject, effort.conformance_cases) {
            page.least(limits, &subject.name, passed);
        }
    }
}

/// Counts and compares on everything that is here; `done` hears of each step.
fn measure(effort: &Effort, page: &mut Page, done: impl Fn(&Page)) {
    page.random("cpu", random::on_the_cpu(effort.random_cases));
    done(page);
    for subject in subjects() {
        page.counts(&subject.name, Counts::of(&subject, effort.cycles, effort.repetitions));
        let tally: Tally = Executor::Device(&subject.rig()).run(0, effort.random_cases, effort.limit());
        page.random(&subject.name, tally);
        done(page);
    }
}
