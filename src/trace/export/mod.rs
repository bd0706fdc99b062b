//! Native traces to other forms, one file each.
//!
//! | format | what |
//! |---|---|
//! | `native` | the same trace as Parquet or JSON Lines |
//! | [`k8s`](kubernetes) | Kubernetes manifests, a schedule and what replays them on a real cluster |
//! | [`swf`] | Standard Workload Format, one job a pod |
//! | [`csv`] | `pods.csv` with requests joined, `nodes.csv` |
//! | [`simkube`] | a SimKube trace in JSON |
//!
//! Everything streams. What a form cannot hold is left out; each file says what that is, and counts of what a reader would
//! not expect come back as notes. Files are written under a temporary name and renamed, like traces.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::error::TraceError;
use super::fates::Fates;
use super::import::{self, ImportOptions};
use super::model::{OutcomeRow, PodRow, SpecRow};
use super::native::{self, TraceReader};
use super::report::thousands;
use super::temporary::{Temporary, parent_of};

pub mod csv;
pub mod kubernetes;
pub mod simkube;
pub mod swf;

/// Formats that [`export`] writes.
pub const FORMATS: &[&str] = &["native", "k8s", "swf", "csv", "simkube"];

/// Exports the native trace at `path` to `out` (a folder; for `swf` and `simkube` a file).
///
/// What comes back is what the reader of the export should know.
///
/// # Errors
/// [`TraceError::Usage`] for an unknown format or a target that exists.
pub fn export(
    path: &Path,
    format: &str,
    out: &Path,
    options: &ImportOptions,
) -> Result<Vec<String>, TraceError> {
    match format {
        "native" => import::import("native", &[path.to_path_buf()], out, options).map(|_| Vec::new()),
        "k8s" => folder(out, |dir| kubernetes::write(&native::open(path)?, dir)),
        "csv" => folder(out, |dir| csv::write(&native::open(path)?, dir)),
        "swf" => file(out, |w| swf::write(&native::open(path)?, w)),
        "simkube" => file(out, |w| simkube::write(&native::open(path)?, w)),
        other => {
            Err(TraceError::Usage(format!("unknown export format {other:?}; known: {}", FORMATS.join(", "))))
        }
    }
}

/// What stands before the temporary name of a file or folder that is not there yet; its parent is made.
fn refuse_existing(out: &Path) -> Result<String, TraceError> {
    if fs::symlink_metadata(out).is_ok() {
        return Err(TraceError::Usage(format!("{}: already there; choose another name", out.display())));
    }
    let name = out
        .file_name()
        .ok_or_else(|| TraceError::Usage(format!("{}: name a file or folder to write", out.display())))?;
    let parent = parent_of(out);
    fs::create_dir_all(parent).map_err(|e| TraceError::io(parent, e))?;
    Ok(format!(".{}.writing-", name.to_string_lossy()))
}

fn folder(
    out: &Path,
    write: impl FnOnce(&Path) -> Result<Vec<String>, TraceError>,
) -> Result<Vec<String>, TraceError> {
    let before = refuse_existing(out)?;
    let temporary = Temporary::folder(parent_of(out), &before).map_err(|e| TraceError::io(out, e))?;
    let notes = write(temporary.path())?;
    temporary.publish(out).map_err(|e| TraceError::io(out, e))?;
    Ok(notes)
}

fn file(
    out: &Path,
    write: impl FnOnce(&mut Out) -> Result<Vec<String>, TraceError>,
) -> Result<Vec<String>, TraceError> {
    let before = refuse_existing(out)?;
    let (temporary, opened) = Temporary::file(parent_of(out), &before).map_err(|e| TraceError::io(out, e))?;
    let mut w = Out::new(temporary.path(), opened);
    let notes = write(&mut w)?;
    w.finish()?;
    temporary.publish(out).map_err(|e| TraceError::io(out, e))?;
    Ok(notes)
}

/// A file that is written, and how far.
pub(super) struct Out {
    path: PathBuf,
    out: Option<BufWriter<File>>,
    at: u64,
}

impl Out {
    fn new(path: &Path, file: File) -> Out {
        Out { path: path.to_path_buf(), out: Some(BufWriter::with_capacity(256 << 10, file)), at: 0 }
    }

    fn create(path: &Path) -> Result<Out, TraceError> {
        Ok(Out::new(path, File::create(path).map_err(|e| TraceError::io(path, e))?))
    }

    fn line(&mut self, text: &str) -> Result<(), TraceError> {
        self.text(text)?;
        self.text("\n")
    }

    fn text(&mut self, text: &str) -> Result<(), TraceError> {
        let Some(out) = &mut self.out else { return Ok(()) };
        self.at += text.len() as u64;
        out.write_all(text.as_bytes()).map_err(|e| TraceError::io(&self.path, e))
    }

    fn finish(&mut self) -> Result<(), TraceError> {
        let Some(out) = self.out.take() else { return Ok(()) };
        let done = || -> std::io::Result<()> { out.into_inner().map_err(|e| e.into_error())?.sync_all() };
        done().map_err(|e| TraceError::io(&self.path, e))
    }
}

fn spec_of<'a>(specs: &'a [SpecRow], pod: &PodRow, reader: &TraceReader) -> Result<&'a SpecRow, TraceError> {
    specs.get(pod.spec_id as usize).ok_or_else(|| {
        TraceError::format(
            reader.path(),
            format!("pod {}: spec_id {} is not in specs; run validate", pod.uid, pod.spec_id),
        )
    })
}

/// Says that placeholders are no part of a form that knows only pods that do work.
fn without_placeholders(fates: &Fates) -> Vec<String> {
    match fates.placeholders() {
        0 => Vec::new(),
        n => vec![format!("{} placeholders of gangs are left out", thousands(n as u64))],
    }
}

/// Outcomes in step with their pods.
struct Outcomes {
    rows: native::RowReader<OutcomeRow>,
    next: Option<OutcomeRow>,
}

impl Outcomes {
    fn open(reader: &TraceReader) -> Result<Outcomes, TraceError> {
        let mut rows = reader.outcomes()?;
        let next = rows.next().transpose()?;
        Ok(Outcomes { rows, next })
    }

    fn of(&mut self, uid: &str) -> Result<Option<OutcomeRow>, TraceError> {
        if self.next.as_ref().is_none_or(|o| o.uid != uid) {
            return Ok(None);
        }
        let found = self.next.take();
        self.next = self.rows.next().transpose()?;
        Ok(found)
    }
}
