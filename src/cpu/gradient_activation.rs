//! Gradients that are taken back through an activation before anything else, into a tensor of their own: what is left is a
//! normalization that nothing but weight and bias follows, which has much faster ways.

use super::element::Element;
use super::epilogue::Epilogue;
use super::gradient;
use super::parallel::{self, TASK};
use super::parameters::Parameters;
use super::row_kernels::BLOCK;
use super::{Job, columns};
use crate::plan::{GradientArguments, Plan};
use pulp::{Simd, WithSimd};

/// The upstream gradients times the activation's slopes, if an activation and nothing else follows weight and bias. Types of
/// 16 bits have none, since digits would be lost.
pub(super) fn taken_back<T: Element>(
    plan: &Plan,
    arguments: &GradientArguments<'_>,
    job: &gradient::Job<'_, T>,
) -> Option<Vec<T>> {
    let is_alone = job.parameters.tau.is_none() && !job.epilogue.rounds;
    if !T::IS_F32 || job.epilogue.activation.is_none() || !is_alone {
        return None;
    }
    let by_columns = columns::suit(plan.view);
    let of_affine = Job {
        view: if by_columns { columns::widened(plan.view) } else { plan.view },
        statistic: plan.statistic,
        given: true,
        eps: plan.eps,
        input: Some(job.x),
        parameters: Parameters::new(plan, arguments.weight, arguments.bias, arguments.extra, arguments.labels),
        epilogue: Epilogue::default(),
        simd: job.simd,
        threads: job.threads,
        past_caches: false,
        straight: false,
    };
    let scales: Vec<_> = (0..plan.view.statistics()).map(|statistic| job.groups.scale(statistic)).collect();
    let mut gradients = vec![T::zeroed(); job.x.len()];
    of_affine.apply(by_columns, &scales, &mut gradients);
    parallel::each_chunk(job.threads, &mut gradients, TASK, |i, gradients| {
        let upstream = &job.upstream[i * TASK..][..gradients.len()];
        job.simd.dispatch(TakeBack { gradients, upstream, epilogue: job.epilogue });
    });
    Some(gradients)
}

/// Makes gradients of what the activation was applied to.
struct TakeBack<'a, T> {
    gradients: &'a mut [T],
    upstream: &'a [T],
    epilogue: Epilogue,
}

impl<T: Element> WithSimd for TakeBack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (gradients, upstream) in self.gradients.chunks_mut(BLOCK).zip(self.upstream.chunks(BLOCK)) {
            let (gradients, upstream) = (T::target(gradients, &mut [], None), T::read(upstream, &mut []));
            self.epilogue.slopes(gradients);
            gradients.iter_mut().zip(upstream).for_each(|(gradient, upstream)| *gradient *= upstream);
        }
    }
}
