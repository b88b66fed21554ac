//! What the ranks of a synchronized normalization tell each other.

use super::group::Group;
use crate::error::{Error, Result};
use crate::plan::{GroupSums, Merging, Momentum, Peers, Plan, RunningVariance, Shard};
use crate::tensor::Dtype;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a message says first, so that ranks that do different things notice.
#[derive(Debug, Clone, Copy)]
struct Header([f64; Self::LEN]);

/// Which pass of a synchronized normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Its statistics are gathered.
    Forward,
    /// Its sums are.
    Backward,
}

/// In the place of the pass: the rank has met an error of its own, whose text follows.
const GAVE_UP: f64 = -1.0;

impl Header {
    const LEN: usize = 8;
    const NAMES: [&'static str; Self::LEN] = [
        "pass",
        "layer",
        "number of channels",
        "type",
        "eps",
        "kind of momentum",
        "momentum",
        "variance of the running estimates",
    ];

    #[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 channels")]
    fn new(pass: Pass, group: &Group, plan: &Plan) -> Self {
        let dtype = Dtype::ALL.iter().position(|dtype| *dtype == plan.dtype()).unwrap_or(0) as f64;
        let update = plan.source().running_update();
        let [kind, share] = match update.map(|update| update.momentum) {
            None => [0.0, 0.0],
            Some(Momentum::Fixed(share)) => [1.0, share],
            Some(Momentum::Cumulative) => [2.0, 0.0],
        };
        let is_biased = update.is_some_and(|update| update.variance == RunningVariance::Biased);
        let channels = plan.view().statistics() as f64;
        let layer = f64::from(group.number());
        Self([pass.code(), layer, channels, dtype, plan.eps(), kind, share, f64::from(u8::from(is_biased))])
    }
}

impl Pass {
    fn code(self) -> f64 {
        match self {
            Self::Forward => 0.0,
            Self::Backward => 1.0,
        }
    }

    fn operation(self) -> &'static str {
        match self {
            Self::Forward => "sync_batch_norm forward",
            Self::Backward => "sync_batch_norm backward",
        }
    }
}

/// A field of a header in words.
fn in_words(field: usize, value: f64) -> String {
    let dtypes = Dtype::ALL.map(|dtype| dtype.to_string());
    let words: &[&str] = match field {
        0 => &["forward", "backward"],
        3 => &dtypes.each_ref().map(String::as_str),
        5 => &["none", "fixed", "cumulative"],
        7 => &["unbiased", "biased"],
        _ => &[],
    };
    let word = words.iter().zip(0u8..).find(|(_, code)| f64::from(*code) == value);
    word.map_or_else(|| value.to_string(), |(word, _)| (*word).to_owned())
}

/// Checks that all ranks sent the same header; otherwise says what differs, and where.
fn check_headers(operation: &str, messages: &[Vec<f64>]) -> Result<()> {
    let disagreement = |message| Err(Error::Collective { operation: operation.to_owned(), message });
    if let Some((rank, text)) = messages.iter().enumerate().find_map(|(rank, message)| Some((rank, given_up(message)?)))
    {
        return disagreement(format!("{} gave up before it: {text}", listed(&[rank])));
    }
    for (field, name) in Header::NAMES.into_iter().enumerate() {
        let mut kinds: Vec<(f64, Vec<usize>)> = Vec::new();
        for (rank, message) in messages.iter().enumerate() {
            let Some(&value) = message.get(field) else {
                return disagreement(format!("{} sent a message that is none of ours", listed(&[rank])));
            };
            match kinds.iter_mut().find(|(kind, _)| kind.to_bits() == value.to_bits()) {
                Some((_, ranks)) => ranks.push(rank),
                None => kinds.push((value, vec![rank])),
            }
        }
        if kinds.len() > 1 {
            let parts: Vec<String> = kinds
                .iter()
                .map(|(value, ranks)| format!("{} on {}", in_words(field, *value), listed(ranks)))
                .collect();
            return disagreement(format!("the ranks differ in {name}: {}", parts.join(", ")));
        }
    }
    Ok(())
}

/// What each rank sent after its header: a count, and two numbers a channel.
struct Gathered {
    messages: Vec<Vec<f64>>,
    channels: usize,
}

impl Gathered {
    /// Of each rank its count, and both its numbers of every channel.
    fn ranks(&self) -> impl Iterator<Item = (f64, [&[f64]; 2])> {
        self.messages.iter().map(|message| {
            let (one, other) = message[Header::LEN + 1..].split_at(self.channels);
            (message[Header::LEN], [one, other])
        })
    }

    fn count(&self) -> f64 {
        self.ranks().map(|(count, _)| count).sum()
    }
}

/// The error of a rank that gave up, if it did.
fn given_up(message: &[f64]) -> Option<String> {
    let (first, text) = message.split_first()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "each is a byte")]
    let bytes = || text.iter().map(|byte| *byte as u8).collect::<Vec<_>>();
    (*first == GAVE_UP).then(|| String::from_utf8_lossy(&bytes()).into_owned())
}

/// A rank's part in a pass that all ranks of its group make together. If it ends without the exchange, the others are
/// told, so that they neither wait nor take the next pass for this one.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    group: &'a Group,
    pass: Pass,
    is_over: AtomicBool,
}

impl<'a> Turn<'a> {
    /// Begins a pass with the others.
    pub(crate) fn new(group: &'a Group, pass: Pass) -> Self {
        Self { group, pass, is_over: AtomicBool::new(false) }
    }

    /// Ends the pass: where the rank has not come to the exchange, with what kept it from there.
    pub(crate) fn end<T>(self, result: Result<T>) -> Result<T> {
        if let (Err(error), false) = (&result, self.is_over.swap(true, Ordering::Relaxed)) {
            self.give_up(&error.to_string());
        }
        result
    }

    fn give_up(&self, text: &str) {
        let message: Vec<f64> = std::iter::once(GAVE_UP).chain(text.bytes().map(f64::from)).collect();
        // The rank's own error is the one to return.
        let _ = self.group.all_gather(self.pass.operation(), &message);
    }

    /// Two numbers a channel and a count from every rank.
    fn gathered(&self, plan: &Plan, count: f64, of_channels: [&[f64]; 2]) -> Result<Gathered> {
        self.is_over.store(true, Ordering::Relaxed);
        let (operation, Header(header)) = (self.pass.operation(), Header::new(self.pass, self.group, plan));
        let failed = |message| Err(Error::Collective { operation: operation.to_owned(), message });
        let message = [&header, &[count][..], of_channels[0], of_channels[1]].concat();
        let messages = self.group.all_gather(operation, &message)?;
        if messages.len() != self.group.world_size() {
            return failed(format!("{} messages from {} ranks", messages.len(), self.group.world_size()));
        }
        check_headers(operation, &messages)?;
        let channels = plan.view().statistics();
        match messages.iter().position(|message| message.len() != Header::LEN + 1 + 2 * channels) {
            None => Ok(Gathered { messages, channels }),
            Some(rank) => failed(format!("{} sent a message of another length", listed(&[rank]))),
        }
    }
}

/// The result of a pass, of which the other ranks, if there are any, are told where it ended before they met.
pub(crate) fn ended<T>(turn: Option<Turn<'_>>, result: Result<T>) -> Result<T> {
    match turn {
        Some(turn) => turn.end(result),
        None => result,
    }
}

impl Drop for Turn<'_> {
    /// The rank panicked, or nobody waits for its future any more.
    fn drop(&mut self) {
        if !self.is_over.swap(true, Ordering::Relaxed) {
            // What an application's transport panics with while the rank does would end the process.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| self.give_up("it was dropped")));
        }
    }
}

impl Peers for Turn<'_> {
    fn merged(&self, plan: &Plan, own: Shard) -> Result<Option<Shard>> {
        let squares: Vec<f64> = own.moments.var.iter().map(|var| var * own.count).collect();
        let gathered = self.gathered(plan, own.count, [&own.moments.mean, &squares])?;
        if gathered.count() == 1.0 {
            return Err(Error::Collective {
                operation: self.pass.operation().to_owned(),
                message: "expected more than one value per channel over all ranks when training, got 1".into(),
            });
        }
        Ok(Some(chan(gathered.ranks(), gathered.channels)))
    }

    fn summed(&self, plan: &Plan, own: GroupSums) -> Result<GroupSums> {
        let gathered = self.gathered(plan, plan.shard_count(), [&own.products, &own.gradients])?;
        let mut sums = [vec![0.0; gathered.channels], vec![0.0; gathered.channels]];
        for (_, of_rank) in gathered.ranks() {
            for (sums, of_rank) in sums.iter_mut().zip(of_rank) {
                sums.iter_mut().zip(of_rank).for_each(|(sum, more)| *sum += more);
            }
        }
        let share = plan.shard_count() / gathered.count().max(1.0);
        let [products, gradients] = sums.map(|sums| sums.into_iter().map(|sum| sum * share).collect());
        Ok(GroupSums { products, gradients })
    }
}

/// Moments of everything, from counts, means and centred sums of parts, in their order.
fn chan<'a>(parts: impl Iterator<Item = (f64, [&'a [f64]; 2])>, channels: usize) -> Shard {
    let mut all = Merging::new(channels);
    parts.for_each(|(count, of_groups)| all.add(count, of_groups));
    let count = all.count;
    all.finish(count)
}

/// `rank 2`, or `ranks 2, 3`.
pub(super) fn listed(ranks: &[usize]) -> String {
    let numbers: Vec<String> = ranks.iter().map(usize::to_string).collect();
    format!("{} {}", if ranks.len() == 1 { "rank" } else { "ranks" }, numbers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_merge_to_the_moments_of_the_whole() {
        let values: Vec<f64> = (0..32).map(|i| 1e4 + f64::from(i * i % 17) / 8.0).collect();
        let moments = |values: &[f64]| {
            let n = values.len() as f64;
            let mean = if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / n };
            (n, mean, values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>())
        };
        let (_, want_mean, want_squares) = moments(&values);
        for cuts in [[7, 8, 8], [0, 0, 0], [32, 32, 32], [1, 2, 31]] {
            let parts = [&values[..cuts[0]], &values[cuts[0]..cuts[1]], &values[cuts[1]..cuts[2]], &values[cuts[2]..]];
            let parts = parts.map(|part| {
                let (n, mean, squares) = moments(part);
                (n, [[mean], [squares]])
            });
            let all = chan(parts.iter().map(|(n, [mean, squares])| (*n, [&mean[..], &squares[..]])), 1);
            let (mean, var) = (all.moments.mean[0], all.moments.var[0]);
            assert_eq!(all.count, 32.0);
            assert!((mean - want_mean).abs() < 1e-11, "{cuts:?}: {mean} {want_mean}");
            assert!((var - want_squares / 32.0).abs() < 1e-10, "{cuts:?}: {var} {want_squares}");
        }
    }

    #[test]
    fn headers_that_differ_are_named_with_their_ranks() {
        let header = |channels: f64, dtype: f64| vec![0.0, 1.0, channels, dtype, 1e-5, 1.0, 0.1, 0.0];
        let text = |messages: &[Vec<f64>]| check_headers("op", messages).expect_err("they differ").to_string();
        let same = header(64.0, 0.0);
        assert_eq!(check_headers("op", &[same.clone(), same.clone()]), Ok(()));
        assert_eq!(
            text(&[same.clone(), header(32.0, 0.0), same.clone()]),
            "op: the ranks differ in number of channels: 64 on ranks 0, 2, 32 on rank 1"
        );
        assert_eq!(
            text(&[same.clone(), header(64.0, 1.0)]),
            "op: the ranks differ in type: f32 on rank 0, f16 on rank 1"
        );
        let gave_up = std::iter::once(GAVE_UP).chain("ü: wrong".bytes().map(f64::from)).collect();
        assert_eq!(text(&[same.clone(), gave_up]), "op: rank 1 gave up before it: ü: wrong");
        assert_eq!(text(&[same, vec![]]), "op: rank 1 sent a message that is none of ours");
    }
}
