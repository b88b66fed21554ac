//! What is compiled: variants with values of their overrides, and the sample for compilers that take long.

use crate::draw::{drawn, is_drawn};
use std::collections::{HashMap, HashSet};
use wgpu_norm::gpu::kernels::{Kernel, Linked, Registers, Target, Tracked, Variant, link};

/// Which values the overrides of a shader have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overrides {
    /// Those that the shaders name, with every flag off.
    Defaults,
    /// Workgroups of 256 lanes that are one team, every flag on.
    Others,
}

impl Overrides {
    pub(crate) fn value(self, name: &str) -> Option<f64> {
        if self == Self::Defaults {
            return None;
        }
        Some(match name {
            "WORKGROUP_SIZE" | "LANES" => 256.0,
            "EXCHANGED" => 512.0,
            "SUBGROUP_SIZE" => 32.0,
            "ROW_LANES" => 8.0,
            "TILE" => 1024.0,
            "PARAMETER_STEP" => 3.0,
            "ACTIVATION" => 4.0,
            _ => 1.0,
        })
    }
}

/// A shader as a backend gets it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Specialisation {
    pub(crate) variant: Variant,
    pub(crate) overrides: Overrides,
    /// Whether it is for a newer Vulkan: half of them are.
    pub(crate) newer: bool,
    /// Whether its SPIR-V is validated, in a process of its own: a quarter of them are.
    pub(crate) validated: bool,
}

impl Specialisation {
    pub(crate) fn name(&self) -> String {
        format!("{} with {:?} overrides", self.variant.name(), self.overrides)
    }

    pub(crate) fn linked(&self, target: Target) -> Linked {
        link(&self.variant, target)
    }
}

/// The variants that differ in nothing but how many packs a lane holds, in the engine's order.
fn alike(variants: &[Variant]) -> Vec<Vec<Variant>> {
    let mut places: HashMap<Variant, usize> = HashMap::new();
    let mut groups: Vec<Vec<Variant>> = Vec::new();
    for &variant in variants {
        let held = variant.registers.filter(|r| *r != Registers::None).map(|_| Registers::R1);
        let place = *places.entry(Variant { registers: held.or(variant.registers), ..variant }).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(variant);
    }
    groups
}

/// Whether a kernel of whole tensors moves running estimates as well: three variants for each that does not, which differ
/// in what it calls at its end.
fn tracks_beside(variant: &Variant) -> bool {
    variant.tracked == Some(Tracked::Estimates) && !matches!(variant.kernel, Kernel::Merge | Kernel::Average)
}

/// One of each group of variants that are alike: each number of packs gets its turn, and so do the overrides. Of those that
/// move running estimates beside all else a quarter.
pub(crate) fn specialisations(variants: &[Variant]) -> Vec<Specialisation> {
    let groups = alike(variants);
    let of_group = |(number, group): (usize, &Vec<Variant>)| {
        let lot = drawn(number);
        let taken = !tracks_beside(&group[0]) || is_drawn(lot / 64, 4);
        taken.then(|| Specialisation {
            variant: group[lot / 4 % group.len()],
            overrides: if lot.is_multiple_of(2) { Overrides::Defaults } else { Overrides::Others },
            newer: lot / 2 % 2 == 1,
            validated: (lot / 16).is_multiple_of(4),
        })
    };
    groups.iter().enumerate().filter_map(of_group).collect()
}

/// A kernel with two choices that it is compiled with.
fn pairs(one: &Specialisation) -> Vec<(&'static str, &'static str, &'static str)> {
    let overrides = if one.overrides == Overrides::Defaults { "defaults" } else { "others" };
    let of_slots = one.variant.files().map(|file| file.path).filter(|path| path.starts_with("slots/"));
    let choices: Vec<&str> =
        of_slots.filter(|path| !path.starts_with("slots/registers/r")).chain([overrides]).collect();
    let kernel = one.variant.kernel.name();
    let with = |i: usize| choices[i..].iter().map(move |&second| (i, second));
    (0..choices.len()).flat_map(with).map(|(i, second)| (kernel, choices[i], second)).collect()
}

/// Some of them: every pair of choices that a kernel is compiled with occurs in one.
pub(crate) fn pairwise(all: &[Specialisation]) -> Vec<Specialisation> {
    let mut missing: HashSet<_> = all.iter().flat_map(pairs).collect();
    let mut sample = Vec::new();
    // Those that bring most come first, so that few are needed.
    for least in [32, 16, 8, 4, 2, 1] {
        for one in all {
            let new: HashSet<_> = pairs(one).into_iter().filter(|pair| missing.contains(pair)).collect();
            if new.len() >= least {
                missing.retain(|pair| !new.contains(pair));
                sample.push(*one);
            }
        }
    }
    assert!(missing.is_empty(), "every pair of choices is in the sample");
    sample
}

/// One in four of them, by another lot than that which chose the overrides, and every pair of choices.
pub(crate) fn with_pairs(all: &[Specialisation]) -> Vec<Specialisation> {
    let quarter = all.iter().enumerate().filter(|(number, _)| is_drawn(drawn(*number) / 256, 4)).map(|(_, one)| *one);
    quarter.chain(pairwise(all)).collect()
}

/// The text but for the number of packs that a lane holds.
fn without_the_number(variant: &Variant) -> String {
    let number = variant.registers.filter(|r| *r != Registers::None).map_or(0, Registers::packs);
    let line = format!("\nconst REGISTERS = {number}u;\n");
    let source = link(variant, Target::Naga).source;
    assert!(number == 0 || source.matches(&line).count() == 1, "{} names its packs once", variant.name());
    source.replace(&line, "\n")
}

#[test]
fn variants_that_are_taken_for_alike_differ_in_one_number() {
    let variants = Variant::reachable();
    let names: HashSet<String> = variants.iter().map(Variant::name).collect();
    assert_eq!(names.len(), variants.len(), "each variant has a name of its own");
    let groups = alike(&variants);
    assert_eq!(groups.iter().map(Vec::len).sum::<usize>(), variants.len(), "each variant is in a group");
    for group in &groups {
        let first = without_the_number(&group[0]);
        let same = group[1..].iter().all(|variant| without_the_number(variant) == first);
        assert!(same, "those like {} are", group[0].name());
    }
    let taken: HashSet<_> = specialisations(&variants).iter().filter_map(|one| one.variant.registers).collect();
    assert_eq!(taken.len(), Registers::ALL.len(), "each number of packs is compiled somewhere");
}
