//! What Direct3D's compiler makes of sums that are taken apart to keep their digits: it may regroup them, and Metal's, which
//! is not to be had here, does as well.

use crate::naga_writers::Ready;
use crate::tools::{DirectX, found};
use std::collections::{BTreeMap, BTreeSet};

/// The functions that take sums apart, and what these require.
const SHARED: [&str; 9] = [
    include_str!("../../shaders/shared/task.wgsl"),
    include_str!("../../shaders/shared/hidden.wgsl"),
    include_str!("../../shaders/shared/four.wgsl"),
    include_str!("../../shaders/shared/moments.wgsl"),
    include_str!("../../shaders/shared/statistics.wgsl"),
    include_str!("../../shaders/shared/rstd.wgsl"),
    include_str!("../../shaders/shared/shares.wgsl"),
    include_str!("../../shaders/slots/epsilon/fixed.wgsl"),
    include_str!("../../shaders/slots/parameter/f32x1.wgsl"),
];

/// Two statistics, each a head and a tail, and four elements.
const PROBE: &str = "
@group(0) @binding(5) var<storage, read> statistics: array<vec4<f32>, 3>;
@group(0) @binding(1) var<storage, read_write> results: array<vec4<f32>, 3>;

@compute @workgroup_size(1)
fn main() {
    veil = task.zero;
    let first = statistics[0];
    let second = statistics[1];
    let elements = statistics[2];
    results[0] = normalized_by(elements, all_of(first));
    results[1] = vec4<f32>(centre(first.x, first.y), beyond(first.xy, second), 0.0);
    results[2] = four_of(merge(moments_of(first), moments_of(second)));
}
";

/// Bytes from one of `statistics` to the next.
const STATISTIC: u32 = 16;

/// Where a number was read: the address, and which of the four there.
type Place = (u32, u32);

/// What the checks need to know of DXIL in its textual form.
#[derive(Default)]
struct Dxil {
    /// Where what is loaded lies.
    loads: BTreeMap<String, u32>,
    places: BTreeMap<String, Place>,
    /// The operands of sums and differences.
    sums: BTreeMap<String, [String; 2]>,
    /// Bits of a float, or a float of bits.
    casts: BTreeMap<String, String>,
    /// Operands of exclusive ors.
    hidden: BTreeSet<String>,
}

impl Dxil {
    fn of(text: &str) -> Self {
        let mut dxil = Self::default();
        for (name, made) in text.lines().filter_map(|line| line.trim().split_once(" = ")) {
            dxil.take(name.to_owned(), made.split(';').next().unwrap_or_default().trim());
        }
        dxil
    }

    fn take(&mut self, name: String, made: &str) {
        let words: Vec<&str> = made.split([' ', ',', '(', ')']).filter(|word| !word.is_empty()).collect();
        let last_two = || [words[words.len() - 2].to_owned(), words[words.len() - 1].to_owned()];
        match words[0] {
            "fadd" | "fsub" => drop(self.sums.insert(name, last_two())),
            "xor" => self.hidden.extend(last_two()),
            "bitcast" => drop(self.casts.insert(name, words[2].to_owned())),
            "extractvalue" => {
                if let Some(address) = self.loads.get(words[2]) {
                    self.places.insert(name, (*address, words[3].parse().expect("the number of a part")));
                }
            }
            "call" if made.contains("@dx.op.bufferLoad.i32") => {
                // The operation's number, the buffer, the address, and nothing.
                let address = words[words.len() - 3].parse().expect("it is known where statistics lie");
                self.loads.insert(name, address);
            }
            _ => {}
        }
    }

    /// What was read and is a term of this, where sums are not interrupted.
    fn terms(&self, name: &str) -> BTreeSet<Place> {
        if let Some(place) = self.places.get(name) {
            return [*place].into();
        }
        if let Some(of) = self.casts.get(name).filter(|of| self.places.contains_key(*of)) {
            return self.terms(of);
        }
        self.sums.get(name).map(|parts| parts.iter().flat_map(|part| self.terms(part)).collect()).unwrap_or_default()
    }

    fn is_hidden(&self, sum: &str) -> bool {
        self.casts.iter().any(|(cast, of)| of == sum && self.hidden.contains(cast))
    }

    /// Sums that have a head and its tail among their terms, though what comes of them is not hidden.
    fn joined(&self) -> Vec<String> {
        let joins = |terms: BTreeSet<Place>| {
            [0, STATISTIC].into_iter().any(|at| terms.contains(&(at, 0)) && terms.contains(&(at, 1)))
        };
        let sums = self.sums.iter().filter(|(sum, _)| joins(self.terms(sum)) && !self.is_hidden(sum));
        sums.map(|(sum, [first, second])| format!("{sum} of {first} and {second}")).collect()
    }
}

fn compiled(dxc: &DirectX, shared: &str) -> Dxil {
    let ready = Ready::of(&format!("{shared}{PROBE}")).expect("the probe is valid");
    let text = dxc.disassembled(&ready.hlsl().expect("naga writes it")).expect("DXC takes it");
    let dxil = Dxil::of(&text);
    let read: BTreeSet<Place> = dxil.places.values().copied().collect();
    let expected = (0..2).flat_map(|s| [(s * STATISTIC, 0), (s * STATISTIC, 1)]);
    assert!(expected.into_iter().all(|place| read.contains(&place)), "heads and tails are read: {read:?}\n{text}");
    dxil
}

#[test]
fn dxc_joins_no_head_with_its_tail() {
    let Some(dxc) = found("DXC", DirectX::find()) else { return };
    let dxil = compiled(&dxc, &SHARED.concat());
    assert!(!dxil.hidden.is_empty(), "something is hidden");
    assert_eq!(dxil.joined(), [""; 0]);
}

#[test]
fn dxc_joins_them_where_nothing_is_hidden() {
    let Some(dxc) = found("DXC", DirectX::find()) else { return };
    let open = SHARED.concat().replace(" ^ veil", "").replace(" ^ vec4<u32>(veil)", "");
    let joined = compiled(&dxc, &open).joined();
    assert!(joined.len() > 1, "only {joined:?}");
}
