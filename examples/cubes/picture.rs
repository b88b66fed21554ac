//! A cube as SVG: the block seen from above its corner, the first sample in front.

use crate::block::{CHANNELS, Element, POSITIONS, SAMPLES};
use crate::norms::Cube;

// Lengths are half pixels, so that the middle of a cell's side has whole coordinates as well.
const WIDTH: usize = 240;
const HEIGHT: usize = 210;
/// Odd, so that the middle of an upright line is the middle of a pixel.
const LEFT: usize = 27;
const TOP: usize = 13;
/// What a step to the next channel goes to the right, and a step to the next sample.
const ACROSS: usize = 20;
/// What a step to the next channel goes down, and a step to the next sample up.
const SLOPE: usize = 10;
const DOWN: usize = 20;

/// Between GitHub's white and its dark background, to be read on both.
const GREY: &str = "#7d8590";
const CLASS: &str = "#f0901e";

/// A colour as it looks on each face, lit from above.
struct Shades {
    lines: &'static str,
    front: &'static str,
    top: &'static str,
    right: &'static str,
}

/// Of the statistics of a cube, in their order.
const SHADES: [Shades; 3] = [
    Shades { lines: "#103f88", front: "#2f7ff0", top: "#6aaaff", right: "#1f66cc" },
    Shades { lines: "#8a5208", front: "#ee9a1d", top: "#ffc05a", right: "#cc7d0c" },
    Shades { lines: "#0a4d32", front: "#22a06b", top: "#58c793", right: "#178055" },
];

#[derive(Clone, Copy)]
enum Face {
    Front,
    Top,
    Right,
}

impl Face {
    const ALL: [Self; 3] = [Self::Front, Self::Top, Self::Right];

    fn shows(self, element: Element) -> bool {
        match self {
            Self::Front => element.sample == 0,
            Self::Top => element.position == 0,
            Self::Right => element.channel == CHANNELS - 1,
        }
    }

    fn fill(self, shades: &Shades) -> &'static str {
        match self {
            Self::Front => shades.front,
            Self::Top => shades.top,
            Self::Right => shades.right,
        }
    }

    /// How much grey lies over the background where nothing is shared.
    fn shade_of_the_rest(self) -> &'static str {
        match self {
            Self::Front => ".2",
            Self::Top => ".1",
            Self::Right => ".3",
        }
    }

    /// The side that an element shows here, as a path.
    fn side(self, Element { sample, channel, position }: Element) -> String {
        let (channel, way) = match self {
            Self::Front => (channel, format!("l{ACROSS} {SLOPE}v{DOWN}l-{ACROSS}-{SLOPE}z")),
            Self::Top => (channel, format!("l{ACROSS} {SLOPE} {ACROSS}-{SLOPE}-{ACROSS}-{SLOPE}z")),
            Self::Right => (channel + 1, format!("l{ACROSS}-{SLOPE}v{DOWN}l-{ACROSS} {SLOPE}z")),
        };
        let (x, y) = vertex(sample, channel, position);
        format!("M{x} {y}{way}")
    }

    /// The middle of that side.
    fn middle(self, Element { sample, channel, position }: Element) -> (usize, usize) {
        let (x, y) = vertex(sample, channel, position);
        match self {
            Self::Front => (x + ACROSS / 2, y + SLOPE / 2 + DOWN / 2),
            Self::Top => (x + ACROSS, y),
            Self::Right => (x + 3 * ACROSS / 2, y + SLOPE / 2 + DOWN / 2),
        }
    }
}

/// The corner that samples, channels and positions from these on have in common.
fn vertex(sample: usize, channel: usize, position: usize) -> (usize, usize) {
    let x = LEFT + (sample + channel) * ACROSS;
    let y = TOP + (SAMPLES - sample + channel) * SLOPE + position * DOWN;
    (x, y)
}

/// The picture's text.
pub(crate) fn draw(cube: &Cube) -> String {
    let mut lines = vec![opening(), title(cube)];
    let unshared = Face::ALL.into_iter().filter_map(|face| unshared_sides(cube, face));
    lines.extend(lined(GREY, unshared));
    // Over the others, whose lines would else cover half of theirs.
    for (i, shades) in SHADES.iter().enumerate().take(cube.statistics.len()) {
        let shared = Face::ALL.into_iter().filter_map(|face| shared_sides(cube, i, face));
        lines.extend(lined(shades.lines, shared));
    }
    lines.extend(class_dots(cube));
    lines.push(axes());
    lines.extend(legend(cube));
    lines.push("</svg>\n".into());
    lines.join("\n")
}

/// Sides with lines of this colour round each.
fn lined(colour: &str, sides: impl Iterator<Item = String>) -> Vec<String> {
    let opening = format!(r#"<g stroke="{colour}" stroke-width="1.5" stroke-linejoin="round">"#);
    [opening].into_iter().chain(sides).chain(["</g>".into()]).collect()
}

fn opening() -> String {
    let (width, height) = (WIDTH / 2, HEIGHT / 2);
    let size = format!(r#"width="{width}" height="{height}" viewBox="0 0 {WIDTH} {HEIGHT}""#);
    format!(r#"<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="sans-serif">"#)
}

/// What is read out where the picture cannot be seen.
fn title(cube: &Cube) -> String {
    let elements = SAMPLES * CHANNELS * POSITIONS;
    let counts = cube.statistics.iter().enumerate().map(|(i, (what, _))| {
        let count = cube.sharing(i).count();
        format!("{count} of {elements} elements share the corner's {what}")
    });
    format!("<title>{}: {}</title>", cube.name, counts.collect::<Vec<_>>().join(", "))
}

fn unshared_sides(cube: &Cube, face: Face) -> Option<String> {
    let sides = sides(face, |element| cube.shared_statistic(element).is_none())?;
    Some(format!(r#"<path fill="{GREY}" fill-opacity="{}" d="{sides}"/>"#, face.shade_of_the_rest()))
}

fn shared_sides(cube: &Cube, statistic: usize, face: Face) -> Option<String> {
    let sides = sides(face, |element| cube.shared_statistic(element) == Some(statistic))?;
    Some(format!(r#"<path fill="{}" d="{sides}"/>"#, face.fill(&SHADES[statistic])))
}

/// The sides that these elements show on a face, as one path, if any show one.
fn sides(face: Face, are_drawn: impl Fn(Element) -> bool) -> Option<String> {
    let drawn = Element::all().filter(|&element| face.shows(element) && are_drawn(element));
    let paths: String = drawn.map(|element| face.side(element)).collect();
    (!paths.is_empty()).then_some(paths)
}

/// A dot on each side whose weight and bias one label picks.
fn class_dots(cube: &Cube) -> Option<String> {
    let middles_on = |face: Face| {
        let dotted = Element::all().filter(move |&element| face.shows(element) && cube.shares_label(element));
        dotted.map(move |element| face.middle(element))
    };
    cube.has_labels().then(|| dots(Face::ALL.into_iter().flat_map(middles_on)))
}

/// Lines of no length, which round ends make dots.
fn dots(middles: impl Iterator<Item = (usize, usize)>) -> String {
    let path: Vec<_> = middles.map(|(x, y)| format!("M{x} {y}h0")).collect();
    format!(r#"<path fill="none" stroke="{CLASS}" stroke-width="6" stroke-linecap="round" d="{}"/>"#, path.concat())
}

/// Each label at the middle of an edge, outside.
fn axes() -> String {
    let channels = vertex(0, CHANNELS / 2, POSITIONS);
    let samples = vertex(SAMPLES / 2, CHANNELS, POSITIONS);
    let positions = vertex(0, 0, POSITIONS / 2);
    let labels = [
        axis("C", channels.0 - 10, channels.1 + 25),
        axis("N", samples.0 + 10, samples.1 + 25),
        axis("S", positions.0 - 14, positions.1 + 7),
    ];
    format!(r#"<g fill="{GREY}" font-size="20" text-anchor="middle">{}</g>"#, labels.concat())
}

fn axis(name: &str, x: usize, y: usize) -> String {
    format!(r#"<text x="{x}" y="{y}">{name}</text>"#)
}

/// What the colours say, where there is more than one.
fn legend(cube: &Cube) -> Option<String> {
    let statistics = cube.statistics.iter().zip(&SHADES).map(|(&(what, _), shades)| (what, square(shades.front)));
    let class = cube.has_labels().then(|| ("class", dots([(WIDTH - 6, 8)].into_iter())));
    let rows: Vec<_> = statistics.chain(class).collect();
    let texts = rows.iter().enumerate().map(|(row, (what, mark))| legend_row(row, what, mark));
    let style = format!(r#"fill="{GREY}" font-size="14" text-anchor="end""#);
    (rows.len() > 1).then(|| format!("<g {style}>{}</g>", texts.collect::<String>()))
}

fn square(colour: &str) -> String {
    format!(r#"<path fill="{colour}" d="M{} 3h10v10h-10z"/>"#, WIDTH - 11)
}

fn legend_row(row: usize, what: &str, mark: &str) -> String {
    let (down, x) = (15 * row, WIDTH - 16);
    format!(r#"<g transform="translate(0 {down})"><text x="{x}" y="13">{what}</text>{mark}</g>"#)
}
