//! Whether a file fits the memory that there is.

/// Input, output, and the copy that a device or the reference works on.
const COPIES: u64 = 3;

/// Refuses a tensor that needs more memory than there is.
pub(super) fn check(tensor_bytes: u64) -> Result<(), String> {
    match available() {
        Some(available) => fits(tensor_bytes, available),
        None => Ok(()),
    }
}

/// Refuses a comparison with the reference that needs more memory than there is: the input, the output, what is
/// expected and the errors, each in f64.
pub(crate) fn check_reference(elements: usize) -> Result<(), String> {
    let bytes = (elements as u64).saturating_mul(4 * size_of::<f64>() as u64);
    match available() {
        Some(available) if bytes > available => Err(format!(
            "reference: {elements} values need {} MiB of memory in f64, {} MiB are available",
            bytes >> 20,
            available >> 20
        )),
        _ => Ok(()),
    }
}

fn fits(tensor_bytes: u64, available: u64) -> Result<(), String> {
    let needed = tensor_bytes.saturating_mul(COPIES);
    if needed <= available {
        return Ok(());
    }
    let mebibytes = |bytes: u64| bytes >> 20;
    Err(format!(
        "input: a tensor of {} MiB needs {} MiB of memory, {} MiB are available",
        mebibytes(tensor_bytes),
        mebibytes(needed),
        mebibytes(available)
    ))
}

/// Bytes that the system can give without swapping, where it says.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn three_copies_have_to_fit() {
        assert_eq!(fits(100 << 20, 300 << 20), Ok(()));
        let message = fits(101 << 20, 300 << 20).expect_err("303 MiB do not fit 300");
        assert!(message.contains("303 MiB") && message.contains("300 MiB"), "{message}");
        assert!(fits(u64::MAX, u64::MAX - 1).is_err(), "no overflow");
    }
}
