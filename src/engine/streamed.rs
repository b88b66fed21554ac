//! Tensors that are not in memory as a whole.

use super::{Engine, Parameters, peers_of};
use crate::error::{Error, Result};
use crate::norm::Norm;
use crate::plan::{
    Arguments, Cut, Extra, GroupSums, Merging, Part, Peers, Plan, RunningStatistics, Shard, Statistics, check_tensor,
};
use crate::reference::{self, Values};
use crate::tensor::{Data, Spec, Tensor};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// A normalization of a tensor that comes and goes in pieces, one after the other.
///
/// Where each piece has groups of its own (layer, RMS, instance, group normalization, evaluation of batch normalization
/// and more) one pass is enough, and the outputs have the bits that they have all at once. Where all pieces have a share
/// in every group, as in batch normalization, each is [measured](Self::measure) first. Their moments are merged in f64
/// as those of ranks are: single outputs may differ from those of all at once in the last places.
///
/// ```
/// use wgpu_norm::norm::BatchNorm;
/// use wgpu_norm::{Data, Dtype, Engine, Parameters, Spec};
///
/// let rows = [1.0f32, 2.0, 3.0, 6.0]; // as if they lay in a file
/// let engine = Engine::new()?;
/// let spec = Spec::new([4, 1], Dtype::F32);
/// let streamed = engine.streamed(&BatchNorm::new(), &spec, Parameters::default(), 8)?;
/// let mut streamed = streamed.expect("batch normalization can be cut");
///
/// for piece in streamed.to_measure() {
///     streamed.measure(&piece, &Data::F32(rows[piece.elements()].to_vec()))?;
/// }
/// let mut output = Vec::new();
/// for piece in streamed.to_normalize() {
///     let mut values = Data::F32(rows[piece.elements()].to_vec());
///     streamed.normalize(&piece, &mut values)?;
///     output.extend(values.to_f32());
/// }
/// assert!(output[2].abs() < 1e-6); // the mean of all four is 3
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug)]
pub struct Streamed<'a> {
    engine: Engine,
    plan: Plan,
    parameters: Parameters<'a>,
    cut: Cut,
    /// Elements of a piece, where steps are no longer.
    most: usize,
    merging: Merging,
    /// Steps that were measured.
    steps: usize,
    /// What was measured, once that is all.
    measured: Option<Shard>,
}

/// A piece of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    steps: Range<usize>,
    elements: Range<usize>,
}

impl Piece {
    /// Which elements of the tensor it has.
    #[must_use]
    pub fn elements(&self) -> Range<usize> {
        self.elements.clone()
    }
}

impl Engine {
    /// A normalization in pieces of about `piece_bytes`. `None` where the norm takes the whole tensor at once: switchable
    /// norms, instance norms that move running estimates, a residual; by the batch's statistics class tables, and runs of
    /// values that are no whole channels; an empty tensor, and one that is a single step: a group that is one run, or one
    /// sample by running estimates. A piece is at least one step of the view's outermost level.
    ///
    /// # Errors
    ///
    /// As [`Norm::lower`]; and when the statistics are those of other ranks too, who take whole tensors.
    pub fn streamed<'a>(
        &self,
        norm: &dyn Norm,
        input: &Spec,
        mut parameters: Parameters<'a>,
        piece_bytes: usize,
    ) -> Result<Option<Streamed<'a>>> {
        if peers_of(norm, parameters.group)?.is_some() {
            let reason = "the statistics of a tensor in pieces are its own alone";
            return Err(Error::Unexpected { argument: "group", reason });
        }
        let plan = norm.lower(&parameters.operands_of(input.clone()))?;
        let Some(cut) = Cut::of(&plan) else { return Ok(None) };
        parameters.arguments().check(&plan)?;
        plan.check_alone()?;
        let merging = Merging::new(if cut.shares_statistics(&plan) { plan.view.statistics() } else { 0 });
        let most = piece_bytes / input.dtype.size();
        Ok(Some(Streamed { engine: self.clone(), plan, parameters, cut, most, merging, steps: 0, measured: None }))
    }
}

impl Streamed<'_> {
    /// The pieces to [`measure`](Self::measure) before anything is normalized: all of them or none.
    #[must_use]
    pub fn to_measure(&self) -> Vec<Piece> {
        if self.cut.shares_statistics(&self.plan) { self.to_normalize() } else { Vec::new() }
    }

    /// The pieces to [`normalize`](Self::normalize), in their order.
    #[must_use]
    pub fn to_normalize(&self) -> Vec<Piece> {
        let piece = |steps| Piece { elements: self.cut.elements(&steps), steps };
        self.cut.pieces(self.most).map(piece).collect()
    }

    /// Elements of the longest piece.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.cut.pieces(self.most).map(|steps| self.cut.elements(&steps).len()).max().unwrap_or(0)
    }

    /// Whether running estimates are moved, which they are with the last piece that is measured.
    #[must_use]
    pub fn moves_running(&self) -> bool {
        self.plan.running_update().is_some()
    }

    /// The running estimates.
    #[must_use]
    pub fn running(&self) -> Option<&RunningStatistics> {
        self.parameters.running.as_deref()
    }

    /// Takes in the moments of a piece. They come in the order of [`to_measure`](Self::to_measure), each once; one that
    /// failed may be tried again.
    ///
    /// # Errors
    ///
    /// When `input` is not as long as the piece or of another type; when it is not this piece's turn, or nothing is to be
    /// measured (any more); and when the device fails.
    pub fn measure(&mut self, piece: &Piece, input: &Data) -> Result<()> {
        self.check_turn(piece)?;
        let own = Kept::default();
        let mut nothing = Data::zeros(input.dtype(), input.len());
        self.execute(piece, Some(&own), Some(input), None, &mut nothing)?;
        if let Some(Shard { count, moments }) = own.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            // The divisor of one value's unbiased variance is 0.
            let divisor = self.plan.statistic.divisor(count);
            let squares = moments.var.iter().map(|var| if divisor > 0.0 { var * divisor } else { 0.0 });
            self.merging.add(count, [&moments.mean, &squares.collect::<Vec<_>>()]);
        }
        self.steps = piece.steps.end;
        if self.steps == self.cut.steps() {
            self.settle();
        }
        Ok(())
    }

    /// Whether a piece is the next to be measured.
    fn check_turn(&self, piece: &Piece) -> Result<()> {
        if !self.cut.shares_statistics(&self.plan) {
            let reason = "each piece has statistics of its own";
            return Err(Error::Unexpected { argument: "piece", reason });
        }
        if self.measured.is_some() {
            return Err(Error::Unexpected { argument: "piece", reason: "all pieces were measured" });
        }
        if piece.steps.start != self.steps {
            let expected =
                format!("that from element {} on, the next to be measured", self.cut.elements(&(0..self.steps)).end);
            return Err(Error::Value { argument: "piece", got: format!("elements {:?}", piece.elements), expected });
        }
        self.check_piece(piece)
    }

    /// Whether a piece can be this tensor's.
    fn check_piece(&self, piece: &Piece) -> Result<()> {
        let steps = &piece.steps;
        let is_own = !steps.is_empty() && steps.end <= self.cut.steps() && self.cut.elements(steps) == piece.elements;
        if is_own && self.cut.is_piece(steps) {
            return Ok(());
        }
        let expected = "one of to_normalize, of the same normalization".into();
        Err(Error::Value { argument: "piece", got: format!("elements {:?}", piece.elements), expected })
    }

    /// All is measured: what the pieces are normalized by, and where the running estimates go.
    fn settle(&mut self) {
        let merging = std::mem::replace(&mut self.merging, Merging::new(0));
        let all = merging.finish(self.plan.statistic.divisor(self.plan.count()));
        if let (Some(update), Some(running)) = (self.plan.running_update(), &mut self.parameters.running) {
            update.apply(running, all.count, [&all.moments.mean, &all.moments.var]);
        }
        self.measured = Some(all);
    }

    /// Normalizes the values of a piece in place.
    ///
    /// # Errors
    ///
    /// When they are not as many as the piece has or of another type; when the piece is of another tensor; when not all
    /// pieces were measured that have to be; and when the device fails.
    pub fn normalize(&self, piece: &Piece, values: &mut Data) -> Result<()> {
        self.normalize_saving(piece, values, None)
    }

    /// As [`normalize`](Self::normalize), keeping the statistics of the piece's groups.
    ///
    /// # Errors
    ///
    /// As [`normalize`](Self::normalize).
    pub fn normalize_saving<'s>(
        &self,
        piece: &Piece,
        values: &mut Data,
        statistics: impl Into<Option<&'s mut Statistics>>,
    ) -> Result<()> {
        self.check_measured()?;
        let all = self.measured.as_ref().map(Known);
        self.execute(piece, all.as_ref().map(|all| all as &dyn Peers), None, statistics.into(), values)
    }

    /// What the f64 reference makes of a piece, by the moments that were measured.
    ///
    /// # Errors
    ///
    /// As [`normalize`](Self::normalize).
    pub fn expected(&self, piece: &Piece, input: &Data) -> Result<Vec<f64>> {
        self.check_measured()?;
        self.check_piece(piece)?;
        let part = self.cut.part(&self.plan, &piece.steps);
        check_tensor("input", input, &part.plan)?;
        let own = Own::of(&self.parameters, &part);
        let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect();
        let data = |data: &Option<Cow<'_, Data>>| data.as_ref().map(|data| data.to_f64());
        let mut values = Values {
            input: input.to_f64(),
            weight: data(&own.weight),
            bias: data(&own.bias),
            running_mean: own.running.as_ref().map(|r| wide(&r.mean)).unwrap_or_default(),
            running_var: own.running.as_ref().map(|r| wide(&r.var)).unwrap_or_default(),
            extra: own.extra.as_ref().map(data),
            labels: own.labels.unwrap_or_default().to_vec(),
            ..Values::default()
        };
        let all = self.measured.as_ref().map(Known);
        let peers = all.as_ref().map(|all| all as &dyn Peers);
        reference::forward_among(&part.plan, peers, &mut values).map(|forward| forward.output)
    }

    fn check_measured(&self) -> Result<()> {
        if self.measured.is_some() || !self.cut.shares_statistics(&self.plan) {
            return Ok(());
        }
        let reason = "the statistics are those of all pieces: measure each before one is normalized";
        Err(Error::Missing { argument: "statistics", reason })
    }

    fn execute(
        &self,
        piece: &Piece,
        others: Option<&dyn Peers>,
        input: Option<&Data>,
        statistics: Option<&mut Statistics>,
        output: &mut Data,
    ) -> Result<()> {
        self.check_piece(piece)?;
        let part = self.cut.part(&self.plan, &piece.steps);
        let mut own = Own::of(&self.parameters, &part);
        let mut arguments = Arguments {
            weight: own.weight.as_deref(),
            bias: own.bias.as_deref(),
            running: own.running.as_mut(),
            residual: None,
            sum: None,
            statistics,
            extra: own.extra.as_ref().map(|data| data.as_deref()),
            labels: own.labels,
        };
        arguments.check(&part.plan)?;
        check_tensor(if input.is_some() { "input" } else { "values" }, input.unwrap_or(output), &part.plan)?;
        pollster::block_on(self.engine.execute_held(&part.plan, others, input, &mut arguments, None, output))
    }
}

/// What belongs to a piece of what is learned.
struct Own<'a> {
    weight: Option<Cow<'a, Data>>,
    bias: Option<Cow<'a, Data>>,
    extra: Extra<Option<Cow<'a, Data>>>,
    running: Option<RunningStatistics>,
    labels: Option<&'a [i64]>,
}

impl<'a> Own<'a> {
    fn of(parameters: &'a Parameters<'_>, part: &Part) -> Self {
        let own = |tensor: Option<&'a Tensor>| tensor.map(|tensor| sliced(tensor.data(), part.parameters.as_ref()));
        let extra = parameters.extra;
        let whole = |tensor: Option<&'a Tensor>| tensor.map(|tensor| Cow::Borrowed(tensor.data()));
        let estimates = |running: &RunningStatistics| RunningStatistics {
            mean: running.mean[part.running.clone()].to_vec(),
            var: running.var[part.running.clone()].to_vec(),
            num_batches_tracked: None,
        };
        Self {
            weight: own(parameters.weight),
            bias: own(parameters.bias),
            extra: Extra { tau: own(extra.tau), ..extra.map(whole) },
            running: parameters.running.as_deref().filter(|_| !part.running.is_empty()).map(estimates),
            labels: parameters.labels.map(|labels| &labels[part.labels.clone()]),
        }
    }
}

/// Some of the values, or all.
fn sliced<'a>(data: &'a Data, range: Option<&Range<usize>>) -> Cow<'a, Data> {
    let Some(range) = range else { return Cow::Borrowed(data) };
    Cow::Owned(match data {
        Data::F32(values) => Data::F32(values[range.clone()].to_vec()),
        Data::F16(values) => Data::F16(values[range.clone()].to_vec()),
        Data::Bf16(values) => Data::Bf16(values[range.clone()].to_vec()),
    })
}

/// The others of a piece while nothing is known of them: its own moments are kept.
#[derive(Debug, Default)]
struct Kept(Mutex<Option<Shard>>);

impl Peers for Kept {
    fn merged(&self, _: &Plan, own: Shard) -> Result<Option<Shard>> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(own);
        Ok(None)
    }

    fn summed(&self, _: &Plan, own: GroupSums) -> Result<GroupSums> {
        Ok(own)
    }

    fn can_repeat(&self) -> bool {
        true
    }
}

/// The others of a piece once the moments of all are known.
#[derive(Debug)]
struct Known<'a>(&'a Shard);

impl Peers for Known<'_> {
    fn known(&self) -> Option<&Shard> {
        Some(self.0)
    }

    fn merged(&self, _: &Plan, _: Shard) -> Result<Option<Shard>> {
        Ok(Some(self.0.clone()))
    }

    fn summed(&self, _: &Plan, own: GroupSums) -> Result<GroupSums> {
        Ok(own)
    }

    fn can_repeat(&self) -> bool {
        true
    }
}
