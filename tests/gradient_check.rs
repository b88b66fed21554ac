//! The backward pass of the f64 reference is the derivative of its forward pass, by finite differences.

use wgpu_norm::norm::{
    BatchGroupNorm, BatchNorm, ConditionalBatchNorm, FilterResponseNorm, Fused, GroupNorm, InstanceNorm, LayerNorm,
    MomentShortcut, Norm, Operands, PositionalNorm, RmsNorm, SandwichBatchNorm, SwitchableNorm,
};
use wgpu_norm::plan::{Activation, Epilogue, Extra, Plan};
use wgpu_norm::reference::{self, GradientValues, Values};
use wgpu_norm::{Dtype, Layout, Spec};

/// Irregular multiples of 1/1024: sums of them, and of steps of 1/1024, are exact in f32, to which the sum of
/// input and residual is rounded.
fn values(seed: usize, len: usize) -> Vec<f64> {
    (0..len).map(|i| (((i * 7919 + seed * 104_729) % 4001) as f64 - 2000.0).round() / 1024.0).collect()
}

/// What is differentiated: the output and the sum, each weighted by its upstream gradient.
fn loss(plan: &Plan, values: &Values, upstream: &GradientValues) -> f64 {
    let forward = reference::forward(plan, &mut values.clone()).expect("fits");
    let of_sum = upstream.grad_sum.as_deref().unwrap_or_default().iter().zip(&forward.sum);
    let of_output = upstream.grad_output.iter().zip(&forward.output);
    let of_mean = upstream.grad_mean.as_deref().unwrap_or_default().iter().zip(&forward.statistics.mean);
    let of_std = upstream.grad_std.as_deref().unwrap_or_default().iter().zip(&forward.statistics.rstd);
    let of_std: f64 = of_std.map(|(g, rstd)| g / rstd).sum();
    of_std + of_output.chain(of_sum).chain(of_mean).map(|(g, y)| g * y).sum::<f64>()
}

/// The derivative with respect to element `i` of what `pick` picks, to the fourth order.
fn measured(
    plan: &Plan,
    values: &Values,
    upstream: &GradientValues,
    pick: impl Fn(&mut Values) -> &mut Vec<f64>,
    i: usize,
) -> f64 {
    let step = 1.0 / 1024.0;
    let at = |steps: f64| {
        let mut moved = values.clone();
        pick(&mut moved)[i] += steps * step;
        loss(plan, &moved, upstream)
    };
    (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * step)
}

fn assert_close(name: &str, got: &[f64], want: impl Fn(usize) -> f64) {
    let largest = got.iter().fold(1f64, |m, g| m.max(g.abs()));
    for (i, got) in got.iter().enumerate() {
        let want = want(i);
        assert!((got - want).abs() < 1e-6 * largest, "{name}[{i}]: got {got}, measured {want}");
    }
}

/// Checks every gradient of a plan; returns how many numbers that were.
fn check(name: &str, norm: &dyn Norm, operands: &Operands) -> usize {
    check_with(name, norm, operands, false)
}

/// The same, with gradients that flow into means and deviations, or without.
fn check_with(name: &str, norm: &dyn Norm, operands: &Operands, of_moments: bool) -> usize {
    let plan = norm.lower(operands).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (elements, groups) = (plan.view().elements(), plan.view().statistics());
    let parameters = plan.parameter_len();
    let channels = plan.running_len().unwrap_or(0);
    let values = Values {
        input: values(1, elements),
        weight: operands.weight.as_ref().map(|_| values(2, parameters)),
        bias: operands.bias.as_ref().map(|_| values(3, parameters)),
        residual: operands.residual.as_ref().map(|_| values(4, elements)),
        running_mean: values(5, channels),
        running_var: values(6, channels).iter().map(|v| v.abs() + 0.5).collect(),
        num_batches_tracked: 3,
        extra: extra_values(operands),
        labels: (0..plan.labels().unwrap_or(0)).map(|n| [1, 0, 1, 2][n % 4]).collect(),
    };
    let forward = reference::forward(&plan, &mut values.clone()).expect("fits");
    let upstream = GradientValues {
        input: forward.sum,
        grad_output: self::values(7, elements),
        grad_sum: operands.residual.as_ref().map(|_| self::values(8, elements)),
        statistics: forward.statistics,
        weight: values.weight.clone(),
        bias: values.bias.clone(),
        extra: values.extra.clone(),
        labels: values.labels.clone(),
        grad_mean: of_moments.then(|| self::values(9, groups)),
        grad_std: of_moments.then(|| self::values(10, groups)),
    };
    let got = reference::backward(&plan, &upstream).expect("fits");
    let measured = |pick: fn(&mut Values) -> &mut Vec<f64>, i| measured(&plan, &values, &upstream, pick, i);
    assert_close(&format!("{name} input"), &got.input, |i| measured(|v| &mut v.input, i));
    if values.residual.is_some() {
        let residual = |v| measured(|v| v.residual.as_mut().expect("has one"), v);
        assert_close(&format!("{name} residual"), &got.input, residual);
    }
    let mut numbers = got.input.len();
    if let Some(weight) = &got.weight {
        numbers += weight.len();
        assert_close(&format!("{name} weight"), weight, |i| measured(|v| v.weight.as_mut().expect("has one"), i));
    }
    if let Some(bias) = &got.bias {
        numbers += bias.len();
        assert_close(&format!("{name} bias"), bias, |i| measured(|v| v.bias.as_mut().expect("has one"), i));
    }
    let picks: [fn(&mut Values) -> &mut Vec<f64>; 6] = [
        |v| v.extra.class_weight.as_mut().expect("has one"),
        |v| v.extra.class_bias.as_mut().expect("has one"),
        |v| v.extra.tau.as_mut().expect("has one"),
        |v| v.extra.eps_l.as_mut().expect("has one"),
        |v| v.extra.mean_weight.as_mut().expect("has one"),
        |v| v.extra.var_weight.as_mut().expect("has one"),
    ];
    for ((own, gradient), pick) in got.extra.named().zip(picks) {
        if let Some(gradient) = &gradient {
            numbers += gradient.len();
            assert_close(&format!("{name} {own}"), gradient, |i| measured(pick, i));
        }
    }
    numbers
}

/// Thresholds so far off that no step crosses one, every other of them above all values.
fn extra_values(operands: &Operands) -> Extra<Option<Vec<f64>>> {
    let len = |spec: &Spec| spec.shape.iter().product();
    let mut extra = operands.extra.as_ref().map(|spec| spec.as_ref().map(|spec| values(11, len(spec))));
    extra.tau = extra.tau.map(|tau| (0..tau.len()).map(|i| if i % 2 == 0 { -50.0 } else { 50.0 }).collect());
    extra.eps_l = extra.eps_l.map(|_| vec![-0.5]);
    extra
}

/// A norm, the shapes of its input and parameters, and whether running estimates belong to it.
type Row = (String, Box<dyn Norm>, Vec<usize>, Vec<usize>, bool);

/// Every norm in every layout.
fn norms() -> Vec<Row> {
    let mut all: Vec<Row> = vec![
        ("layer".into(), Box::new(LayerNorm::new([7])), vec![4, 7], vec![7], false),
        ("layer over two".into(), Box::new(LayerNorm::new([3, 4])), vec![2, 3, 4], vec![3, 4], false),
        ("layer over channels".into(), Box::new(LayerNorm::over_axes([1])), vec![2, 5, 3], vec![5], false),
        ("layer over 1 and 3".into(), Box::new(LayerNorm::over_axes([1, 3])), vec![2, 3, 2, 4], vec![3, 4], false),
        ("layer a sample".into(), Box::new(LayerNorm::new([4])), vec![2, 3, 4], vec![2, 4], false),
        ("RMS".into(), Box::new(RmsNorm::new([7]).eps(1e-3)), vec![4, 7], vec![7], false),
        ("RMS over 1".into(), Box::new(RmsNorm::over_axes([1]).eps(1e-3)), vec![2, 4, 3], vec![4], false),
    ];
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let image = |n, c, s| if layout == Layout::ChannelsFirst { vec![n, c, s] } else { vec![n, s, c] };
        let mut add = |name: &str, norm: Box<dyn Norm>, shape, parameters, running| {
            all.push((format!("{name} {layout:?}"), norm, shape, parameters, running));
        };
        let group = || Box::new(GroupNorm::new(2).layout(layout));
        let instance = || Box::new(InstanceNorm::new().layout(layout));
        add("group", group(), image(2, 4, 3), vec![4], false);
        add("group a sample", group(), image(2, 4, 3), vec![2, 4], false);
        add("group of single positions", group(), image(3, 6, 1), vec![6], false);
        add("instance", instance(), image(3, 2, 5), vec![2], true);
        add("instance a sample", instance(), image(3, 2, 5), vec![3, 2], false);
        add("instance, given", Box::new(instance().use_input_stats(false)), image(3, 2, 5), vec![2], true);
        for training in [true, false] {
            let batch = || Box::new(BatchNorm::new().training(training).eps(1e-3).layout(layout));
            add(&format!("batch {training}"), batch(), image(4, 3, 2), vec![3], true);
            add(&format!("batch a sample {training}"), batch(), image(4, 3, 2), vec![4, 3], true);
            add(&format!("batch of one channel {training}"), batch(), image(1, 1, 6), vec![1], true);
        }
    }
    all
}

/// The normalizations that learn more, or whose statistics are more than a group's own.
fn family() -> Vec<(String, Box<dyn Norm>, Operands)> {
    let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
    let mut all: Vec<(String, Box<dyn Norm>, Operands)> = Vec::new();
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let image = |n, c, s| Operands::new(spec(&if layout == Layout::ChannelsFirst { [n, c, s] } else { [n, s, c] }));
        let affine = |operands: Operands, c| operands.weight(spec(&[c])).bias(spec(&[c]));
        let mut add =
            |name: &str, norm: Box<dyn Norm>, operands| all.push((format!("{name} {layout:?}"), norm, operands));
        let (tau, eps_l) = (Some(spec(&[4])), Some(spec(&[1])));
        let frn = || Box::new(FilterResponseNorm::new().eps(1e-3).layout(layout));
        let thresholds = Extra { tau, eps_l: eps_l.clone(), ..Extra::default() };
        add("filter response", frn(), affine(image(2, 4, 5), 4).extra(thresholds.clone()));
        add("filter response of one position", frn(), affine(image(3, 4, 1), 4).extra(thresholds));
        add("filter response, eps alone", frn(), image(2, 4, 5).extra(Extra { eps_l, ..Extra::default() }));
        add("positional", Box::new(PositionalNorm::new().eps(1e-3).layout(layout)), image(2, 4, 3));
        let moments = spec(&if layout == Layout::ChannelsFirst { [2, 1, 3] } else { [2, 3, 1] });
        let shortcut = image(2, 4, 3).weight(moments.clone()).bias(moments);
        add("shortcut", Box::new(MomentShortcut::new().layout(layout)), shortcut);
        let table = Some(spec(&[3, 4]));
        let tables = Extra { class_weight: table.clone(), class_bias: table.clone(), ..Extra::default() };
        let shares = Some(spec(&[3]));
        let shares = Extra { mean_weight: shares.clone(), var_weight: shares, ..Extra::default() };
        for training in [true, false] {
            let batch = || BatchNorm::new().training(training).eps(1e-3).layout(layout);
            let with_state = |operands: Operands, len| operands.running(len, true);
            let mut of_classes = with_state(image(4, 4, 2), 4).labels(4);
            (of_classes.weight, of_classes.bias) = (table.clone(), table.clone());
            add("conditional", Box::new(ConditionalBatchNorm::new(batch())), of_classes);
            let sandwich = affine(with_state(image(4, 4, 2), 4), 4).labels(4).extra(tables.clone());
            add("sandwich", Box::new(SandwichBatchNorm::new(batch())), sandwich);
            let switchable = SwitchableNorm::new().training(training).eps(1e-3).layout(layout);
            add("switchable", Box::new(switchable), affine(with_state(image(3, 4, 5), 4), 4).extra(shares.clone()));
            for groups in if layout == Layout::ChannelsFirst { vec![1, 2, 8] } else { vec![1, 2] } {
                let norm = BatchGroupNorm::new(groups).batch(batch());
                add("batch group", Box::new(norm), affine(with_state(image(3, 4, 6), groups), 4));
            }
        }
    }
    all
}

#[test]
fn gradients_are_derivatives_for_the_whole_family() {
    let mut numbers = 0;
    for (name, norm, operands) in family() {
        for activation in [None, Some(Activation::GeluTanh)] {
            for (zero_centred_weight, residual) in [(false, false), (true, true)] {
                let epilogue = Epilogue { activation, zero_centred_weight, rounds_normalized: true };
                let mut operands = operands.clone();
                operands.residual = residual.then(|| operands.input.clone());
                let name = format!("{name} {activation:?} {residual}");
                numbers += check(&name, &Fused { norm: &*norm, epilogue }, &operands);
            }
        }
    }
    println!("{numbers} derivatives");
    assert!(numbers > 3000, "only {numbers} derivatives were compared");
}

/// Means and deviations are outputs too, of any norm that measures its input.
#[test]
fn gradients_of_means_and_deviations_are_derivatives() {
    let operands = Operands::new(Spec::new([2, 4, 3], Dtype::F32));
    let norms: [(&str, Box<dyn Norm>); 4] = [
        ("positional", Box::new(PositionalNorm::new().eps(1e-3))),
        ("positional, last", Box::new(PositionalNorm::new().eps(1e-3).layout(Layout::ChannelsLast))),
        ("instance", Box::new(InstanceNorm::new().eps(1e-3))),
        ("layer", Box::new(LayerNorm::new([4, 3]).eps(1e-3))),
    ];
    let numbers: usize = norms.iter().map(|(name, norm)| check_with(name, &**norm, &operands, true)).sum();
    assert_eq!(numbers, 4 * 24, "one gradient an element");
}

#[test]
fn gradients_are_derivatives_for_every_norm_and_option() {
    let smooth = Activation::ALL.into_iter().filter(|a| *a != Activation::Relu).map(Some);
    let mut numbers = 0;
    for (name, norm, shape, parameters, running) in norms() {
        for activation in std::iter::once(None).chain(smooth.clone()) {
            for (zero_centred_weight, residual) in [(false, false), (true, true)] {
                let epilogue = Epilogue { activation, zero_centred_weight, rounds_normalized: true };
                let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
                let mut operands = Operands::new(spec(&shape)).weight(spec(&parameters)).bias(spec(&parameters));
                if residual {
                    operands = operands.residual(spec(&shape));
                }
                if running {
                    operands = operands.running(*parameters.last().expect("channels"), true);
                }
                let name = format!("{name} {activation:?} {residual}");
                numbers += check(&name, &Fused { norm: &*norm, epilogue }, &operands);
            }
        }
    }
    println!("{numbers} derivatives");
    assert!(numbers > 5000, "only {numbers} derivatives were compared");
}

/// Without a weight, without a bias, without either.
#[test]
fn absent_parameters_change_no_other_gradient() {
    let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
    let bare = Operands::new(spec(&[3, 5]));
    for operands in [bare.clone(), bare.clone().weight(spec(&[5])), bare.bias(spec(&[5]))] {
        assert!(check("layer", &LayerNorm::new([5]), &operands) >= 15, "the input's gradient at least");
    }
}

/// ReLU has no derivative at 0; away from it, it has.
#[test]
fn relu_lets_through_what_is_positive() {
    let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
    let operands = Operands::new(spec(&[2, 6])).weight(spec(&[6])).bias(spec(&[6]));
    check("layer", &Fused::new(LayerNorm::new([6])).activation(Activation::Relu), &operands);
}
