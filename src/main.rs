//! The binary `podpace`: everything is in the library.
use std::process::ExitCode;

fn main() -> ExitCode {
    podpace::cli::main()
}
