//! The normalizations that are drawn, each lowered for the block.

use crate::block::{CHANNELS, Element, POSITIONS, SAMPLES};
use wgpu_norm::norm::{
    BatchGroupNorm, BatchNorm, ConditionalBatchNorm, FilterResponseNorm, GroupNorm, InstanceNorm, LayerNorm, Norm,
    Operands, PositionalNorm, RmsNorm, SandwichBatchNorm, SwitchableNorm,
};
use wgpu_norm::plan::{Extra, Plan, Source, View};
use wgpu_norm::{Dtype, Result, Spec};

/// Few enough that a group has several channels.
const GROUPS: usize = 2;
/// Tables have a row for each; none is seen in a picture.
const CLASSES: usize = 3;

/// A picture to be drawn.
#[derive(Debug)]
pub(crate) struct Cube {
    pub(crate) name: &'static str,
    /// What is measured, by name: one statistic, or those that are mixed. An element of several belongs to the first.
    pub(crate) statistics: Vec<(&'static str, View)>,
    plan: Plan,
}

impl Cube {
    fn new(name: &'static str, norm: &dyn Norm, operands: &Operands) -> Result<Self> {
        let plan = norm.lower(operands)?;
        let statistics = match plan.source() {
            Source::Mixed(_) => mixed(plan.view())?,
            _ => vec![("statistic", plan.view())],
        };
        Ok(Self { name, statistics, plan })
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{}.svg", self.name)
    }

    /// Which of the statistics the element shares with the corner.
    pub(crate) fn shared_statistic(&self, element: Element) -> Option<usize> {
        self.statistics.iter().position(|&(_, view)| element.shares_statistic_with_corner(view))
    }

    /// The elements that share this one of the statistics with the corner.
    pub(crate) fn sharing(&self, statistic: usize) -> impl Iterator<Item = Element> {
        let (_, view) = self.statistics[statistic];
        Element::all().filter(move |element| element.shares_statistic_with_corner(view))
    }

    /// Whether labels pick parameters.
    pub(crate) fn has_labels(&self) -> bool {
        self.plan.labels().is_some()
    }

    /// Whether the element's parameters and the corner's are picked by the same label.
    pub(crate) fn shares_label(&self, element: Element) -> bool {
        element.shares_label_with_corner(&self.plan)
    }
}

/// The three statistics that are mixed: a plan has the view of the first, from which it derives the others.
fn mixed(instance: View) -> Result<Vec<(&'static str, View)>> {
    let layer = LayerNorm::new([CHANNELS, POSITIONS]).lower(&input())?.view();
    let batch = BatchNorm::new().lower(&input())?.view();
    Ok(vec![("instance", instance), ("layer", layer), ("batch", batch)])
}

/// Every normalization.
pub(crate) fn cubes() -> Result<Vec<Cube>> {
    let features = [CHANNELS, POSITIONS];
    let table: [(&str, &dyn Norm, Operands); 12] = [
        ("layer", &LayerNorm::new(features), input()),
        ("layer_channels", &LayerNorm::over_axes([1]), input()),
        ("rms", &RmsNorm::new(features), input()),
        ("group", &GroupNorm::new(GROUPS), input()),
        ("instance", &InstanceNorm::new(), input()),
        ("batch", &BatchNorm::new(), input()),
        ("batch_group", &BatchGroupNorm::new(GROUPS), input()),
        ("positional", &PositionalNorm::new(), input()),
        ("filter_response", &FilterResponseNorm::new(), input()),
        ("switchable", &SwitchableNorm::new(), with_shares()),
        ("conditional", &ConditionalBatchNorm::default(), labelled().weight(class_table())),
        ("sandwich", &SandwichBatchNorm::default(), labelled().extra(class_weight())),
    ];
    table.into_iter().map(|(name, norm, operands)| Cube::new(name, norm, &operands)).collect()
}

fn input() -> Operands {
    Operands::new(Spec::new([SAMPLES, CHANNELS, POSITIONS], Dtype::F32))
}

fn with_shares() -> Operands {
    let shares = || Some(Spec::new([3], Dtype::F32));
    input().extra(Extra { mean_weight: shares(), var_weight: shares(), ..Extra::default() })
}

fn labelled() -> Operands {
    input().labels(SAMPLES)
}

fn class_table() -> Spec {
    Spec::new([CLASSES, CHANNELS], Dtype::F32)
}

fn class_weight() -> Extra<Option<Spec>> {
    Extra { class_weight: Some(class_table()), ..Extra::default() }
}
