//! The certificate of an adapter: what `check --json` and `check --report` say, and what `report` joins.
#![cfg(feature = "cli")]

#[allow(dead_code, reason = "of what tests of the command line share, a part is needed here")]
#[path = "common/program.rs"]
mod program;

use program::{folder, path, program, text, write};
use serde_json::{Value, json};
use std::path::Path;

fn bits(dtype: &str, values: &[f64]) -> Vec<u8> {
    match dtype {
        "F16" => values.iter().flat_map(|&value| half::f16::from_f64(value).to_le_bytes()).collect(),
        #[expect(clippy::cast_possible_truncation, reason = "to what is stored")]
        _ => values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
    }
}

/// Two rows of 1 and 3, which layer normalization makes exactly -1 and 1, and what a case expects instead.
fn case(dtype: &str, expected: &[f64; 4]) -> Vec<u8> {
    let (input, expected) = (bits(dtype, &[1.0, 3.0, 1.0, 3.0]), bits(dtype, expected));
    let tensor = |from: usize| json!({ "dtype": dtype, "shape": [2, 2], "data_offsets": [from, from + input.len()] });
    let header = json!({
        "__metadata__": {
            "op": "layer_norm",
            "attrs": "{\"normalized_shape\": [2], \"eps\": 0}",
            "rtol": "2e-3",
            "atol": "1e-6",
        },
        "input": tensor(0),
        "expected.output": tensor(input.len()),
    })
    .to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &input, &expected].concat()
}

/// What `check --json` says of files, and its exit status.
fn certificate(arguments: &[&str]) -> (Value, Option<i32>) {
    let output = program(&[&["check", "--json"], arguments].concat());
    (serde_json::from_slice(&output.stdout).expect("JSON"), output.status.code())
}

/// One small case of every operation.
fn one_of_each() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    OPERATIONS.map(|(_, case)| root.join(case).with_extension("safetensors").to_string_lossy().into_owned()).to_vec()
}

const OPERATIONS: [(&str, &str); 13] = [
    ("batch_group_norm", "batch_group_norm/train_4d"),
    ("batch_norm", "batch_norm/train_4d"),
    ("conditional_batch_norm", "conditional_batch_norm/train_4d"),
    ("filter_response_norm", "filter_response_norm/f16"),
    ("group_norm", "group_norm/f16"),
    ("instance_norm", "instance_norm/bf16"),
    ("layer_norm", "layer_norm/row_2"),
    ("moment_shortcut", "positional_norm/shortcut_4d"),
    ("positional_norm", "positional_norm/3d"),
    ("rms_norm", "rms_norm/eps_null_f16"),
    ("sandwich_batch_norm", "sandwich_batch_norm/train_4d"),
    ("switchable_norm", "switchable_norm/train_4d"),
    ("sync_batch_norm", "sync_batch_norm/two_ranks"),
];

/// By hand: beside 1 neighbours of f32 are 2^-23 apart, those of f16 2^-10.
#[test]
fn errors_are_told_in_units_of_what_is_stored() {
    let off = |units: f64, digits: i32| [-1.0, 1.0, -1.0, 1.0 + units * 2f64.powi(-digits)];
    let folder = folder();
    for (dtype, expected, worst, median, status) in [
        ("F32", off(0.0, 23), json!(0.0), 0.0, 0),
        ("F32", off(4.0, 23), json!(4.0), 0.0, 0),
        ("F16", off(2.0, 10), json!(2.0), 0.0, 0),
        ("F32", off(4_194_304.0, 23), json!(4_194_304.0), 0.0, 1),
        ("F32", [f64::NAN, 1.0, -1.0, 1.0], json!("inf"), 0.0, 1),
        ("F16", [-1.0, 1.0 + 2f64.powi(-10), -1.0, 1.0 + 2f64.powi(-10)], json!(1.0), 1.0, 0),
    ] {
        let file = write(&folder, "case.safetensors", case(dtype, &expected));
        for adapter in ["reference", "cpu"] {
            let (found, code) = certificate(&[&file, "--adapter", adapter]);
            let row = &found["results"][0];
            assert_eq!(code, Some(status), "{expected:?}: {row:#}");
            assert_eq!((&row["worst_ulp"], &row["median_ulp"]), (&worst, &json!(median)), "{expected:?}: {row:#}");
            assert_eq!((&row["op"], &row["pass"]), (&json!("layer_norm"), &json!("forward")));
            assert_eq!(row["dtype"], dtype.to_lowercase());
            let of_adapter = &found["adapters"][0]["operations"]["layer_norm"];
            assert_eq!((&of_adapter["worst_ulp"], &of_adapter["failed"]), (&worst, &json!(status)), "{found:#}");
            assert_eq!(found["adapters"][0]["all"]["passed"], 1 - status);
        }
    }
}

#[test]
fn a_certificate_says_who_was_checked_with_what() {
    let (found, _) = certificate(&["tests/cases/layer_norm/row_2.safetensors", "--adapter", "cpu"]);
    assert_eq!(found["wgpu_norm"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&found["os"], &found["arch"]), (&std::env::consts::OS.into(), &std::env::consts::ARCH.into()));
    assert_eq!((&found["passed"], &found["failed"], &found["skipped"]), (&json!(1), &json!(0), &json!(0)));
    let row = &found["results"][0];
    assert_eq!(
        (&row["case"], &row["adapter"], &row["result"]),
        (&"layer_norm/row_2".into(), &"cpu".into(), &"pass".into())
    );
    assert!(row["worst_error_over_tolerance"].as_f64().is_some_and(|share| share <= 1.0), "{row:#}");
    let adapter = &found["adapters"][0];
    assert_eq!((&adapter["name"], &adapter["type"]), (&json!("cpu"), &json!("Host")));
    for kept in ["nan_fills_its_group", "nan_spares_other_groups", "norm_keeps_f16_subnormals", "nan_survives"] {
        assert_eq!(adapter["properties"][kept], true, "{kept}: {adapter:#}");
    }
}

#[test]
fn adapters_tell_what_they_lack_and_how_they_compute() {
    if std::env::var("WGPU_NORM_TEST_GPU").is_ok_and(|value| value == "off") {
        println!("GPU tests are turned off by WGPU_NORM_TEST_GPU=off");
        return;
    }
    let (found, code) = certificate(&["tests/cases/layer_norm/row_2.safetensors", "--adapter", "all"]);
    assert_eq!(code, Some(0), "{found:#}");
    let adapters = found["adapters"].as_array().expect("a list");
    assert!(adapters.len() > 2, "more than reference and CPU: {found:#}");
    for adapter in &adapters[2..] {
        assert!(adapter["fault"].is_null(), "{adapter:#}");
        let features = ["features", "lacks"].map(|key| adapter[key].as_array().expect("a list").clone());
        let mut all: Vec<&str> = features.iter().flatten().filter_map(Value::as_str).collect();
        all.sort_unstable();
        assert_eq!(all, ["IMMEDIATES", "PIPELINE_CACHE", "SHADER_F16", "SUBGROUP", "TIMESTAMP_QUERY"]);
        assert!(adapter["limits"]["max_buffer_size"].as_u64().is_some_and(|limit| limit > 0), "{adapter:#}");
        let properties = adapter["properties"].as_object().expect("an object");
        assert_eq!(properties.len(), 20, "{adapter:#}");
        for promised in [
            "nan_fills_its_group",
            "nan_spares_other_groups",
            "infinity_fills_its_group",
            "infinity_spares_other_groups",
        ] {
            assert_eq!(properties[promised], true, "{promised}: {adapter:#}");
        }
    }
}

#[test]
fn the_lines_for_other_programs_stay_beside_a_page() {
    let folder = folder();
    let page = path(&folder, "check.html");
    let output = program(&["check", "tests/cases/layer_norm/row_2.safetensors", "--adapter", "cpu", "--report", &page]);
    let lines = text(&output.stdout);
    let [line, closing] = lines.lines().collect::<Vec<_>>()[..] else { panic!("two lines: {lines}") };
    let worst = line.strip_prefix("pass layer_norm/row_2 cpu ").expect("what a case came to");
    assert!(worst.parse::<f64>().is_ok_and(|worst| worst <= 1.0), "{line}");
    assert_eq!(closing, "1 passed, 0 failed, 0 skipped");
    assert!(std::fs::read_to_string(page).expect("written").ends_with("</html>\n"));
}

#[test]
fn certificates_are_joined_into_tables_and_a_page() {
    let folder = folder();
    let cases = one_of_each();
    let cases: Vec<&str> = cases.iter().map(String::as_str).collect();
    let files = ["reference", "cpu"].map(|adapter| {
        let (found, code) = certificate(&[&cases[..], &["--adapter", adapter]].concat());
        assert_eq!(code, Some(0), "{found:#}");
        write(&folder, &format!("{adapter}.json"), found.to_string())
    });
    let page = path(&folder, "joined.html");
    let output = program(&["report", &files[0], &files[1], "--report", &page]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table} {}", text(&output.stderr));
    assert!(table.starts_with("All 26 of 26 checks pass: 13 cases on 2 adapters.\n"), "{table}");
    let page = std::fs::read_to_string(page).expect("written").replace("<wbr>", "");
    let markdown = text(&program(&["report", &files[0], &files[1], "--markdown"]).stdout).replace('\\', "");
    for (operation, _) in OPERATIONS {
        let line = table.lines().find(|line| line.starts_with(operation)).expect(operation);
        assert_eq!(line.matches("1/1").count(), 2, "{line}");
        assert!(page.contains(&format!("<th>{operation}</th>")), "{operation}");
        assert!(markdown.contains(&format!("| {operation} ")), "{operation}: {markdown}");
    }
    let worst = OPERATIONS.into_iter().filter(|(_, case)| page.contains(&format!("<td>{case}</td>"))).count();
    assert_eq!(worst, 12, "each case once, the 12 that are nearest to their tolerance");
    for adapter in ["1. reference", "2. cpu"] {
        assert!([&page, &table, &markdown].iter().all(|shown| shown.contains(adapter)), "{adapter}");
    }
    for elsewhere in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    let joined = program(&["report", &files[0], &files[1], "--json"]);
    let joined: Value = serde_json::from_slice(&joined.stdout).expect("JSON");
    assert_eq!((&joined["passed"], &joined["failed"]), (&json!(26), &json!(0)));
    assert_eq!(joined["adapters"][1]["operations"]["rms_norm"]["passed"], 1, "{joined:#}");
    assert_eq!(joined["adapters"][1]["checked"]["os"], std::env::consts::OS);
}

/// The page of the certificates that are here is made of them, and each is of all cases.
#[test]
fn the_certificates_here_are_whole_and_on_their_page() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/adapters");
    let files = std::fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("readable").path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let mut files: Vec<String> = files.map(|path| path.to_string_lossy().into_owned()).collect();
    files.sort();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let output = program(&[&["report", "--markdown"], &files[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(folder.join("README.md")).expect("the page");
    assert!(page.contains(&text(&output.stdout)), "`wgpu-norm report docs/adapters/*.json --markdown` prints another");
    for (operation, _) in OPERATIONS {
        assert!(page.contains(&operation.replace('_', "\\_")), "{operation}");
    }
}

/// A certificate of one case on an adapter of this name.
fn made(name: &str) -> Value {
    json!({
        "command": "wgpu-norm check", "wgpu_norm": "0", "seconds_since_1970": 0, "date": "", "os": "linux",
        "arch": "x86_64", "cpu_threads": 2, "passed": 1, "failed": 0, "skipped": 0,
        "adapters": [{
            "name": name, "type": "Cpu", "backend": "vulkan", "driver": "d", "driver_info": "1", "features": [],
            "lacks": ["SUBGROUP"], "limits": { "max_buffer_size": 1_073_741_824u64 },
            "properties": { "nan_survives": false, "min_with_nan": "the number", "news": true },
        }],
        "results": [{
            "case": "layer_norm/a", "adapter": name, "op": "layer_norm", "pass": "forward", "dtype": "f32",
            "result": "pass", "worst_error_over_tolerance": 0.25, "worst_ulp": 3.0, "median_ulp": 1.0,
        }],
    })
}

#[test]
fn what_failed_elsewhere_fails_the_table() {
    let folder = folder();
    let mut failed = made("card");
    failed["results"][0] = json!({
        "case": "layer_norm/a", "adapter": "card", "op": "layer_norm", "pass": "forward", "dtype": "f32",
        "result": "FAIL", "reason": "output[0]: wrong", "worst_ulp": "inf", "median_ulp": 2.0,
    });
    (failed["passed"], failed["failed"]) = (json!(0), json!(1));
    let file = write(&folder, "failed.json", failed.to_string());
    let other = write(&folder, "other.json", made("other card").to_string());
    let output = program(&["report", &file, &other]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert!(table.starts_with("1 of 2 checks FAIL: 1 case on 2 adapters.\n"), "{table}");
    for told in ["0/1 inf \u{b7} 2", "1/1 3 \u{b7} 1", "FAIL output[0]: wrong", "SUBGROUP", "1 GiB", "news"] {
        assert!(table.contains(told), "{told}: {table}");
    }
}

#[test]
fn names_from_elsewhere_are_text_in_tables_and_pages() {
    let folder = folder();
    let name = "<script>alert(1)</script> | `x`\n0 passed\u{1b}[31m";
    let file = write(&folder, "hostile.json", made(name).to_string());
    let page = path(&folder, "page.html");
    let output = program(&["report", &file, "--report", &page]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).contains('\u{1b}') && !text(&output.stdout).contains("\n0 passed"));
    let page = std::fs::read_to_string(page).expect("written");
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script") && !page.contains('\u{1b}'), "{page}");
    let markdown = text(&program(&["report", &file, "--markdown"]).stdout);
    assert!(markdown.contains("&lt;script>alert(1)&lt;/script> \\| \\`x\\` 0 passed"), "{markdown}");
}

#[test]
fn what_is_no_certificate_is_refused() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = made("card");
        change(&mut changed);
        changed.to_string()
    };
    let twice = with(&|made| {
        let adapter = made["adapters"][0].clone();
        made["adapters"].as_array_mut().expect("a list").push(adapter);
    });
    let huge = made("card").to_string().replace("1073741824", "1e30");
    let infinite = made("card").to_string().replace("3.0", "1e999");
    let rows: Vec<(&str, String, &str)> = vec![
        ("nothing", String::new(), "EOF"),
        ("no JSON", "pass layer_norm/a cpu 0.010\n".into(), "expected"),
        ("other JSON", "[1, 2]".into(), "expected an object"),
        (
            "an older report",
            json!({ "results": [], "passed": 0, "failed": 0, "skipped": 0 }).to_string(),
            "missing field",
        ),
        ("deep", format!("{{\"x\": {}", "[".repeat(100_000)), "recursion"),
        ("a number for a name", with(&|made| made["adapters"][0]["name"] = json!(3)), "expected a string"),
        ("a word for a count", with(&|made| made["passed"] = json!("many")), "many"),
        ("another result", with(&|made| made["results"][0]["result"] = json!("maybe")), "maybe"),
        ("a negative error", with(&|made| made["results"][0]["worst_ulp"] = json!(-1)), "-1"),
        ("an error in words", with(&|made| made["results"][0]["median_ulp"] = json!("small")), "small"),
        ("a huge limit", huge, "1e+30"),
        ("a number beyond f64", infinite, "out of range"),
        (
            "a property that is a list",
            with(&|made| made["adapters"][0]["properties"]["x"] = json!([])),
            "expected true, false or a string",
        ),
        ("a name twice", twice, "\"card\" twice"),
        ("results of nobody", with(&|made| made["results"][0]["adapter"] = json!("ghost")), "ghost"),
        ("a wrong sum", with(&|made| made["passed"] = json!(2)), "passed: expected 1"),
        ("a huge sum", with(&|made| made["failed"] = json!(u64::MAX)), "18446744073709551615"),
    ];
    let folder = folder();
    for (name, content, part) in rows {
        let file = write(&folder, "card.json", content);
        let output = program(&["report", &file]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.starts_with("error: ") && said.contains(part) && said.contains("card.json"), "{name}: {said}");
        assert_eq!(said.lines().count(), 1, "{name}: {said}");
    }
    let missing = program(&["report", &path(&folder, "nowhere.json")]);
    assert_eq!(missing.status.code(), Some(2), "{}", text(&missing.stderr));
}

#[test]
fn a_run_is_joined_once() {
    let folder = folder();
    let one = write(&folder, "one.json", made("card").to_string());
    let same = write(&folder, "same.json", made("card").to_string());
    let refused = program(&["report", &one, &same]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    for part in ["same.json", "one.json", "\"card\""] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for (key, other) in [("os", json!("windows")), ("seconds_since_1970", json!(1))] {
        let mut elsewhere = made("card");
        elsewhere[key] = other;
        let elsewhere = write(&folder, "elsewhere.json", elsewhere.to_string());
        let joined = program(&["report", &one, &elsewhere]);
        assert_eq!(joined.status.code(), Some(0), "a machine of the same make, by its {key}: {}", text(&joined.stderr));
        assert!(text(&joined.stdout).contains("on 2 adapters"), "{}", text(&joined.stdout));
    }
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_any_case_runs() {
    for (command, file) in [("check", "tests/cases/layer_norm/row_2.safetensors"), ("report", "nowhere.json")] {
        let output = program(&[command, file, "--report", "nowhere/page.html"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("nowhere/page.html") && output.stdout.is_empty(), "{said}");
    }
}
