//! The `myelin` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    myelin::cli::main()
}
