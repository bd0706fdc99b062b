//! Writes the manual pages of podpace and of each of its commands into a folder.
//!
//! ```sh
//! cargo run --release --example man_pages -- target/man && man target/man/podpace.1
//! ```
use std::error::Error;
use std::path::Path;

use clap::CommandFactory;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("name a folder for the pages")?;
    std::fs::create_dir_all(&folder)?;
    clap_mangen::generate_to(podpace::cli::args::Cli::command(), Path::new(&folder))?;
    Ok(())
}
