use super::{BatchNorm, Norm, Operands};
use crate::error::{Error, Result};
use crate::plan::{Extra, Plan, Tables};

/// Sandwich batch normalization (Gong et al., [arXiv 2102.11382](https://arxiv.org/abs/2102.11382)): as [`BatchNorm`]
/// with weight and bias shared by all classes, followed by those of each sample's class.
///
/// ```text
/// y = (x_hat * weight[c] + bias[c]) * class_weight[labels[n], c] + class_bias[labels[n], c]
/// ```
///
/// There is one set of running estimates for all classes, as in the authors' code for GANs.
///
/// # Shapes
///
/// `input`, `weight`, `bias` and running estimates as for [`BatchNorm`]; `labels` `[N]`, classes from 0 on;
/// `class_weight` and `class_bias` `[num_classes, C]`, each optional, but not both absent.
///
/// ```
/// use wgpu_norm::norm::{BatchNorm, SandwichBatchNorm};
/// use wgpu_norm::plan::Extra;
/// use wgpu_norm::{Engine, Parameters, Tensor};
///
/// let norm = SandwichBatchNorm::new(BatchNorm::new());
/// let x = Tensor::from_f32([2, 1], vec![1.0, 3.0])?; // normalized -1 and 1
/// let (bias, class_weight) = (Tensor::from_f32([1], vec![1.0])?, Tensor::from_f32([2, 1], vec![5.0, 7.0])?);
/// let extra = Extra { class_weight: Some(&class_weight), ..Extra::default() };
/// let mut parameters = Parameters { bias: Some(&bias), extra, labels: Some(&[0, 1]), ..Parameters::default() };
/// let y = Engine::new()?.forward(&norm, &x, &mut parameters)?.data().to_f32();
/// assert!(y[0].abs() < 0.01 && (y[1] - 14.0).abs() < 0.01);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SandwichBatchNorm {
    /// The normalization with the shared weight and bias.
    pub batch: BatchNorm,
}

impl SandwichBatchNorm {
    /// With tables after the normalization's own weight and bias.
    #[must_use]
    pub fn new(batch: BatchNorm) -> Self {
        Self { batch }
    }
}

impl Norm for SandwichBatchNorm {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        let axes = self.batch.axes(operands)?;
        let table = operands.extra.class_weight.as_ref().or(operands.extra.class_bias.as_ref());
        let Some(classes) = table.map(|table| table.shape.first().copied().unwrap_or(0)) else {
            let reason = "class_weight, class_bias or both are tables with a row for each class";
            return Err(Error::Missing { argument: "class_weight", reason });
        };
        let shape = Some(vec![classes, axes.channels]);
        let extra =
            operands.extra_types(Extra { class_weight: shape.clone(), class_bias: shape, ..Extra::default() })?;
        let tables = Tables { classes, are_parameters: false };
        let own = [axes.channels];
        self.batch.lower_classes(operands, axes, tables, extra, |map, cells| operands.affine(&own, None, map, cells))
    }
}
