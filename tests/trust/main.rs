//! What lets users trust a prediction: causes that are known in closed form, draws and pairs, plans, knees, and runs of one's own cluster.
//! One binary, since each links all of podpace.
#[path = "../support/mod.rs"]
mod support;

mod cli;
mod explain;
mod own;
