//! The `sluicebox` program; see [`sluicebox::cli`].

use std::process::ExitCode;

/// Options of mimalloc, which stands in the place of `malloc`, with the values that they have here unless the environment
/// says otherwise. The bindings have no names for them.
const ALLOCATOR: [(libmimalloc_sys::mi_option_t, std::ffi::c_long); 2] = [
    // `purge_delay`: milliseconds after which free memory goes back to the system. After the usual second most of it is
    // asked for again.
    (15, 10_000),
    // `generic_collect`: by default every 10,000th allocation that needs a new page goes through all pages of its thread. With a
    // million open sessions that holds a lane up for 20 to 50 ms.
    (34, 1_000_000),
];

fn set_up_allocator() {
    for (option, value) in ALLOCATOR {
        // SAFETY: sets a number, before any other thread is there.
        #[expect(unsafe_code, reason = "the allocator is a C library")]
        unsafe {
            libmimalloc_sys::mi_option_set_default(option, value);
        }
    }
}

fn main() -> ExitCode {
    set_up_allocator();
    sluicebox::cli::main(std::env::args_os())
}
