//! Three kinds of plots: bandwidth beside plain copies, GPU against CPU, and how time grows over sweeps.

use super::super::Report;
use super::super::row::{Row, seconds};
use super::super::sweeps::{Line, Sweep};
use super::super::versus::Versus;
use super::canvas::{
    At, BLUE, Canvas, Drawn, FAINT, GREEN, INK, Mark, ORANGE, PURPLE, Scale, VERMILLION, legend_height, svg, text_width,
};
use crate::cli::words::{number, short};
use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

const WIDTH: i32 = 900;
/// Pixels between workloads.
const STEP: i32 = 30;
/// Pixels below a plot for its axis.
const BELOW: i32 = 44;
/// Pixels right of a plot, half of a tick's number.
const RIGHT: i32 = 24;

type Legend = Vec<(Mark, RGBColor, String)>;

/// The rows of a place, those of one workload and type together, with a name for both.
fn by_workload<'a>(report: &'a Report, adapter: &str) -> Vec<(String, Vec<&'a Row>)> {
    let is_plain = report.rows.iter().all(|row| row.dtype == wgpu_norm::Dtype::F32);
    let mut groups: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in report.rows.iter().filter(|row| row.adapter == adapter && Sweep::of(row.workload).is_none()) {
        let name = if is_plain { row.workload.name.to_owned() } else { format!("{} {}", row.workload.name, row.dtype) };
        match groups.last_mut() {
            Some((last, rows)) if *last == name => rows.push(row),
            _ => groups.push((name, vec![row])),
        }
    }
    groups
}

/// Pixels left of a plot for its names.
fn names_width(groups: &[(String, Vec<&Row>)]) -> i32 {
    groups.iter().map(|(name, _)| text_width(name)).max().unwrap_or(0) + 16
}

/// Pixels of a plot's height, and of the middle of each of its groups.
fn heights(legend: i32, groups: usize) -> (i32, impl Fn(usize) -> i32) {
    let groups = i32::try_from(groups).unwrap_or(1000);
    let top = legend + 8;
    (top + groups * STEP, move |i| top + i32::try_from(i).unwrap_or(1000) * STEP + STEP / 2)
}

fn pixels(width: i32, height: i32) -> (u32, u32) {
    (width.unsigned_abs(), height.unsigned_abs())
}

/// Bandwidth of every workload on a place, beside what its copies reach. None where no workload was measured.
pub(super) fn bandwidth(report: &Report, adapter: &str) -> Option<Result<String, String>> {
    let groups = by_workload(report, adapter);
    if groups.is_empty() {
        return None;
    }
    let mut legend: Legend =
        vec![(Mark::Circle, BLUE, "forward".into()), (Mark::Diamond, VERMILLION, "backward".into())];
    let mut copies = Vec::new();
    for copy in report.copies.iter().filter(|copy| copy.adapter == adapter) {
        if let Some(speed) = copy.gigabytes_a_second() {
            let (mark, color) = if copies.is_empty() { (Mark::Line, GREEN) } else { (Mark::Dashes, PURPLE) };
            legend.push((mark, color, format!("{} {} GB/s", copy.by, number(speed))));
            copies.push((mark, color, speed));
        }
    }
    let top = legend_height(&legend, WIDTH);
    let left = names_width(&groups);
    let (bottom, middle) = heights(top, groups.len());
    let reached = report.rows.iter().filter(|row| row.adapter == adapter).filter_map(|row| row.figures());
    let speeds = reached.map(|figures| figures.gigabytes_a_second()).chain(copies.iter().map(|copy| copy.2));
    let scale = Scale::over(speeds, (left, WIDTH - RIGHT));
    Some(svg(pixels(WIDTH, bottom + BELOW), &format!("Bandwidth of each workload on {adapter}"), |canvas| {
        canvas.legend(&legend, WIDTH)?;
        canvas.axis(&scale, (top, bottom), &number)?;
        canvas
            .axis_title(((left + WIDTH) / 2, bottom + 34), "GB/s: each tensor read or written once, over the time")?;
        for (mark, color, speed) in &copies {
            let x = scale.at(*speed);
            match mark {
                Mark::Line => canvas.line((x, top), (x, bottom), *color, 2)?,
                _ => canvas.dashes((x, top), bottom, *color)?,
            }
        }
        for (i, (name, rows)) in groups.iter().enumerate() {
            canvas.text((left - 10, middle(i)), name, INK, HPos::Right)?;
            canvas.line((left, middle(i)), (WIDTH - RIGHT, middle(i)), FAINT, 1)?;
            rows.iter().try_for_each(|row| point(canvas, &scale, row, (left, middle(i))))?;
        }
        Ok(())
    }))
}

/// A row's bandwidth; what has none says so at the axis.
fn point(canvas: &Canvas<'_>, scale: &Scale, row: &Row, (left, y): At) -> Drawn {
    let (mark, color) = if row.backward { (Mark::Diamond, VERMILLION) } else { (Mark::Circle, BLUE) };
    match row.figures() {
        Some(figures) => canvas.mark(mark, (scale.at(figures.gigabytes_a_second()), y), color),
        None => failed(canvas, row, (left + if row.backward { 110 } else { 6 }, y)),
    }
}

fn failed(canvas: &Canvas<'_>, row: &Row, at: At) -> Drawn {
    canvas.text(at, &format!("{} failed", row.pass()), VERMILLION, HPos::Left)
}

/// How many times the CPU's speed an adapter has, with data there and with transfer. None where nothing can be compared.
pub(super) fn versus(report: &Report, adapter: &str) -> Option<Result<String, String>> {
    let groups = by_workload(report, adapter);
    let of = |row: &Row| Versus::of(row, &report.rows);
    let all: Vec<Versus> = groups.iter().flat_map(|(_, rows)| rows).filter_map(|row| of(row)).collect();
    let passes: Vec<bool> =
        [false, true].into_iter().filter(|pass| report.rows.iter().any(|row| row.backward == *pass)).collect();
    if all.is_empty() || passes.is_empty() {
        return None;
    }
    let legend: Legend =
        vec![(Mark::Bar, BLUE, "data already there".into()), (Mark::Bar, ORANGE, "with upload and readback".into())];
    let top = legend_height(&legend, WIDTH) + 22;
    let left = names_width(&groups);
    let (bottom, middle) = heights(top, groups.len());
    let panel = (WIDTH - left) / i32::try_from(passes.len()).unwrap_or(1);
    let times = || all.iter().flat_map(|versus| [versus.resident, versus.with_transfer]).chain([1.0]);
    Some(svg(pixels(WIDTH, bottom + BELOW), &format!("{adapter} against the CPU"), |canvas| {
        canvas.legend(&legend, WIDTH)?;
        for (i, (name, _)) in groups.iter().enumerate() {
            canvas.text((left - 10, middle(i)), name, INK, HPos::Right)?;
        }
        for (begin, pass) in (left..).step_by(usize::try_from(panel).unwrap_or(1)).zip(&passes) {
            // Beside the longest bars there is room for their numbers.
            let scale = Scale::over(times(), (begin + 44, begin + panel - 52));
            canvas.axis(&scale, (top, bottom), &|tick| format!("{}\u{d7}", number(tick)))?;
            let one = scale.at(1.0);
            let title = if *pass { "backward" } else { "forward" };
            canvas.text((begin + panel / 2, top - 10), title, INK, HPos::Center)?;
            canvas.axis_title((begin + panel / 2, bottom + 34), "times the CPU's speed")?;
            for (i, (_, rows)) in groups.iter().enumerate() {
                for row in rows.iter().filter(|row| row.backward == *pass) {
                    match of(row) {
                        Some(versus) => bars(canvas, &scale, versus, middle(i))?,
                        None => failed(canvas, row, (begin + 4, middle(i)))?,
                    }
                }
            }
            canvas.line((one, top), (one, bottom), INK, 1)?;
        }
        Ok(())
    }))
}

/// Two bars from 1 to either side, with their numbers beyond their ends.
fn bars(canvas: &Canvas<'_>, scale: &Scale, versus: Versus, y: i32) -> Drawn {
    let one = scale.at(1.0);
    for (times, color, y) in [(versus.resident, BLUE, y - 7), (versus.with_transfer, ORANGE, y + 7)] {
        let end = scale.at(times);
        canvas.bar((one, y - 6), (end, y + 6), color)?;
        let (x, anchor) = if end < one { (end - 5, HPos::Right) } else { (end + 5, HPos::Left) };
        canvas.text((x, y), &number(times), INK, anchor)?;
    }
    Ok(())
}

/// Time over length, a line for each place, for every sweep, type and pass that was measured, each with its title.
pub(super) fn sweeps(lines: &[Line]) -> Vec<(String, Result<String, String>)> {
    let mut titles: Vec<String> = Vec::new();
    lines.iter().map(Line::title).for_each(|title| {
        if !titles.contains(&title) {
            titles.push(title);
        }
    });
    let of = |title: &str| lines.iter().filter(|line| line.title() == title).collect::<Vec<_>>();
    titles.into_iter().map(|title| (title.clone(), sweep(&title, &of(&title)))).collect()
}

const COLORS: [RGBColor; 6] = [INK, BLUE, VERMILLION, GREEN, PURPLE, ORANGE];

fn sweep(title: &str, lines: &[&Line]) -> Result<String, String> {
    let what = lines.first().map_or("", |line| line.sweep.name());
    let mut legend: Legend = lines
        .iter()
        .zip(COLORS.iter().cycle())
        .map(|(line, color)| (Mark::Bar, *color, short(&line.adapter, 44)))
        .collect();
    legend.push((Mark::Diamond, INK, "another strategy than before".into()));
    let (left, top) = (84, legend_height(&legend, WIDTH) + 12);
    let bottom = top + 340;
    let points = || lines.iter().flat_map(|line| &line.points);
    #[expect(clippy::cast_precision_loss, reason = "lengths are no more than 2^24")]
    let length = |length: usize| length as f64;
    let across = Scale::over(points().map(|point| length(point.length)), (left, WIDTH - RIGHT));
    let upwards = Scale::over(points().map(|point| point.time), (bottom, top));
    svg(pixels(WIDTH, bottom + BELOW), &format!("Time over {title}"), |canvas| {
        canvas.legend(&legend, WIDTH)?;
        canvas.axis(&across, (top, bottom), &number)?;
        canvas.left_axis(&upwards, (left, WIDTH - RIGHT), &time_tick)?;
        canvas.axis_title(((left + WIDTH) / 2, bottom + 34), what)?;
        canvas.upright((12, (top + bottom) / 2), "time of a call")?;
        for (i, (line, color)) in lines.iter().zip(COLORS.iter().cycle()).enumerate() {
            let at = |i: usize| (across.at(length(line.points[i].length)), upwards.at(line.points[i].time));
            canvas.path((0..line.points.len()).map(at).collect(), *color, 2)?;
            for (j, point) in line.points.iter().enumerate() {
                let before = j.checked_sub(1).map(|j| line.points[j].strategy);
                let above = if i % 2 == 0 { 18 } else { -16 };
                if before.is_some_and(|before| before != point.strategy) {
                    canvas.mark(Mark::Diamond, at(j), *color)?;
                } else {
                    canvas.dot(at(j), *color)?;
                }
                if before != Some(point.strategy) && point.strategy != "cpu" {
                    let (x, y) = at(j);
                    let anchor = if x > WIDTH - 120 { HPos::Right } else { HPos::Left };
                    canvas.text((x + 4, y + above), point.strategy, *color, anchor)?;
                }
            }
        }
        Ok(())
    })
}

/// A round time.
fn time_tick(tick: f64) -> String {
    seconds(tick * (1.0 + 1e-9)).replace(".0 ", " ").replace(".00 ", " ").replace("us", "\u{b5}s")
}
