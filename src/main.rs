//! The `sluicebox` program; see [`sluicebox::cli`].

use std::process::ExitCode;

/// glibc's allocator gives memory back to the system too eagerly for matrix products of this size.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A huge page is cleared whole when its first byte is written. For a program of many small objects that cost more time and
/// memory than large pages saved (see docs/performance.md).
#[cfg(target_os = "linux")]
fn forgo_huge_pages() {
    let (yes, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: changes nothing but how the kernel backs memory that is mapped from now on. Where it refuses, pages are huge.
    #[expect(unsafe_code, reason = "there is no safe wrapper")]
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, yes, unused, unused, unused)
    };
}

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    forgo_huge_pages();
    sluicebox::cli::main(std::env::args_os())
}
