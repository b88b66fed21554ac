//! The same kind of memory for everyone.

/// Starts this program anew with glibc asking for large pages, which what it starts then does too. NumPy asks for them by
/// itself for its arrays, which PyTorch and ONNX Runtime read; ours and other libraries' would lie in small ones, and
/// a tenth of the time goes into finding these. What the environment says of the allocator already stays.
#[cfg(target_os = "linux")]
pub(crate) fn ask_for_large_pages() {
    use std::os::unix::process::CommandExt;

    const TUNABLES: &str = "GLIBC_TUNABLES";
    let Ok(program) = std::env::current_exe() else { return };
    if std::env::var_os(TUNABLES).is_some() {
        return;
    }
    let arguments = std::env::args_os().skip(1);
    let error = std::process::Command::new(program).args(arguments).env(TUNABLES, "glibc.malloc.hugetlb=1").exec();
    eprintln!("memory is as the allocator gives it: {error}");
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn ask_for_large_pages() {}
