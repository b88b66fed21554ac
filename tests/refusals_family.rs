//! What the normalizations with labels, tables, thresholds and mixtures refuse, and in which words.

mod engines;

use engines::engines;
use wgpu_norm::norm::{
    BatchGroupNorm, BatchNorm, ConditionalBatchNorm, FilterResponseNorm, LayerNorm, MomentShortcut, Norm, Operands,
    PositionalNorm, RmsNorm, SandwichBatchNorm, SwitchableNorm,
};
use wgpu_norm::plan::{Extra, Plan, Statistics};
use wgpu_norm::reference::{self, GradientValues, Values};
use wgpu_norm::{Dtype, Layout, Parameters, Spec, Tensor, Upstream};

fn spec(shape: &[usize]) -> Spec {
    Spec::new(shape, Dtype::F32)
}

fn on(shape: &[usize]) -> Operands {
    Operands::new(spec(shape))
}

fn extra() -> Extra<Option<Spec>> {
    Extra::default()
}

/// A norm, its operands, and what the message has to say.
type Row = (&'static str, Box<dyn Norm>, Operands, &'static [&'static str]);

fn assert_refused(rows: Vec<Row>) {
    for (name, norm, operands, parts) in rows {
        let text = norm.lower(&operands).expect_err(name).to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{name}: {text:?} does not say {parts:?}");
    }
}

#[test]
fn labels_and_tables_have_to_fit_each_other() {
    let conditional = || Box::new(ConditionalBatchNorm::default());
    let sandwich = || Box::new(SandwichBatchNorm::default());
    let table = |shape: &[usize]| Extra { class_weight: Some(spec(shape)), ..extra() };
    assert_refused(vec![
        ("no labels", conditional(), on(&[4, 3, 5]).weight(spec(&[7, 3])), &["labels: missing"]),
        (
            "another number of labels",
            conditional(),
            on(&[4, 3, 5]).weight(spec(&[7, 3])).labels(5),
            &["labels", "[4]", "[5]", "[4, 3, 5]"],
        ),
        ("no table", conditional(), on(&[4, 3, 5]).labels(4), &["weight: missing", "each class"]),
        (
            "a table of another width",
            conditional(),
            on(&[4, 3, 5]).weight(spec(&[7, 4])).labels(4),
            &["weight", "[7, 3]", "[7, 4]"],
        ),
        (
            "tables of different classes",
            conditional(),
            on(&[4, 3, 5]).weight(spec(&[7, 3])).bias(spec(&[6, 3])).labels(4),
            &["bias", "[7, 3]", "[6, 3]"],
        ),
        (
            "a table without a row",
            conditional(),
            on(&[4, 3, 5]).weight(spec(&[0, 3])).labels(4),
            &["num_classes", "one class at least", "got 0"],
        ),
        ("no table of classes", sandwich(), on(&[4, 3, 5]).weight(spec(&[3])).labels(4), &["class_weight: missing"]),
        (
            "a table of another width",
            sandwich(),
            on(&[4, 3, 5]).extra(table(&[7, 2])).labels(4),
            &["class_weight", "[7, 3]", "[7, 2]"],
        ),
        (
            "shared parameters with rows",
            sandwich(),
            on(&[4, 3, 5]).weight(spec(&[4, 3])).extra(table(&[7, 3])).labels(4),
            &["weight", "[3]", "[4, 3]"],
        ),
        (
            "parameters of two types",
            sandwich(),
            on(&[4, 3, 5]).weight(Spec::new([3], Dtype::F16)).bias(spec(&[3])).extra(table(&[7, 3])).labels(4),
            &["bias", "f16", "f32"],
        ),
        ("labels without tables", Box::new(BatchNorm::new()), on(&[4, 3, 5]).labels(4), &["labels: not expected"]),
        ("labels without tables", Box::new(LayerNorm::new([5])), on(&[4, 3, 5]).labels(4), &["labels: not expected"]),
        (
            "tables without classes",
            Box::new(BatchNorm::new()),
            on(&[4, 3, 5]).extra(table(&[7, 3])),
            &["class_weight: not expected"],
        ),
    ]);
}

#[test]
fn groups_mixtures_and_thresholds_have_to_fit_the_input() {
    let last = BatchNorm::new().layout(Layout::ChannelsLast);
    let switchable = || Box::new(SwitchableNorm::new());
    let shares =
        |mean: usize, var: usize| Extra { mean_weight: Some(spec(&[mean])), var_weight: Some(spec(&[var])), ..extra() };
    let frn = || Box::new(FilterResponseNorm::new());
    let input = || on(&[4, 6, 5]);
    assert_refused(vec![
        ("groups that cut nothing", Box::new(BatchGroupNorm::new(4)), input(), &["num_groups", "30", "got 4"]),
        ("no groups", Box::new(BatchGroupNorm::new(0)), input(), &["num_groups", "got 0"]),
        (
            "runs that cut channels that are last",
            Box::new(BatchGroupNorm::new(10).batch(last)),
            on(&[4, 5, 6]),
            &["num_groups", "divisor of 6", "got 10"],
        ),
        (
            "estimates of channels",
            Box::new(BatchGroupNorm::new(3)),
            input().running(6, true),
            &["running_mean", "[3]", "[6]"],
        ),
        ("two shares", switchable(), input().extra(shares(2, 3)), &["mean_weight", "[3]", "[2]"]),
        ("four shares", switchable(), input().extra(shares(3, 4)), &["var_weight", "[3]", "[4]"]),
        ("no shares", switchable(), input(), &["mean_weight: missing"]),
        ("one position", switchable(), on(&[4, 6, 1]).extra(shares(3, 3)), &["input", "two positions"]),
        (
            "a threshold of another length",
            frn(),
            input().extra(Extra { tau: Some(spec(&[5])), ..extra() }),
            &["tau", "[6]", "[5]"],
        ),
        (
            "eps for each channel",
            frn(),
            input().extra(Extra { eps_l: Some(spec(&[6])), ..extra() }),
            &["eps_l", "[1]", "[6]"],
        ),
        (
            "a threshold of another norm",
            Box::new(RmsNorm::new([5])),
            input().extra(Extra { tau: Some(spec(&[5])), ..extra() }),
            &["tau: not expected"],
        ),
        ("estimates", frn(), input().running(6, false), &["running_mean: not expected"]),
        ("one channel", Box::new(PositionalNorm::new()), on(&[4, 1, 5]), &["input", "two channels"]),
        ("a weight", Box::new(PositionalNorm::new()), input().weight(spec(&[6])), &["weight: not expected"]),
        (
            "moments of another resolution",
            Box::new(MomentShortcut::new()),
            input().weight(spec(&[4, 1, 10])),
            &["weight", "[4, 1, 5]", "[4, 1, 10]"],
        ),
    ]);
}

#[test]
fn a_label_beyond_the_table_is_named_with_its_sample() {
    let (x, table) = (Tensor::zeros([3, 2, 4], Dtype::F32), Tensor::zeros([5, 2], Dtype::F32));
    let (x, table) = (x.expect("small"), table.expect("small"));
    for engine in engines() {
        for bad in [5, -1, i64::MIN] {
            let labels = [0, 4, bad];
            let mut parameters = Parameters { weight: Some(&table), labels: Some(&labels), ..Parameters::default() };
            let error = engine.forward(&ConditionalBatchNorm::default(), &x, &mut parameters).expect_err("no row");
            let want = format!(
                "labels: expected classes from 0 to 4, the rows of the tables less one, got {bad} for sample 2"
            );
            assert_eq!(error.to_string(), want, "{}", engine.name());
        }
    }
}

#[test]
fn the_reference_refuses_what_does_not_fit_the_plan() {
    let operands = on(&[3, 2, 4]).weight(spec(&[5, 2])).labels(3);
    let plan = ConditionalBatchNorm::default().lower(&operands).expect("it fits");
    let values = |weight: Option<Vec<f64>>, labels: &[i64]| Values {
        input: vec![1.0; 24],
        weight,
        labels: labels.to_vec(),
        ..Values::default()
    };
    let table = || Some(vec![1.0; 10]);
    for (mut values, parts) in [
        (values(table(), &[0, 5, 1]), ["labels", "5 for sample 1"]),
        (values(table(), &[0, -1, 1]), ["labels", "-1 for sample 1"]),
        (values(table(), &[0, 1]), ["labels", "2"]),
        (values(None, &[0, 1, 2]), ["weight", "missing"]),
        (values(Some(vec![1.0; 9]), &[0, 1, 2]), ["weight", "9"]),
    ] {
        let text = reference::execute(&plan, &mut values).expect_err("it does not fit").to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text:?} does not say {parts:?}");
    }
}

#[test]
fn the_reference_refuses_gradients_of_moments_that_it_has_not() {
    let plan_of = |norm: &dyn Norm| norm.lower(&on(&[2, 3])).expect("it fits");
    let values = |plan: &Plan, grad_mean: Vec<f64>| {
        let groups = plan.view().statistics();
        let statistics = Statistics { mean: vec![0.0; groups], rstd: vec![1.0; groups], ..Statistics::default() };
        let (input, grad_output) = (vec![1.0; 6], vec![1.0; 6]);
        GradientValues { input, grad_output, statistics, grad_mean: Some(grad_mean), ..GradientValues::default() }
    };
    let (rows, nothing) = (plan_of(&LayerNorm::new([3])), plan_of(&RmsNorm::new([3])));
    for (plan, inflow, part) in [(&rows, vec![1.0], "grad_mean"), (&nothing, vec![1.0; 2], "takes no mean away")] {
        let text = reference::backward(plan, &values(plan, inflow)).expect_err("it does not fit").to_string();
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    assert!(reference::backward(&rows, &values(&rows, vec![1.0; 2])).is_ok(), "one for each group");
}

#[test]
fn gradients_of_moments_need_moments_that_follow_the_input() {
    let x = Tensor::from_f32([2, 4], vec![1.0, 2.0, 3.0, 5.0, 1.0, 0.0, 2.0, 4.0]).expect("fits");
    let inflow = Tensor::zeros([2], Dtype::F32).expect("small");
    for engine in engines() {
        let refused = |norm: &dyn Norm, mean: Option<&Tensor>, std: Option<&Tensor>| {
            let forward = engine.forward_saving(norm, &x, &mut Parameters::default()).expect("fits");
            let upstream = Upstream { output: &x, sum: None, mean, std };
            let result = engine.backward(norm, &x, upstream, &forward.statistics, &Parameters::default(), None);
            result.expect_err("it has no such gradient").to_string()
        };
        let rms = RmsNorm::new([4]);
        assert!(refused(&rms, Some(&inflow), None).starts_with("grad_mean: not expected"), "{}", engine.name());
        let nothing = MomentShortcut::new();
        assert!(refused(&nothing, None, Some(&inflow)).starts_with("grad_std: not expected"), "{}", engine.name());
        let long = Tensor::zeros([3], Dtype::F32).expect("small");
        assert!(refused(&LayerNorm::new([4]), Some(&long), None).contains("grad_mean"), "{}", engine.name());
    }
}
