//! Numbers and names as tables have room for them.

/// A number as short as it can be said, of three digits at most.
pub(super) fn number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.0}M", v / 1e6),
        v if v >= 1e4 => format!("{:.0}k", v / 1e3),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => without_zeros(format!("{v:.1}")),
        v if v >= 1.0 => without_zeros(format!("{v:.2}")),
        v if v >= 0.1 => without_zeros(format!("{v:.3}")),
        v if v >= 0.000_95 => without_zeros(format!("{v:.4}")),
        v => format!("{v:.1e}").replace(".0e", "e"),
    }
}

fn without_zeros(number: String) -> String {
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A name of so many characters at most, with the backend at its end: that is what tells two of one card apart.
pub(super) fn short(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    let backend: String = name.rfind(" [").map_or("", |at| &name[at..]).chars().take(most / 2).collect();
    let begin: String = name.chars().take(most.saturating_sub(backend.chars().count() + 1)).collect();
    format!("{}\u{2026}{backend}", begin.trim_end())
}

/// So many bytes, in the largest unit that they are a multiple of.
pub(super) fn bytes(bytes: u64) -> String {
    let units = [(60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| bytes >> shift > 0 && bytes.trailing_zeros() >= *shift) {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_largest_unit_that_divides_them() {
        let told = [0, 16, 1 << 10, (1 << 10) + 1, 128 << 20, 3 << 29, 1 << 63].map(bytes);
        assert_eq!(told, ["0 B", "16 B", "1 KiB", "1025 B", "128 MiB", "1536 MiB", "8 EiB"]);
    }

    #[test]
    fn a_short_name_keeps_its_backend() {
        assert_eq!(short("cpu", 20), "cpu");
        assert_eq!(short("llvmpipe (LLVM 15.0.6, 256 bits) [vulkan]", 20), "llvmpipe (\u{2026} [vulkan]");
        assert_eq!(short(&"x".repeat(40), 8), "xxxxxxx\u{2026}");
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [2e-7, 0.001, 0.0174, 0.1, 1.0, 2.5, 12.34, 1234.0, 65536.0, 4e6].map(number);
        assert_eq!(numbers, ["2e-7", "0.001", "0.0174", "0.1", "1", "2.5", "12.3", "1234", "66k", "4M"]);
    }
}
