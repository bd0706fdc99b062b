//! Traces: formats, importers, damage, samples, replay, speed.
//! One binary, since each links all of podpace.
mod corrupt;
mod formats;
mod import;
mod native;
mod replay;
mod samples;
mod speed;
