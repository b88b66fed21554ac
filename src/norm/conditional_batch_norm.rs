use super::{BatchNorm, Norm, Operands};
use crate::error::{Error, Result};
use crate::plan::{Extra, Plan, Tables};

/// Conditional batch normalization (de Vries et al., [arXiv 1707.00683](https://arxiv.org/abs/1707.00683); Miyato &
/// Koyama, [arXiv 1802.05637](https://arxiv.org/abs/1802.05637)): as [`BatchNorm`], with the weight and bias of each
/// sample's class.
///
/// The tables are the whole affine map, as Miyato's are; de Vries predicts offsets to a shared one.
/// Their gradients are dense: zero for classes that do not occur.
///
/// # Shapes
///
/// `input` as for [`BatchNorm`]; `labels` `[N]`, classes from 0 on; `weight` and `bias` `[num_classes, C]`, each
/// optional, but not both absent; running estimates `[C]`.
///
/// ```
/// use wgpu_norm::norm::{BatchNorm, ConditionalBatchNorm};
/// use wgpu_norm::{Engine, Parameters, Tensor};
///
/// let norm = ConditionalBatchNorm::new(BatchNorm::new());
/// let x = Tensor::from_f32([2, 1], vec![1.0, 3.0])?; // normalized -1 and 1
/// let weight = Tensor::from_f32([3, 1], vec![1.0, 10.0, 100.0])?;
/// let mut parameters = Parameters { weight: Some(&weight), labels: Some(&[2, 1]), ..Parameters::default() };
/// let y = Engine::new()?.forward(&norm, &x, &mut parameters)?.data().to_f32();
/// assert!((y[0] + 100.0).abs() < 0.01 && (y[1] - 10.0).abs() < 0.01);
///
/// parameters.labels = Some(&[2, 3]);
/// let error = Engine::new()?.forward(&norm, &x, &mut parameters).unwrap_err();
/// assert!(error.to_string().starts_with("labels: expected classes from 0 to 2"));
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConditionalBatchNorm {
    /// The normalization without weight and bias.
    pub batch: BatchNorm,
}

impl ConditionalBatchNorm {
    /// With tables in place of the normalization's own weight and bias.
    #[must_use]
    pub fn new(batch: BatchNorm) -> Self {
        Self { batch }
    }
}

impl Norm for ConditionalBatchNorm {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        let axes = self.batch.axes(operands)?;
        let extra = operands.extra_types(Extra::default())?;
        let table = operands.weight.as_ref().or(operands.bias.as_ref());
        let Some(classes) = table.map(|table| table.shape.first().copied().unwrap_or(0)) else {
            let reason = "weight, bias or both are tables with a row for each class";
            return Err(Error::Missing { argument: "weight", reason });
        };
        let tables = Tables { classes, are_parameters: true };
        let shape = [classes, axes.channels];
        self.batch.lower_classes(operands, axes, tables, extra, |map, cells| operands.affine(&shape, None, map, cells))
    }
}
