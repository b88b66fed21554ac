//! Parameters of several storage types: kernels know one, so host tensors go to them as f32.

use super::host_tensors;
use super::options::Options;
use super::pipelines::Gpu;
use crate::error::{Error, Result};
use crate::plan::{Arguments, Extra, GradientArguments, Gradients, Plan, Wanted};
use crate::tensor::{Data, Dtype};

impl Plan {
    /// The parameters that are there, with their names and types.
    fn parameter_types(&self) -> impl Iterator<Item = (&'static str, Dtype)> + use<> {
        let own = [("weight", self.affine.weight), ("bias", self.affine.bias)];
        own.into_iter().chain(self.extra.named()).filter_map(|(name, dtype)| Some((name, dtype?)))
    }

    /// Checks that all parameters have one storage type, as kernels take them.
    pub(super) fn check_parameter_types(&self) -> Result<()> {
        let (first, dtype) = self.parameter_types().next().unwrap_or(("input", self.dtype));
        match self.parameter_types().find(|(_, other)| *other != dtype) {
            Some((argument, got)) => {
                let expected = format!("{dtype}, the type of {first}: parameters in buffers have one type");
                Err(Error::Dtype { argument, got, expected })
            }
            None => Ok(()),
        }
    }

    fn has_mixed_parameters(&self) -> bool {
        self.check_parameter_types().is_err()
    }

    /// The same with f32 for all parameters.
    fn with_wide_parameters(&self) -> Self {
        let wide = |dtype: Option<Dtype>| dtype.map(|_| Dtype::F32);
        let mut plan = self.clone();
        (plan.affine.weight, plan.affine.bias) = (wide(self.affine.weight), wide(self.affine.bias));
        plan.extra = self.extra.map(wide);
        plan
    }
}

/// Parameters in f32.
struct Wide {
    weight: Option<Data>,
    bias: Option<Data>,
    extra: Extra<Option<Data>>,
}

impl Wide {
    fn of(weight: Option<&Data>, bias: Option<&Data>, extra: Extra<Option<&Data>>) -> Self {
        let wide = |data: Option<&Data>| data.map(|data| Data::F32(data.to_f32()));
        Self { weight: wide(weight), bias: wide(bias), extra: extra.map(wide) }
    }
}

/// As [`host_tensors::execute`], whatever types parameters have. Of those that are held on a device all are alike.
pub(crate) async fn execute(
    on: (&Gpu, &wgpu::Queue),
    (plan, options): (&Plan, &Options),
    input: Option<&Data>,
    arguments: &mut Arguments<'_>,
    held: Option<&mut super::Held>,
    output: &mut Data,
) -> Result<()> {
    if !plan.has_mixed_parameters() {
        return host_tensors::execute(on, (plan, options), input, arguments, held, output).await;
    }
    let wide = Wide::of(arguments.weight, arguments.bias, arguments.extra);
    let mut arguments = Arguments {
        weight: wide.weight.as_ref(),
        bias: wide.bias.as_ref(),
        running: arguments.running.as_deref_mut(),
        residual: arguments.residual,
        sum: arguments.sum.as_deref_mut(),
        statistics: arguments.statistics.as_deref_mut(),
        extra: wide.extra.as_ref().map(Option::as_ref),
        labels: arguments.labels,
    };
    let plan = plan.with_wide_parameters();
    host_tensors::execute(on, (&plan, options), input, &mut arguments, held, output).await
}

/// As [`host_tensors::backward`], whatever types parameters have; their gradients are rounded to these.
pub(crate) async fn backward(
    on: (&Gpu, &wgpu::Queue),
    (plan, (wanted, options)): (&Plan, (Wanted, &Options)),
    arguments: &GradientArguments<'_>,
    held: Option<&super::Held>,
    gradients: &mut Gradients,
) -> Result<()> {
    if !plan.has_mixed_parameters() {
        return host_tensors::backward(on, (plan, (wanted, options)), arguments, held, gradients).await;
    }
    let wide = Wide::of(arguments.weight, arguments.bias, arguments.extra);
    let arguments = GradientArguments {
        weight: wide.weight.as_ref(),
        bias: wide.bias.as_ref(),
        extra: wide.extra.as_ref().map(Option::as_ref),
        ..*arguments
    };
    let plan = plan.with_wide_parameters();
    let zeros = |data: &Option<Data>| data.as_ref().map(|data| Data::zeros(Dtype::F32, data.len()));
    let found = Gradients {
        weight: zeros(&gradients.weight),
        bias: zeros(&gradients.bias),
        extra: gradients.extra.as_ref().map(zeros),
        input: gradients.input.take(),
    };
    let mut lent = Lent { gradients, found };
    host_tensors::backward(on, (&plan, (wanted, options)), &arguments, held, &mut lent.found).await?;
    lent.round();
    Ok(())
}

/// Gradients of parameters in f32 beside the caller's own, whose input's they have until they are dropped, however that
/// comes: a pass may be given up at any time.
struct Lent<'a> {
    gradients: &'a mut Gradients,
    found: Gradients,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.gradients.input = self.found.input.take();
    }
}

impl Lent<'_> {
    /// Rounds those of parameters to the caller's types.
    fn round(&mut self) {
        let Self { gradients, found } = self;
        let pairs = [(&mut gradients.weight, &found.weight), (&mut gradients.bias, &found.bias)];
        for (own, found) in pairs.into_iter().chain(gradients.extra.as_mut().zip(found.extra.as_ref()).into_array()) {
            if let (Some(own), Some(found)) = (own, found) {
                *own = Data::from_f64(own.dtype(), &found.to_f64());
            }
        }
    }
}
