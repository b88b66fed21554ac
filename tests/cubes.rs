//! The pictures of docs/cubes: they are what the example draws now, and show what the papers say.

#[path = "../examples/cubes/block.rs"]
mod block;
#[path = "../examples/cubes/norms.rs"]
mod norms;
#[path = "../examples/cubes/picture.rs"]
mod picture;

use block::{CHANNELS, Element, POSITIONS, SAMPLES};
use norms::{Cube, cubes};
use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn committed_pictures_are_what_is_drawn() {
    let drawn: BTreeMap<String, String> = all().iter().map(|cube| (cube.file_name(), picture::draw(cube))).collect();
    let committed = committed();
    assert!(drawn.keys().eq(committed.keys()), "{:?} are committed", committed.keys());
    for (name, text) in &drawn {
        assert!(committed[name] == *text, "docs/cubes/{name}: run `cargo run --example cubes` and look at it");
    }
}

#[test]
fn as_many_elements_share_a_statistic_as_the_papers_say() {
    let counts = [
        ("layer", CHANNELS * POSITIONS),
        ("layer_channels", CHANNELS),
        ("rms", CHANNELS * POSITIONS),
        ("group", CHANNELS / 2 * POSITIONS),
        ("instance", POSITIONS),
        ("batch", SAMPLES * POSITIONS),
        ("batch_group", SAMPLES * CHANNELS / 2 * POSITIONS),
        ("positional", CHANNELS),
        ("filter_response", POSITIONS),
        ("conditional", SAMPLES * POSITIONS),
        ("sandwich", SAMPLES * POSITIONS),
    ];
    for (name, count) in counts {
        assert_eq!(named(name).sharing(0).count(), count, "{name}");
    }
    let mixture = named("switchable");
    let mixed = [POSITIONS, CHANNELS * POSITIONS, SAMPLES * POSITIONS];
    assert_eq!([0, 1, 2].map(|statistic| mixture.sharing(statistic).count()), mixed);
    assert_eq!(counts.len() + 1, all().len(), "every picture is counted");
}

#[test]
fn elements_share_along_the_right_axes() {
    let corner = Element::CORNER;
    let all_of =
        |name, shares: fn(Element, Element) -> bool| named(name).sharing(0).all(|element| shares(element, corner));
    assert!(all_of("batch", |one, other| one.channel == other.channel));
    assert!(all_of("layer", |one, other| one.sample == other.sample));
    assert!(all_of("group", |one, other| one.sample == other.sample && one.channel >= CHANNELS / 2));
    assert!(all_of("instance", |one, other| one.sample == other.sample && one.channel == other.channel));
    assert!(all_of("positional", |one, other| one.sample == other.sample && one.position == other.position));
}

#[test]
fn a_label_picks_the_parameters_of_its_sample() {
    for name in ["conditional", "sandwich"] {
        let cube = named(name);
        for element in Element::all() {
            assert_eq!(cube.shares_label(element), element.sample == Element::CORNER.sample, "{name}: {element:?}");
        }
    }
    assert!(!Element::all().any(|element| named("batch").shares_label(element)), "there are no labels");
}

fn all() -> Vec<Cube> {
    cubes().expect("every normalization lowers for the block")
}

fn named(name: &str) -> Cube {
    all().into_iter().find(|cube| cube.name == name).expect("it is in the table")
}

/// The files of docs/cubes by name.
fn committed() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cubes");
    let entries = std::fs::read_dir(folder).expect("it is committed");
    let read = |path: &Path| {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        // Git may check text out with other ends of lines.
        (name, std::fs::read_to_string(path).expect("it is text").replace("\r\n", "\n"))
    };
    entries.map(|entry| read(&entry.expect("it is listed").path())).collect()
}
