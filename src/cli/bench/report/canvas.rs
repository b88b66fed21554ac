//! What the plots are drawn with: pixels, text of a size that can be read, logarithmic scales, legends.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, TextStyle};

/// A palette that colour-blind readers tell apart, by Okabe and Ito.
pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(super) const VERMILLION: RGBColor = RGBColor(213, 94, 0);
pub(super) const ORANGE: RGBColor = RGBColor(230, 159, 0);
pub(super) const GREEN: RGBColor = RGBColor(0, 158, 115);
pub(super) const PURPLE: RGBColor = RGBColor(204, 121, 167);
pub(super) const INK: RGBColor = RGBColor(34, 34, 34);
pub(super) const FAINT: RGBColor = RGBColor(225, 225, 225);
const SOFT: RGBColor = RGBColor(95, 95, 95);

/// Pixels of a letter's height.
const SIZE: f64 = 13.0;

pub(super) type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;
pub(super) type At = (i32, i32);

/// How something is marked in a plot and its legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Circle,
    Diamond,
    Bar,
    Line,
    Dashes,
}

pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

/// What `draw` draws, as an element of a page. `label` is what is read aloud.
pub(super) fn svg(
    (width, height): (u32, u32),
    label: &str,
    draw: impl FnOnce(&Canvas<'_>) -> Drawn,
) -> Result<String, String> {
    let mut text = String::new();
    let canvas = Canvas { area: SVGBackend::with_string(&mut text, (width, height)).into_drawing_area() };
    draw(&canvas).and_then(|()| canvas.area.present()).map_err(|error| error.to_string())?;
    drop(canvas);
    // The element's own first tag says less of a file and more of a page.
    let (_, inside) = text.split_once('>').unwrap_or_default();
    let label = crate::cli::page::escaped(label);
    Ok(format!("<svg role=\"img\" aria-label=\"{label}\" width=\"{width}\" viewBox=\"0 0 {width} {height}\">{inside}"))
}

impl Canvas<'_> {
    pub(super) fn line(&self, from: At, to: At, color: RGBColor, width: u32) -> Drawn {
        self.path(vec![from, to], color, width)
    }

    pub(super) fn path(&self, points: Vec<At>, color: RGBColor, width: u32) -> Drawn {
        self.area.draw(&PathElement::new(points, color.stroke_width(width)))
    }

    pub(super) fn dashes(&self, (x, from): At, to: i32, color: RGBColor) -> Drawn {
        let step = |y: &i32| self.line((x, *y), (x, (*y + 5).min(to)), color, 2);
        (from..to).step_by(9).try_for_each(|y| step(&y))
    }

    pub(super) fn bar(&self, from: At, to: At, color: RGBColor) -> Drawn {
        let corners = [(from.0.min(to.0), from.1.min(to.1)), (from.0.max(to.0), from.1.max(to.1))];
        self.area.draw(&Rectangle::new(corners, color.filled()))
    }

    pub(super) fn mark(&self, mark: Mark, (x, y): At, color: RGBColor) -> Drawn {
        match mark {
            Mark::Circle => self.area.draw(&Circle::new((x, y), 5, color.filled())),
            Mark::Diamond => {
                let corners = vec![(x - 7, y), (x, y - 7), (x + 7, y), (x, y + 7)];
                self.area.draw(&Polygon::new(corners, color.filled()))
            }
            Mark::Bar => self.bar((x - 7, y - 5), (x + 7, y + 5), color),
            Mark::Line => self.line((x, y - 7), (x, y + 7), color, 2),
            Mark::Dashes => self.dashes((x, y - 7), y + 7, color),
        }
    }

    pub(super) fn dot(&self, at: At, color: RGBColor) -> Drawn {
        self.area.draw(&Circle::new(at, 3, color.filled()))
    }

    pub(super) fn text(&self, at: At, text: &str, color: RGBColor, anchor: HPos) -> Drawn {
        // The backend divides sizes by this.
        let style: TextStyle<'_> = ("sans-serif", SIZE * 1.24).into_font().color(&color);
        self.area.draw(&Text::new(text.to_owned(), at, style.pos(Pos::new(anchor, VPos::Center))))
    }

    /// Text that is read from below.
    pub(super) fn upright(&self, at: At, text: &str) -> Drawn {
        let font = ("sans-serif", SIZE * 1.24).into_font().transform(plotters::style::FontTransform::Rotate270);
        let style: TextStyle<'_> = font.color(&SOFT);
        self.area.draw(&Text::new(text.to_owned(), at, style.pos(Pos::new(HPos::Center, VPos::Center))))
    }

    /// Marks with their names in lines below one another, as far as they fit beside one another.
    pub(super) fn legend(&self, entries: &[(Mark, RGBColor, String)], width: i32) -> Drawn {
        for ((x, y), (mark, color, name)) in places(entries, width).into_iter().zip(entries) {
            self.mark(*mark, (x + 8, y), *color)?;
            self.text((x + 22, y), name, INK, HPos::Left)?;
        }
        Ok(())
    }

    /// The axis below `scale`: a line for every tick from `top` to `bottom`, its value below.
    pub(super) fn axis(&self, scale: &Scale, (top, bottom): (i32, i32), name: &dyn Fn(f64) -> String) -> Drawn {
        for tick in scale.ticks() {
            let x = scale.at(tick);
            self.line((x, top), (x, bottom), FAINT, 1)?;
            self.text((x, bottom + 14), &name(tick), SOFT, HPos::Center)?;
        }
        Ok(())
    }

    pub(super) fn axis_title(&self, at: At, title: &str) -> Drawn {
        self.text(at, title, SOFT, HPos::Center)
    }

    /// The axis left of `scale`, as [`axis`](Self::axis) below.
    pub(super) fn left_axis(&self, scale: &Scale, (left, right): (i32, i32), name: &dyn Fn(f64) -> String) -> Drawn {
        for tick in scale.ticks() {
            let y = scale.at(tick);
            self.line((left, y), (right, y), FAINT, 1)?;
            self.text((left - 8, y), &name(tick), SOFT, HPos::Right)?;
        }
        Ok(())
    }
}

/// Pixels that a legend of these takes from the top.
pub(super) fn legend_height(entries: &[(Mark, RGBColor, String)], width: i32) -> i32 {
    places(entries, width).last().map_or(0, |(_, y)| y + 16)
}

/// Where each entry of a legend stands.
fn places(entries: &[(Mark, RGBColor, String)], width: i32) -> Vec<At> {
    let (mut x, mut y) = (0, 14);
    let mut places = Vec::with_capacity(entries.len());
    for (_, _, name) in entries {
        let takes = 46 + text_width(name);
        if x > 0 && x + takes > width {
            (x, y) = (0, y + 22);
        }
        places.push((x, y));
        x += takes;
    }
    places
}

/// Pixels of a text's width, at most for what most texts are made of.
pub(super) fn text_width(text: &str) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(i32::MAX / 16).saturating_mul(7)
}

/// A logarithmic scale from one pixel to another.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    least: f64,
    most: f64,
    pixels: (i32, i32),
}

impl Scale {
    /// Holds all of these that a logarithm has, and some air round them.
    pub(super) fn over(values: impl IntoIterator<Item = f64>, pixels: (i32, i32)) -> Self {
        let usable = values.into_iter().filter(|value| value.is_finite() && *value > 0.0);
        let (least, most) = usable.fold((f64::INFINITY, 0f64), |(least, most), v| (least.min(v), most.max(v)));
        let (least, most) = if least <= most { (least / 1.3, most * 1.3) } else { (0.5, 2.0) };
        // Over less than a decade there would be no two ticks.
        let short = (10.0 / (most / least)).max(1.0).sqrt();
        Self { least: least / short, most: most * short, pixels }
    }

    /// The pixel of a value; what lies outside stands at the edge.
    pub(super) fn at(&self, value: f64) -> i32 {
        let value = if value.is_finite() { value.clamp(self.least, self.most) } else { self.most };
        let share = (value / self.least).ln() / (self.most / self.least).ln();
        let (begin, end) = (f64::from(self.pixels.0), f64::from(self.pixels.1));
        #[expect(clippy::cast_possible_truncation, reason = "between two pixels")]
        let pixel = (begin + share * (end - begin)).round() as i32;
        pixel
    }

    /// Powers of ten, with halves and fifths between few of them, every so many where there are many.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let decades = (self.most / self.least).log10();
        #[expect(clippy::cast_possible_truncation, reason = "the exponent of an f64 fits")]
        let (first, last) = (self.least.log10().floor() as i32, self.most.log10().ceil() as i32);
        let steps: &[f64] = if decades < 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let every = if decades > 8.0 { 2 } else { 1 };
        let powers = (first..=last).filter(|power| power % every == 0);
        let ticks = powers.flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
        ticks.filter(|tick| (self.least..=self.most).contains(tick)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_holds_what_it_is_made_of() {
        let scale = Scale::over([1.0, 1000.0, f64::NAN, 0.0, -3.0], (100, 500));
        assert!(scale.at(1.0) > 100 && scale.at(1000.0) < 500);
        assert_eq!((scale.at(1e-30), scale.at(f64::INFINITY), scale.at(f64::NAN)), (100, 500, 500));
        assert_eq!(scale.ticks(), [1.0, 10.0, 100.0, 1000.0]);
        let upwards = Scale::over([1.0, 1000.0], (500, 100));
        assert!(upwards.at(1.0) > upwards.at(1000.0));
    }

    #[test]
    fn every_scale_has_two_ticks() {
        for values in [&[][..], &[3.0], &[1.0, 1.01], &[1e-9, 1e9], &[0.0]] {
            let ticks = Scale::over(values.iter().copied(), (0, 100)).ticks();
            assert!((2..=12).contains(&ticks.len()), "{values:?}: {ticks:?}");
        }
    }

    #[test]
    fn a_legend_breaks_its_lines() {
        let entry = |name: &str| (Mark::Circle, BLUE, name.to_owned());
        let entries = [entry("forward"), entry("backward"), entry("copy kernel")];
        assert_eq!(places(&entries, 800).iter().map(|at| at.1).collect::<Vec<_>>(), [14, 14, 14]);
        assert_eq!(places(&entries, 220).iter().map(|at| at.1).collect::<Vec<_>>(), [14, 14, 36]);
    }
}
