//! The command line: what it says, prints, refuses and writes.
//! One binary, since each links all of podpace.
mod docs;
mod errors;
mod readme;
mod report;
mod run;
mod safety;
#[path = "../support/mod.rs"]
mod support;
mod trace;
