//! The `sluicebox` program; see [`sluicebox::cli`].

use std::process::ExitCode;

/// glibc's allocator gives memory back to the system too eagerly for matrix products of this size.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sluicebox::cli::main(std::env::args_os())
}
