//! Loss curves as a picture.

use crate::training::Run;
use plotters::prelude::*;
use std::path::Path;

/// Draws the curves of all runs.
pub(crate) fn draw(runs: &[Run], path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let epochs = runs.iter().map(|run| run.losses.len()).max().unwrap_or(0);
    let losses = || runs.iter().flat_map(|run| &run.losses).copied();
    let (least, most) = (losses().fold(f32::INFINITY, f32::min), losses().fold(0.0, f32::max));
    let root = SVGBackend::new(path, (800, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Training loss on handwritten digits", ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(1..epochs.max(2), (least / 1.2..most * 1.2).log_scale())?;
    chart.configure_mesh().light_line_style(WHITE).x_desc("epoch").y_desc("mean cross entropy").draw()?;
    for (i, run) in runs.iter().enumerate() {
        // The second run of a network lies on the first, so it is drawn in points.
        let color = Palette99::pick(i / 2).to_rgba();
        let points = run.losses.iter().enumerate().map(|(epoch, loss)| (epoch + 1, *loss));
        let label = format!("{} on {}", run.kind.name(), run.engine);
        if i % 2 == 0 {
            let line = chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
            line.label(label).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        } else {
            let circles = chart.draw_series(points.map(|point| Circle::new(point, 4, color.stroke_width(1))))?;
            circles.label(label).legend(move |(x, y)| Circle::new((x + 9, y), 4, color.stroke_width(1)));
        }
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}
