//! The `sluicebox` program; see [`sluicebox::cli`].

use std::process::ExitCode;

/// `mi_option_generic_collect` of mimalloc, which stands in the place of `malloc`: its bindings have no name for it.
const GENERIC_COLLECT: libmimalloc_sys::mi_option_t = 34;

/// By default every 10,000th allocation that needs a new page goes through all pages of its thread. With a million open
/// sessions that holds a lane up for 20 to 50 ms.
fn look_through_pages_rarely() {
    // SAFETY: sets a number, before any other thread is there.
    #[expect(unsafe_code, reason = "the allocator is a C library")]
    unsafe {
        libmimalloc_sys::mi_option_set(GENERIC_COLLECT, 1_000_000);
    }
}

fn main() -> ExitCode {
    look_through_pages_rarely();
    sluicebox::cli::main(std::env::args_os())
}
