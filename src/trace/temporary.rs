//! Temporary files and folders: what is being written, until it is whole.
//!
//! A result is built beside its destination under a name of its own and renamed when it is complete. The name is free
//! when it is taken, and taken in one step with its creation (`O_EXCL`), so that nothing that stands there is followed, emptied
//! or removed: process ids repeat (a container's is always 1), and what another process left is not ours to touch.
//!
//! What exists now is in one list, and an interrupted process removes it ([`abandon_all`]); one that is killed leaves it.
//!
//! **Replacing a folder** takes two renames. A process that is killed between the two leaves the earlier folder under
//! `NAME.old-..` alone; the next one that writes to NAME puts it back first ([`mend`]).
//!
//! Cost: O(log of what is being written) a file.
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::disk;

/// So many names are tried.
const TRIES: u32 = 100_000;
/// So often a folder is removed into which another thread still writes.
const REMOVALS: u32 = 20;

/// What is being written. Whoever holds the lock keeps an interrupted process alive, until its rename is complete.
static EXISTING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn existing() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    EXISTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what is half-written, for a process that is about to be interrupted. Nothing can be published after.
pub fn abandon_all() {
    let paths = existing();
    for path in paths.iter() {
        for _ in 0..REMOVALS {
            match disk::remove(path) {
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
                _ => break,
            }
        }
    }
    // Never unlocked: a thread that wants to publish now waits until the process is gone.
    std::mem::forget(paths);
}

/// The names that are tried: the process's id says whose it is, a number tells several apart.
fn names(parent: &Path, before: &str) -> impl Iterator<Item = PathBuf> {
    let pid = std::process::id();
    (0..TRIES).map(move |n| {
        let name = if n == 0 { format!("{before}{pid}") } else { format!("{before}{pid}-{n}") };
        parent.join(name)
    })
}

/// Whether a name is `BEFORE` and what [`names`] puts behind it.
fn is_of(name: &str, before: &str) -> bool {
    name.strip_prefix(before).is_some_and(|n| {
        n.bytes().any(|b| b.is_ascii_digit()) && n.bytes().all(|b| b.is_ascii_digit() || b == b'-')
    })
}

/// Whether a path has the form `NAME.tmp-..` of a file or folder that is being written, or was when its process was killed.
#[must_use]
pub fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.rfind(".tmp-").is_some_and(|at| at > 0 && is_of(&name[at..], ".tmp-"))
}

fn none_free(parent: &Path, before: &str) -> io::Error {
    let message =
        format!("no name `{before}..` is free in {}; remove what earlier runs left there", parent.display());
    io::Error::new(ErrorKind::AlreadyExists, message)
}

/// The folder in which a path stands.
#[must_use]
pub fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file or folder under a temporary name, which goes when this does.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    kept: bool,
}

impl Temporary {
    fn make<T>(parent: &Path, before: &str, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(Self, T)> {
        let mut paths = existing();
        for path in names(parent, before) {
            match make(&path) {
                Ok(made) => {
                    paths.insert(path.clone());
                    return Ok((Self { path, kept: false }, made));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(none_free(parent, before))
    }

    /// A new file in `parent`, named `before` and something.
    ///
    /// # Errors
    /// The file system's.
    pub fn file(parent: &Path, before: &str) -> io::Result<(Self, File)> {
        Self::make(parent, before, disk::create_new)
    }

    /// A new folder in `parent`, named `before` and something.
    ///
    /// # Errors
    /// The file system's.
    pub fn folder(parent: &Path, before: &str) -> io::Result<Self> {
        Ok(Self::make(parent, before, disk::create_folder)?.0)
    }

    /// Where it stands now.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn keep(mut self, mut paths: MutexGuard<'_, BTreeSet<PathBuf>>) {
        paths.remove(&self.path);
        self.kept = true;
    }

    /// Gives it its name, to stay; a file that stands there is replaced.
    ///
    /// # Errors
    /// The file system's; then it is gone, and what stood there is as it was.
    pub fn publish(self, target: &Path) -> io::Result<()> {
        let paths = existing();
        if let Err(error) = disk::rename(&self.path, target) {
            drop(paths);
            return Err(error);
        }
        self.keep(paths);
        disk::sync_folder_if_can(parent_of(target));
        Ok(())
    }

    /// Gives a folder its name, to stay, and removes the one that stands there, which is called `old_before` and something
    /// meanwhile.
    ///
    /// # Errors
    /// The file system's; then it is gone, and what stood there is as it was.
    pub fn replace(self, target: &Path, old_before: &str) -> io::Result<()> {
        if fs::symlink_metadata(target).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return self.publish(target);
        }
        let parent = parent_of(target);
        let mut paths = existing();
        let mut free = names(parent, old_before);
        let free = free.find(|path| fs::symlink_metadata(path).is_err());
        let renamed = match free {
            None => Err(none_free(parent, old_before)),
            Some(old) => disk::rename(target, &old).and_then(|()| {
                disk::rename(&self.path, target).map(|()| old.clone()).inspect_err(|_| {
                    let _ = disk::rename(&old, target);
                })
            }),
        };
        match renamed {
            Ok(old) => {
                // Whoever is interrupted now removes what is left of it.
                paths.insert(old.clone());
                self.keep(paths);
                // Before the old one goes: after a power cut its name may be the target's again, and it has to be whole.
                disk::sync_folder_if_can(parent);
                drop(Self { path: old, kept: false });
                Ok(())
            }
            Err(error) => {
                drop(paths);
                Err(error)
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            let _ = disk::remove(&self.path);
            existing().remove(&self.path);
        }
    }
}

/// Puts a folder back that a process left under `old_before` and something when it was killed while it replaced `target`;
/// where it was. Several: the last one.
#[must_use]
pub fn mend(target: &Path, old_before: &str, is_ours: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    if !fs::symlink_metadata(target).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return None;
    }
    let left = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let metadata = entry.metadata().ok().filter(fs::Metadata::is_dir)?;
        let fits = is_of(&entry.file_name().to_string_lossy(), old_before) && is_ours(&entry.path());
        fits.then(|| (metadata.modified().ok(), entry.path()))
    };
    let old = fs::read_dir(parent_of(target)).ok()?.filter_map(left).max()?.1;
    let _paths = existing();
    disk::rename(&old, target).ok()?;
    disk::sync_folder_if_can(parent_of(target));
    Some(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_there_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let pid = std::process::id();
        fs::write(at("precious"), "mine").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(at("precious"), at(&format!("out.tmp-{pid}"))).unwrap();
        #[cfg(not(unix))]
        fs::write(at(&format!("out.tmp-{pid}")), "").unwrap();
        let (temporary, mut file) = Temporary::file(folder.path(), "out.tmp-").unwrap();
        assert_eq!(temporary.path(), at(&format!("out.tmp-{pid}-1")));
        assert!(is_temporary(temporary.path()) && is_temporary(Path::new("x.tmp-12")));
        assert!(!is_temporary(Path::new(".tmp-12")) && !is_temporary(Path::new("x.tmp-")));
        io::Write::write_all(&mut file, b"new").unwrap();
        temporary.publish(&at("out")).unwrap();
        assert_eq!(fs::read(at("out")).unwrap(), b"new");
        assert_eq!(fs::read(at("precious")).unwrap(), b"mine");
    }

    #[test]
    fn a_folder_is_replaced_past_what_others_left() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let left = at(&format!("r.old-{}", std::process::id()));
        for (path, text) in [(at("r"), "first"), (left.clone(), "of another")] {
            fs::create_dir(&path).unwrap();
            fs::write(path.join("file"), text).unwrap();
        }
        let new = Temporary::folder(folder.path(), "r.tmp-").unwrap();
        fs::write(new.path().join("file"), "second").unwrap();
        new.replace(&at("r"), "r.old-").unwrap();
        assert_eq!(fs::read(at("r").join("file")).unwrap(), b"second");
        assert_eq!(fs::read(left.join("file")).unwrap(), b"of another");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_a_killed_process_left_is_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("r.old-1")).unwrap();
        assert_eq!(mend(&at("r"), "r.old-", |_| false), None);
        assert_eq!(mend(&at("other"), "other.old-", |_| true), None);
        assert_eq!(mend(&at("r"), "r.old-", |_| true), Some(at("r.old-1")));
        assert!(at("r").is_dir());
        // What is there needs no mending.
        fs::create_dir(at("r.old-2")).unwrap();
        assert_eq!(mend(&at("r"), "r.old-", |_| true), None);
    }
}
