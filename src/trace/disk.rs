//! What results need of the file system to outlive a power cut: names that are given, changed and taken away, and syncs.
//!
//! After a power cut POSIX promises only what was synced: of a file its bytes, of a folder its names. Of everything else any
//! part may be there and any other part not, in whatever order it was done. Results and checkpoints, and whatever else is
//! written under a [temporary](super::temporary) name, do these operations through this module, so that tests can record
//! them as they are really done and ask what a power cut at each moment could leave (`recorder`, and the checker in
//! `src/experiment/power_cut.rs`).
//!
//! Assumed: a rename is one step, as on every file system that keeps a journal.
//!
//! Left out: bytes, which are written as ever; a recorder sees them by looking.
//!
//! Cost: the operations themselves.
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::temporary::parent_of;

/// What was done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Named,
    Renamed,
    Removed,
    Synced,
}

#[cfg(not(test))]
const fn told(_: Kind, _: &Path, _: &Path) {}

/// A recorded sync need not reach the disk.
#[cfg(not(test))]
const fn is_on() -> bool {
    false
}

#[cfg(test)]
use recorder::{is_on, told};

/// A new file; one that is there is an error.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    told(Kind::Named, path, path);
    Ok(file)
}

/// An empty file, whether it was there or not.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let file = File::create(path)?;
    told(Kind::Named, path, path);
    Ok(file)
}

/// A file to which lines are appended, made if it is not there.
pub(crate) fn append(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    told(Kind::Named, path, path);
    Ok(file)
}

/// A new folder.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    told(Kind::Named, path, path);
    Ok(())
}

/// A folder and all above it that are not there, each of them to stay.
pub(crate) fn create_folders(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    create_folders(parent_of(path))?;
    match create_folder(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    sync_folder_if_can(parent_of(path));
    Ok(())
}

/// Another name in the same folder; a file that stands there is replaced.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    told(Kind::Renamed, from, to);
    Ok(())
}

/// Takes a file away, or a folder with all that is in it.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }?;
    told(Kind::Removed, path, path);
    Ok(())
}

/// When this returns, the file's bytes stay.
pub(crate) fn sync(file: &File, path: &Path) -> io::Result<()> {
    if !is_on() {
        file.sync_all()?;
    }
    told(Kind::Synced, path, path);
    Ok(())
}

/// When this returns, the names in a folder stay.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|folder| sync(&folder, path))
}

/// Makes the names in a folder stay where the system can; a folder can't be opened everywhere.
pub(crate) fn sync_folder_if_can(path: &Path) {
    let _ = sync_folder(path);
}

/// What this thread does, in order, with the folder's files after each step.
#[cfg(test)]
pub(crate) mod recorder {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use super::Kind;

    /// Bytes of files by path; none: a folder.
    pub(crate) type Tree = BTreeMap<PathBuf, Option<Arc<[u8]>>>;

    /// One step, with paths from the recorded folder.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) enum Change {
        /// Made, or opened to be written.
        Named(PathBuf),
        /// From, to.
        Renamed(PathBuf, PathBuf),
        /// With all that was in it.
        Removed(PathBuf),
        /// A file or a folder.
        Synced(PathBuf),
        /// Nothing was done: somebody was told that something has been done.
        Told(String),
    }

    struct Recording {
        root: PathBuf,
        steps: Vec<(Change, Tree)>,
    }

    thread_local! {
        static RECORDING: RefCell<Option<Recording>> = const { RefCell::new(None) };
    }

    /// Whether this thread is recorded; then no sync reaches the disk, which makes tests quick.
    pub(super) fn is_on() -> bool {
        RECORDING.with_borrow(Option::is_some)
    }

    fn note(change: impl FnOnce(&Path) -> Option<Change>) {
        RECORDING.with_borrow_mut(|recording| {
            let Some(recording) = recording else { return };
            if let Some(change) = change(&recording.root) {
                recording.steps.push((change, tree(&recording.root)));
            }
        });
    }

    pub(super) fn told(kind: Kind, path: &Path, to: &Path) {
        note(|root| {
            let within = |path: &Path| path.strip_prefix(root).ok().map(Path::to_owned);
            Some(match kind {
                Kind::Named => Change::Named(within(path)?),
                Kind::Renamed => Change::Renamed(within(path)?, within(to)?),
                Kind::Removed => Change::Removed(within(path)?),
                Kind::Synced => Change::Synced(within(path)?),
            })
        });
    }

    /// Notes that somebody is told.
    pub(crate) fn tell(what: String) {
        note(|_| Some(Change::Told(what)));
    }

    /// Records what `work` does in a folder.
    pub(crate) fn record<T>(root: &Path, work: impl FnOnce() -> T) -> (T, Vec<(Change, Tree)>) {
        RECORDING.set(Some(Recording { root: root.to_owned(), steps: Vec::new() }));
        let done = work();
        let steps = RECORDING.take().map_or_else(Vec::new, |recording| recording.steps);
        (done, steps)
    }

    /// All that is in a folder now.
    pub(crate) fn tree(root: &Path) -> Tree {
        let mut tree = Tree::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder").flatten() {
                let path = entry.path();
                let within = path.strip_prefix(root).expect("within").to_owned();
                if path.is_dir() {
                    tree.insert(within, None);
                    folders.push(path);
                } else {
                    tree.insert(within, Some(fs::read(&path).expect("a file").into()));
                }
            }
        }
        tree
    }
}
