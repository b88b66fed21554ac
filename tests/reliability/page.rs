//! The figures as tables, between two marks of `docs/reliability.md`.

use crate::counts::Counts;
use crate::faults::{Fault, Outcome};
use crate::random::{ELEMENTS, Tally, UNITS};
use std::fmt::Write;
use std::path::Path;

const BEGIN: &str = "<!-- figures: written by tests/reliability -->";
const END: &str = "<!-- end of figures -->";

/// What was found so far.
#[derive(Default)]
pub(crate) struct Page {
    random: Vec<(String, Tally)>,
    counts: Vec<(String, Counts)>,
    /// Of each fault what came of it, and where.
    outcomes: Vec<(&'static str, Outcome, Vec<String>)>,
    least: Vec<(&'static str, String, usize)>,
}

impl Page {
    pub(crate) fn random(&mut self, executor: &str, tally: Tally) {
        self.random.push((executor.to_owned(), tally));
    }

    pub(crate) fn counts(&mut self, adapter: &str, counts: Counts) {
        self.counts.push((adapter.to_owned(), counts));
    }

    pub(crate) fn outcome(&mut self, fault: &Fault, adapter: &str, outcome: Outcome) {
        match self.outcomes.iter_mut().find(|(name, known, _)| *name == fault.name && *known == outcome) {
            Some((.., adapters)) => adapters.push(adapter.to_owned()),
            None => self.outcomes.push((fault.name, outcome, vec![adapter.to_owned()])),
        }
    }

    pub(crate) fn least(&mut self, limits: &'static str, adapter: &str, passed: usize) {
        self.least.push((limits, adapter.to_owned(), passed));
    }

    /// Replaces what stands between the marks.
    pub(crate) fn write(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md");
        let page = std::fs::read_to_string(&path).expect("the page is there");
        let (before, rest) = page.split_once(BEGIN).expect("it has the first mark");
        let (_, after) = rest.split_once(END).expect("it has the second mark");
        std::fs::write(&path, format!("{before}{BEGIN}\n\n{}{END}{after}", self.text())).expect("written");
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let written = self.random_text(&mut text).and_then(|()| self.counts_text(&mut text));
        written.and_then(|()| self.faults_text(&mut text)).expect("a string takes everything");
        text
    }

    fn random_text(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "### Random cases against f64\n")?;
        writeln!(
            text,
            "Up to {ELEMENTS} elements each; the bound of an element is {UNITS} units of f32's roundoff, scaled"
        )?;
        writeln!(text, "as `tests/gpu/sample.rs` states. No element was outside it.\n")?;
        writeln!(
            text,
            "| executor | cases | plans among them | with gradients | elements | worst error / bound | of gradients | minutes |"
        )?;
        writeln!(text, "| --- | --: | --: | --: | --: | --: | --: | --: |")?;
        for (executor, t) in &self.random {
            let minutes = t.seconds / 60.0;
            let counted = format!("{executor} | {} | {} | {} | {}", t.cases, t.draws, t.gradients, t.elements);
            writeln!(text, "| {counted} | {:.3} | {:.3} | {minutes:.1} |", t.worst, t.worst_gradient)?;
        }
        writeln!(text)
    }

    fn counts_text(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "### Repetitions and cycles\n")?;
        writeln!(
            text,
            "| adapter | runs of each plan, same bits, guard words intact | cycles of prepare, bind, drop | resources before = after | memory |"
        )?;
        writeln!(text, "| --- | --: | --: | --- | --: |")?;
        for (adapter, c) in &self.counts {
            let held: Vec<String> = c.resources.iter().map(|(name, count)| format!("{count} {name}")).collect();
            let memory = c.kibibytes.map_or_else(|| "not known".into(), |kibibytes| format!("{kibibytes:+} KiB"));
            let runs = format!("{} of {} plans", c.repetitions, c.plans);
            writeln!(text, "| {adapter} | {runs} | {} | {} | {memory} |", c.cycles, held.join(", "))?;
        }
        writeln!(text)
    }

    fn faults_text(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "### Faults and what comes of them\n\n| fault | outcome | adapters |\n| --- | --- | --- |")?;
        for (fault, outcome, adapters) in &self.outcomes {
            writeln!(text, "| {fault} | {outcome} | {} |", adapters.join(", "))?;
        }
        writeln!(text, "\n### Conformance cases on the least that there can be\n")?;
        writeln!(text, "| device requested with | adapter | cases, all passed |\n| --- | --- | --: |")?;
        for (limits, adapter, passed) in &self.least {
            writeln!(text, "| {limits} | {adapter} | {passed} |")?;
        }
        writeln!(text)
    }
}
