//! The `myelin` program; everything is in the library.

use std::process::ExitCode;

/// Many small allocations of short life on few threads are what a server makes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    myelin::cli::main()
}
