//! The page itself: what was measured with what, what it comes to, the plots, and the whole table.

use super::super::row::{Figures, Row, seconds};
use super::super::versus::{Crossing, Versus, crossings};
use super::super::{Report, sweeps};
use super::plots;
use crate::cli::head::Described;
use crate::cli::page::{cell, document, escaped, head, section};
use crate::cli::words::{number, short};

pub(in crate::cli::bench) fn page(report: &Report) -> Result<String, String> {
    let lines = sweeps::lines(&report.rows);
    let parts = [
        head("wgpu-norm bench", &report.head),
        section("What did it", "", &places(report)),
        section("In short", "", &in_short(report, &lines)),
        section("Bandwidth", BANDWIDTH, &panels(report, plots::bandwidth)?),
        section("GPU against CPU", VERSUS, &panels(report, plots::versus)?),
        section("Sweeps", SWEEPS, &sweep_panels(&lines)?),
        section("Every figure", FIGURES, &table(report)),
    ];
    Ok(document(&format!("wgpu-norm bench, {}", report.head.date), &parts.concat()))
}

const BANDWIDTH: &str = "What each pass would move at least, every tensor once, over the time that it took. The lines are \
plain copies of 64 MiB on the same adapter in the same run: no pass that goes through memory can be far to their right. \
Small workloads are bound by latency, and those that fit a cache may pass the lines.";
const VERSUS: &str =
    "Bars to the right of 1\u{d7} are faster than the CPU backend on all its threads, bars to the left are slower.";
const SWEEPS: &str = "Layer normalization over the last axis: as many elements in ever more rows, and four rows that get \
ever longer. Both axes are logarithmic.";
const FIGURES: &str = "Times are medians over batches; \u{b1} is half the distance of their quartiles. A time with * is the wall \
clock's, of batches that are submitted whole, because the device has no timestamps or none to be believed; without, it is \
the device's own. GB/s count each tensor once; \u{201c}of copy\u{201d} is against a copy of as many bytes as the pass moves, by a \
kernel or, on the CPU, by memcpy on one thread or all, whichever is faster. The first call compiles, once, with whatever the driver has in its caches. Record is what recording one call \
costs the host beyond recording as many trivial dispatches. A pass whose output, or gradient of input, weight or bias, \
differs from the f64 reference\u{2019}s has no speed.";

/// Adapters, drivers, and what they copy.
fn places(report: &Report) -> String {
    let row = |place: &Described| {
        let copies = report.copies.iter().filter(|copy| copy.adapter == place.name);
        let told = |copy: &super::super::Copy| match copy.gigabytes_a_second() {
            Some(speed) => format!("{} {speed:.1} GB/s", copy.by),
            None => format!("{} failed", copy.by),
        };
        let copies: Vec<String> = copies.map(told).collect();
        let cells = [&place.name, &place.kind, &place.backend, &place.driver(), &copies.join(", ")];
        format!("<tr>{}</tr>\n", cells.map(|cell| format!("<td>{}</td>", escaped(cell))).concat())
    };
    let rows: String = report.places.iter().map(row).collect();
    format!(
        "<div class=\"wide\"><table><tr><th>name</th><th>type</th><th>backend</th><th>driver or processor</th><th>copies of 64 MiB</th></tr>\n{rows}</table></div>\n"
    )
}

/// What a reader takes home.
fn in_short(report: &Report, lines: &[sweeps::Line]) -> String {
    let mut said: Vec<String> = Vec::new();
    for place in &report.places {
        let rows = || report.rows.iter().filter(|row| row.adapter == place.name);
        said.extend(copy_reached(report, &place.name));
        let against: Vec<Versus> = rows().filter_map(|row| Versus::of(row, &report.rows)).collect();
        if !against.is_empty() {
            let faster = |times: fn(&Versus) -> f64| against.iter().filter(|versus| times(versus) > 1.0).count();
            said.push(format!(
                "{}: faster than the CPU in {} of {} passes with the data already there, in {} with upload and readback.",
                place.name,
                faster(|versus| versus.resident),
                against.len(),
                faster(|versus| versus.with_transfer)
            ));
        }
        let failed = rows().filter(|row| row.outcome.is_err()).count();
        if failed > 0 {
            said.push(format!("{}: {failed} of {} passes failed; the table says why.", place.name, rows().count()));
        }
    }
    said.extend(crossings(lines).iter().map(Crossing::told));
    said.extend(lines.iter().flat_map(sweeps::Line::cliffs_told));
    let items: String = said.iter().map(|line| format!("<li>{}</li>\n", escaped(line))).collect();
    if items.is_empty() { items } else { format!("<ul>\n{items}</ul>\n") }
}

/// How much of its plain copy's bandwidth a place reaches in the median of its passes.
fn copy_reached(report: &Report, adapter: &str) -> Option<String> {
    let copy = report.copies.iter().find(|copy| copy.adapter == adapter)?;
    let of_copy = |figures: &Figures, speed| figures.gigabytes_a_second() / speed * 100.0;
    let speed = copy.gigabytes_a_second()?;
    let figures = report.rows.iter().filter(|row| row.adapter == adapter).filter_map(Row::figures);
    let mut shares: Vec<f64> = figures.map(|figures| of_copy(figures, speed)).collect();
    shares.sort_by(f64::total_cmp);
    let middle = shares.get(shares.len() / 2)?;
    Some(format!(
        "{adapter}: half of the passes reach {}% of the bandwidth of a large {} or more.",
        number(*middle),
        copy.by
    ))
}

type Plot = fn(&Report, &str) -> Option<Result<String, String>>;

/// A plot for each place that has something to show.
fn panels(report: &Report, plot: Plot) -> Result<String, String> {
    let mut panels = String::new();
    for place in &report.places {
        if let Some(svg) = plot(report, &place.name) {
            panels.push_str(&format!("<h3>{}</h3>\n{}\n", escaped(&place.name), svg?));
        }
    }
    Ok(panels)
}

fn sweep_panels(lines: &[sweeps::Line]) -> Result<String, String> {
    let mut panels = String::new();
    for (title, svg) in plots::sweeps(lines) {
        panels.push_str(&format!("<h3>{}</h3>\n{}\n", escaped(&title), svg?));
    }
    Ok(panels)
}

const COLUMNS: [(&str, bool); 14] = [
    ("workload", false),
    ("dtype", false),
    ("pass", false),
    ("adapter", false),
    ("time", true),
    ("\u{b1}", true),
    ("GB/s", true),
    ("of copy", true),
    ("times the CPU", true),
    ("with transfer", true),
    ("times the CPU", true),
    ("first call", true),
    ("record", true),
    ("strategy", false),
];

fn table(report: &Report) -> String {
    let mut columns = COLUMNS.to_vec();
    if report.earlier.is_some() {
        columns.push(("since the earlier report", false));
    }
    let header: String = columns.iter().map(|(name, is_number)| cell("th", name, *is_number)).collect();
    let mut before: Option<&Row> = None;
    let mut rows = String::new();
    for row in &report.rows {
        // A rule above each workload keeps its places together.
        let class = if before.is_some_and(|before| before.is_as(row)) { "" } else { " class=\"first\"" };
        rows.push_str(&format!("<tr{class}>{}</tr>\n", cells(report, row)));
        before = Some(row);
    }
    format!("<div class=\"wide\"><table>\n<tr>{header}</tr>\n{rows}</table></div>\n")
}

fn cells(report: &Report, row: &Row) -> String {
    let (dtype, adapter) = (row.dtype.to_string(), short(&row.adapter, 30));
    let about = [row.workload.name, &dtype, row.pass(), &adapter].map(|text| cell("td", text, false)).concat();
    let figures = match &row.outcome {
        Ok(figures) => figures,
        Err(reason) => {
            let over = COLUMNS.len() - 4 + usize::from(report.earlier.is_some());
            return format!("{about}<td class=\"bad\" colspan=\"{over}\">FAIL {}</td>", escaped(reason));
        }
    };
    let time = |value: f64| seconds(value).replace("us", "\u{b5}s");
    let versus = Versus::of(row, &report.rows);
    let times = |value: Option<f64>| value.map_or(String::new(), |value| format!("{}\u{d7}", number(value)));
    let on = figures.on_device.as_ref();
    let numbers = [
        format!("{}{}", time(figures.time.median), if figures.is_marked() { "*" } else { "" }),
        format!("{:.1}%", figures.time.spread * 100.0),
        number(figures.gigabytes_a_second()),
        format!("{:.0}%", figures.copy / figures.time.median * 100.0),
        times(versus.map(|versus| versus.resident)),
        on.map_or(String::new(), |on| time(on.with_transfer.median)),
        times(versus.map(|versus| versus.with_transfer)),
        on.map_or(String::new(), |on| time(on.first_call)),
        on.map_or(String::new(), |on| time(on.record.beyond_wgpu)),
    ];
    let since = report.earlier.as_ref().map(|earlier| cell("td", &earlier.told(&row.json()), false));
    let numbers = numbers.map(|text| cell("td", &text, true)).concat();
    format!("{about}{numbers}{}{}", cell("td", figures.strategy, false), since.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::super::clock::Time;
    use super::super::super::workloads::{WORKLOADS, Workload};
    use super::*;
    use crate::cli::compare::Errors;
    use crate::cli::head::Head;
    use wgpu_norm::{Data, Dtype};

    fn row(workload: &'static Workload, adapter: &str, outcome: Result<f64, &str>) -> Row {
        let figures = |median| Figures {
            time: Time { median, spread: 0.01 },
            timed_by: Figures::by_wall(),
            bytes: 1 << 20,
            floor: 1 << 20,
            copy: 1e-4,
            strategy: "resident",
            errors: Errors::of(&Data::F32(vec![1.0]), &[1.0]),
            on_device: None,
        };
        let outcome = outcome.map(figures).map_err(str::to_owned);
        Row { workload, dtype: Dtype::F32, backward: false, adapter: adapter.into(), outcome }
    }

    fn report(name: &str, rows: Vec<Row>) -> Report {
        let place = |name: &str| Described {
            name: name.into(),
            kind: "Host".into(),
            backend: String::new(),
            driver: "<b>driver</b>".into(),
            driver_info: String::new(),
        };
        let head = Head { command: "wgpu-norm bench '<script>'".into(), ..Head::now() };
        Report { head, places: vec![place(name)], copies: Vec::new(), rows, earlier: None }
    }

    #[test]
    fn what_others_named_is_text_and_not_a_part_of_the_page() {
        let name = "<script>alert('1')</script> & \"co\" \u{1b}[31m";
        let rows = vec![row(&WORKLOADS[0], name, Ok(1e-3)), row(&WORKLOADS[1], name, Err("</td><img src=x>"))];
        let page = page(&report(name, rows)).expect("drawn");
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&lt;script&gt;") && page.contains("FAIL &lt;/td&gt;&lt;img src=x&gt;"), "{page}");
        assert!(!page.contains('\u{1b}'), "no control characters");
    }

    #[test]
    fn what_failed_has_no_speed_and_its_reason() {
        let page = page(&report("cpu", vec![row(&WORKLOADS[0], "cpu", Err("wrong by 3 times"))])).expect("drawn");
        assert!(page.contains("FAIL wrong by 3 times") && page.contains("forward failed"), "{page}");
        assert!(page.contains("1 of 1 passes failed"), "{page}");
    }

    #[test]
    fn a_report_of_nothing_is_a_page() {
        assert!(page(&report("cpu", Vec::new())).is_ok_and(|page| page.ends_with("</html>\n")));
    }
}
