//! A run on a tensor that is read, normalized and written in pieces, in memory for a few of them.

use super::compare::Errors;
use super::interrupt::Interrupt;
use super::place::Place;
use super::run::{Outcome, Summary, Work};
use super::write::Target;
use super::{Failure, memory, progress};
use indicatif::ProgressBar;
use std::fs::File;
use std::io::{Seek, Write};
use std::time::Instant;
use wgpu_norm::engine::Streamed;
use wgpu_norm::{Choice, Data, Engine, Spec, Statistics};

/// A piece that is compared with the reference is held in f64 several times.
const VERIFIED: u64 = 8;

/// How a run goes.
pub(super) struct Pieces<'a> {
    /// Bytes of a piece.
    pub(super) piece: u64,
    /// Whether each piece is compared with the f64 reference.
    pub(super) verify: bool,
    pub(super) target: Option<&'a Target>,
}

impl Pieces<'_> {
    /// Normalizes a tensor in a file; `None` where the operation takes the whole tensor at once.
    pub(super) fn run(&self, engine: &Engine, work: &mut Work, place: &mut Place) -> Result<Option<Outcome>, Failure> {
        let norm = work.norm()?;
        let moments = work.attributes.positional_norm().map_err(Failure::Unusable)?;
        let moments = moments.map(|norm| norm.moments_spec(&work.spec));
        let bytes = if self.verify { self.piece / VERIFIED } else { self.piece };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut running = work.learned.running.clone();
        let mut again = running.clone();
        let Some(streamed) = engine.streamed(&*norm, &work.spec, work.learned.with(running.as_mut()), bytes)? else {
            return Ok(None);
        };
        memory::check(streamed.longest() as u64 * work.spec.dtype.size() as u64).map_err(Failure::Unusable)?;
        let mut exact = None;
        if self.verify || engine.name() == Choice::Reference.name() {
            memory::check_reference(streamed.longest()).map_err(Failure::Unusable)?;
        }
        if self.verify {
            let reference = pollster::block_on(Engine::open(&Choice::Reference))?;
            exact = reference.streamed(&*norm, &work.spec, work.learned.with(again.as_mut()), bytes)?;
        }
        let elements: usize = work.spec.shape.iter().product();
        let passes = if streamed.to_measure().is_empty() { 1 } else { 2 };
        let bar = progress::bar_of_bytes(passes * (elements * work.spec.dtype.size()) as u64);
        let pass = Pass { streamed, exact, place, interrupt: Interrupt::listen()?, bar };
        pass.run(self.target, moments.as_ref()).map(Some)
    }
}

/// A run under way.
struct Pass<'a> {
    streamed: Streamed<'a>,
    /// The same by the reference.
    exact: Option<Streamed<'a>>,
    place: &'a mut Place,
    interrupt: Interrupt,
    bar: ProgressBar,
}

impl Pass<'_> {
    fn run(mut self, target: Option<&Target>, moments: Option<&Spec>) -> Result<Outcome, Failure> {
        let started = Instant::now();
        self.measure()?;
        let kept = moments.filter(|_| target.is_some_and(Target::holds_more));
        let folder = target.map(Target::folder);
        let mut kept = match (kept, folder) {
            (Some(spec), Some(folder)) => Some(Moments::new(spec, folder).map_err(Failure::Unusable)?),
            _ => None,
        };
        let spec = self.place.spec().clone();
        let updated = self.streamed.running().filter(|_| self.streamed.moves_running()).cloned();
        let mut outcome = Outcome {
            summary: Summary::default(),
            seconds: 0.0,
            errors: None,
            updated,
            has_moments: moments.is_some(),
        };
        let Some(target) = target else {
            self.normalize(&mut std::io::sink(), &mut outcome, None)?;
            return Ok(self.finish(outcome, started));
        };
        let head = target.head(&spec, outcome.updated.as_ref(), kept.as_ref().map(|kept| &kept.spec));
        let head = head.map_err(Failure::Unusable)?;
        let interrupt = Interrupt::clone(&self.interrupt);
        let mut failure = None;
        let written = target.replace(&interrupt, |file| {
            file.write_all(&head).map_err(|error| error.to_string())?;
            failure = self.normalize(file, &mut outcome, kept.as_mut()).err();
            match &failure {
                None if outcome.matches() => kept.map_or(Ok(()), |kept| kept.append(file)),
                Some(Failure::Unusable(reason)) => Err(reason.clone()),
                _ => Err("not written".to_owned()),
            }
        });
        match (failure, written) {
            (_, Err(Failure::Interrupted)) => Err(Failure::Interrupted),
            (Some(failure), _) => Err(failure),
            (None, Err(failure)) if outcome.matches() => Err(failure),
            (None, _) => Ok(self.finish(outcome, started)),
        }
    }

    fn finish(&self, outcome: Outcome, started: Instant) -> Outcome {
        self.bar.finish_and_clear();
        Outcome { seconds: started.elapsed().as_secs_f64(), ..outcome }
    }

    /// Measures all pieces, where they share their statistics.
    fn measure(&mut self) -> Result<(), Failure> {
        self.bar.set_message("measuring");
        for piece in self.streamed.to_measure() {
            self.interrupt.check()?;
            let values = self.place.read(piece.elements()).map_err(Failure::Unusable)?;
            self.streamed.measure(&piece, &values)?;
            if let Some(exact) = &mut self.exact {
                exact.measure(&piece, &values)?;
            }
            self.bar.inc(values.bytes().len() as u64);
        }
        Ok(())
    }

    /// Normalizes and writes all pieces.
    fn normalize(
        &mut self,
        file: &mut dyn Write,
        outcome: &mut Outcome,
        mut moments: Option<&mut Moments>,
    ) -> Result<(), Failure> {
        self.bar.set_message("normalizing");
        for piece in self.streamed.to_normalize() {
            self.interrupt.check()?;
            let mut values = self.place.read(piece.elements()).map_err(Failure::Unusable)?;
            let want = self.exact.as_ref().map(|exact| exact.expected(&piece, &values)).transpose()?;
            let mut statistics = Statistics::default();
            self.streamed.normalize_saving(&piece, &mut values, moments.as_ref().map(|_| &mut statistics))?;
            if let Some(want) = want {
                let errors = Errors::of(&values, &want);
                outcome.errors = Some(match outcome.errors.take() {
                    Some(others) => others.join(errors),
                    None => errors,
                });
            }
            outcome.summary.add(&values);
            let written = file.write_all(values.bytes()).map_err(|error| format!("the output: {error}"));
            let kept = written.and_then(|()| moments.as_mut().map_or(Ok(()), |moments| moments.add(&statistics)));
            kept.map_err(Failure::Unusable)?;
            self.bar.inc(values.bytes().len() as u64);
        }
        Ok(())
    }
}

/// Means and deviations, which come piece by piece and stand after the output: in files without a name until then.
struct Moments {
    spec: Spec,
    left: usize,
    files: [File; 2],
}

impl Moments {
    fn new(spec: &Spec, folder: &std::path::Path) -> Result<Self, String> {
        let file = || tempfile::tempfile_in(folder).map_err(|error| format!("{}: {error}", folder.display()));
        Ok(Self { spec: spec.clone(), left: spec.shape.iter().product(), files: [file()?, file()?] })
    }

    /// Takes in those of a piece: of its own groups, or of all groups, as every piece has them where they share these.
    fn add(&mut self, statistics: &Statistics) -> Result<(), String> {
        let new = statistics.mean.len().min(self.left);
        self.left -= new;
        let std: Vec<f64> = statistics.rstd.iter().map(|rstd| 1.0 / rstd).collect();
        for (file, values) in self.files.iter_mut().zip([&statistics.mean, &std]) {
            let values = Data::from_f64(self.spec.dtype, &values[..new]);
            file.write_all(values.bytes()).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn append(mut self, file: &mut dyn Write) -> Result<(), String> {
        for values in &mut self.files {
            let copied = values.rewind().and_then(|()| std::io::copy(values, file));
            copied.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}
