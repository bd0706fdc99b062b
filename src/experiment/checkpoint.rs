//! Checkpoints: a run that pauses, as one file from which it goes on as if it had never stopped.
//!
//! Not to be confused with a cluster snapshot ([`super::snapshot`]): a checkpoint holds everything (clock, pending
//! events, hosts, requests under way, the scheduler's mind, random streams) and belongs to one run, of which it continues
//! every byte; a snapshot holds what a cluster would show, and is the beginning of other runs.
//!
//! The file: the line `podpace checkpoint`, the format's number and the length of the header (two little-endian `u32`),
//! the header (JSON, [`Header`]), the state (zstd), and the SHA-256 of all before it. What the scenario says is not
//! in it but hashed in its header: whoever goes on names the same scenario with the same settings, and is told if it
//! is another. Bytes mean something only to the version that wrote them, so no other reads them.
//!
//! The hash proves that a file is whole, not who wrote it: a file with a state that no run can be in is an error, whether it
//! shows when the state is read or when the run goes on.
//!
//! Cost: O(state); memory O(1) to write, O(state) to read.
use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::output::{Hashing, Kind, OutputError, check_file, write_atomically_with};
use super::run::{Inputs, VERSION};
use super::simulation::Simulation;
use super::simulation::state::RestoreError;
use crate::engine::Nanos;
use crate::engine::codec::CodecError;
use crate::engine::guard::guarded;
use crate::scenario::plan::Plan;
use crate::scheduler::Registry;
use crate::trace::native::CHECKPOINT;
use crate::trace::source::refuse_special;

const MAGIC: &str = "podpace checkpoint\n";
/// What is replaced by a checkpoint.
pub const KIND: Kind = Kind::new("checkpoint", MAGIC);
/// To be raised with every change of what the state is made of that the version's number does not show.
const FORMAT: u32 = 12;
const HASH_BYTES: usize = 32;
/// Bytes that any state may have, and how many more a byte of the file may stand for (in practice 5 to 20).
const STATE_FREE: u64 = 64 << 20;
const STATE_EXPANSION: u64 = 1_000;
const ZSTD_LEVEL: i32 = 3;

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version that wrote it.
    pub podpace: String,
    /// Name of the scenario.
    pub scenario: String,
    /// Seed.
    pub seed: u64,
    /// Everything up to this virtual time has happened, ns.
    pub at_ns: Nanos,
    /// Hashes of what the run depends on.
    pub inputs: Inputs,
}

/// A checkpoint can't be written, read or gone on with.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CheckpointError {
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("error: can't write a checkpoint: {0}")]
    Save(CodecError),
    #[error("error: {}: can't read the checkpoint: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "error: {}: is no checkpoint of podpace; `podpace run SCENARIO --checkpoint FILE --checkpoint-every 10m` writes one",
        .0.display()
    )]
    NotOne(PathBuf),
    #[error(
        "error: {}: a checkpoint of format {format}, this podpace reads format {FORMAT}; go on with the version that wrote it, or run the scenario from the beginning",
        path.display()
    )]
    Format { path: PathBuf, format: u32 },
    #[error(
        "error: {}: damaged or cut short: its bytes are not those that were hashed when it was written; go on from another checkpoint, or run the scenario from the beginning",
        .0.display()
    )]
    Damaged(PathBuf),
    #[error(
        "error: {}: written by podpace {version}, this is podpace {VERSION}; go on with that version, or run the scenario from the beginning",
        path.display()
    )]
    Version { path: PathBuf, version: String },
    #[error(
        "error: {}: belongs to another run: {difference}; name the scenario, --set, --seed and --models that it was written with",
        path.display()
    )]
    OtherInputs { path: PathBuf, difference: String },
    #[error(
        "error: {}: does not fit the scenario: {source}; was it written by another build of podpace {VERSION}?",
        path.display()
    )]
    Restore { path: PathBuf, source: RestoreError },
    #[error(
        "error: {}: no state that a run can be in ({why}), although its bytes are those that were hashed; go on from another checkpoint, or run the scenario from the beginning",
        path.display()
    )]
    Inconsistent { path: PathBuf, why: String },
}

impl CheckpointError {
    /// Whether the user's input is at fault, rather than the disk.
    #[must_use]
    pub const fn is_input(&self) -> bool {
        !matches!(self, Self::Output(OutputError::Io { .. }) | Self::Save(CodecError::Io(_)))
    }
}

/// Writes a checkpoint of a simulation that pauses; a file that is there is replaced when the new one is whole.
///
/// # Errors
/// The file system's; a scheduler that can't be saved.
pub fn write(path: &Path, header: &Header, simulation: &Simulation) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::Output(OutputError::Io { path: path.to_owned(), source });
    let text = serde_json::to_vec(header).map_err(|error| io(error.into()))?;
    check_file(path, KIND, &[])?;
    write_atomically_with(path, |file| {
        let mut out = Hashing { inner: BufWriter::new(file), hash: Sha256::new() };
        let begin = |out: &mut dyn Write| {
            out.write_all(MAGIC.as_bytes())?;
            out.write_all(&FORMAT.to_le_bytes())?;
            out.write_all(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes())?;
            out.write_all(&text)
        };
        begin(&mut out).map_err(io)?;
        // Most parts are written a few bytes at a time: a buffer keeps them from the compressor.
        let encoder = zstd::stream::write::Encoder::new(&mut out, ZSTD_LEVEL).map_err(io)?;
        let mut state = BufWriter::with_capacity(1 << 16, encoder);
        simulation.save(&mut state).map_err(|error| match error {
            CodecError::Io(source) => io(source),
            other => CheckpointError::Save(other),
        })?;
        let encoder = state.into_inner().map_err(|error| io(error.into_error()))?;
        encoder.finish().map_err(io)?;
        let Hashing { inner: mut file, hash } = out;
        file.write_all(&hash.finalize()).and_then(|()| file.flush()).map_err(io)
    })
}

/// A checkpoint that is whole and of this version.
pub struct Checkpoint {
    path: PathBuf,
    header: Header,
    state: Vec<u8>,
}

impl Checkpoint {
    /// Reads a checkpoint and proves that it is whole.
    ///
    /// # Errors
    /// It can't be read, is none, is damaged, or another version wrote it.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        // A snapshot's folder holds the checkpoint of its run.
        let inside = path.join(CHECKPOINT);
        let path = if path.is_dir() { &inside } else { path };
        let bytes = refuse_special(path)
            .and_then(|()| fs::read(path))
            .map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
        let damaged = || CheckpointError::Damaged(path.to_owned());
        let Some(rest) = bytes.strip_prefix(MAGIC.as_bytes()) else {
            // A file that ends within its first line was one.
            let cut = !bytes.is_empty() && MAGIC.as_bytes().starts_with(&bytes);
            return Err(if cut { damaged() } else { CheckpointError::NotOne(path.to_owned()) });
        };
        let (format, rest) = number(rest).ok_or_else(damaged)?;
        if format != FORMAT {
            return Err(CheckpointError::Format { path: path.to_owned(), format });
        }
        let (whole, hash) =
            bytes.split_at_checked(bytes.len().saturating_sub(HASH_BYTES)).ok_or_else(damaged)?;
        if Sha256::digest(whole)[..] != *hash {
            return Err(damaged());
        }
        let (length, rest) = number(rest).ok_or_else(damaged)?;
        let (text, rest) = rest.split_at_checked(length as usize).ok_or_else(damaged)?;
        let body = rest.get(..rest.len().saturating_sub(HASH_BYTES)).ok_or_else(damaged)?;
        // Another version's header may have other fields: its version goes first.
        let fields: serde_json::Value = serde_json::from_slice(text).map_err(|_| damaged())?;
        let version = fields["podpace"].as_str().unwrap_or("of unknown version").to_owned();
        if version != VERSION {
            return Err(CheckpointError::Version { path: path.to_owned(), version });
        }
        let header: Header = serde_json::from_value(fields).map_err(|_| damaged())?;
        let mut state = Vec::new();
        let most = STATE_FREE + body.len() as u64 * STATE_EXPANSION;
        zstd::stream::read::Decoder::new(body)
            .and_then(|decoder| decoder.take(most + 1).read_to_end(&mut state))
            .map_err(|_| damaged())?;
        if state.len() as u64 > most {
            let why = format!("its state is more than {STATE_EXPANSION} times as large as the file");
            return Err(CheckpointError::Inconsistent { path: path.to_owned(), why });
        }
        Ok(Self { path: path.to_owned(), header, state })
    }

    /// What it says of itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The simulation, as it paused. `scenario`, `seed` and `inputs` are those of the run that is to go on.
    ///
    /// # Errors
    /// The checkpoint belongs to another run.
    pub fn resume(
        &self,
        scenario: &str,
        seed: u64,
        inputs: &Inputs,
        plan: &Plan,
        registry: &Registry,
    ) -> Result<Simulation, CheckpointError> {
        let path = || self.path.clone();
        if self.header.inputs.all != inputs.all {
            let difference = self.difference(scenario, seed, inputs);
            return Err(CheckpointError::OtherInputs { path: path(), difference });
        }
        guarded(|| Simulation::restore(plan, registry, &self.state))
            .map_err(|why| CheckpointError::Inconsistent { path: path(), why })?
            .map_err(|source| CheckpointError::Restore { path: path(), source })
    }

    /// Where the inputs differ, in words.
    fn difference(&self, scenario: &str, seed: u64, inputs: &Inputs) -> String {
        let h = &self.header;
        if h.scenario != scenario {
            return format!("scenario `{}`, here `{scenario}`", h.scenario);
        }
        if h.seed != seed {
            return format!("seed {}, here {seed}", h.seed);
        }
        if h.inputs.scenario != inputs.scenario {
            return format!("another scenario `{scenario}`, or with other settings");
        }
        let profiles: Vec<&str> = (h.inputs.profiles.iter())
            .chain(&inputs.profiles)
            .filter(|(name, _)| h.inputs.profiles.get(*name) != inputs.profiles.get(*name))
            .map(|(name, _)| name.as_str())
            .collect();
        if let Some(name) = profiles.first() {
            return format!("cost profile `{name}` has other costs");
        }
        let differing = inputs.files.iter().find(|file| !h.inputs.files.contains(file));
        match differing {
            Some(file) => format!("file `{}` has changed", file.name),
            None => "other files".to_owned(),
        }
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*first), rest))
}
