//! Every power cut at every moment of writing results: a model of a POSIX file system, and what is asked of each state.
//!
//! The operations are not written down here: the writers themselves run, and `trace::disk` records what they do. The model
//! replays that. It holds, for each file, the bytes that were synced and those that were written; for each folder, the names
//! that were synced and the changes since. A power cut leaves of a folder's changes any subset (in their order), and of a file
//! that was not synced the old bytes, the new ones, a part of them, or zeros in their place. After every operation the model's
//! names are compared with the real folder's, so that an operation that goes past `trace::disk` fails the test.
//!
//! Of every state that can be left it is asked: is each file under its own name whole, the old one or the new one? Is
//! everything there of which somebody was told? Does the real `--resume` go on from it, to the bytes of a sweep that was
//! never interrupted, whatever a second power cut does to it?
//!
//! That the checker bites is tested, too: without a sync, any one of those that are needed, it finds a state that is wrong.
//!
//! Cost: states x a resumed sweep of two runs; some seconds.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::output::{MANIFEST, Staging, is_temporary, mend, write_atomically};
use super::run::{Environment, Summary, sha256_hex};
use super::store::{Store, file_name};
use super::sweep::{Options, Point, SweepError, SweepRow, grid, run};
use crate::cost::ProfileLibrary;
use crate::scenario::Document;
use crate::trace::disk::recorder::{Change, Tree, record, tell, tree};

type Bytes = Arc<[u8]>;
type Names = BTreeMap<String, usize>;

#[derive(Clone)]
enum Node {
    File { synced: Bytes, written: Bytes },
    Folder { synced: Names, now: Names, changes: Vec<Vec<(String, Option<usize>)>> },
}

/// The model; node 0 is the recorded folder.
#[derive(Clone)]
struct Disk(Vec<Node>);

impl Disk {
    /// All that is there is synced.
    fn new(tree: &Tree) -> Self {
        let mut disk = Self(vec![Self::folder()]);
        for (path, content) in tree {
            let node = content.as_ref().map_or_else(Self::folder, |bytes| Node::File {
                synced: Arc::clone(bytes),
                written: Arc::clone(bytes),
            });
            disk.add(path, node);
        }
        for node in &mut disk.0 {
            if let Node::Folder { synced, now, changes } = node {
                synced.clone_from(now);
                changes.clear();
            }
        }
        disk
    }

    const fn folder() -> Node {
        Node::Folder { synced: Names::new(), now: Names::new(), changes: Vec::new() }
    }

    fn find(&self, path: &Path) -> Option<usize> {
        path.components().try_fold(0, |at, name| match &self.0[at] {
            Node::Folder { now, .. } => now.get(&*name.as_os_str().to_string_lossy()).copied(),
            Node::File { .. } => None,
        })
    }

    /// Changes names of one folder in one step.
    fn change(&mut self, folder: &Path, changes: Vec<(String, Option<usize>)>) {
        let at = self.find(folder).expect("the folder is there");
        let Node::Folder { now, changes: all, .. } = &mut self.0[at] else { panic!("{folder:?} is a file") };
        for (name, node) in &changes {
            match node {
                Some(node) => now.insert(name.clone(), *node),
                None => now.remove(name),
            };
        }
        all.push(changes);
    }

    fn add(&mut self, path: &Path, node: Node) {
        self.0.push(node);
        let node = self.0.len() - 1;
        self.change(within(path), vec![(name(path), Some(node))]);
    }

    fn remove(&mut self, path: &Path) {
        let at = self.find(path).expect("it is there");
        if let Node::Folder { now, .. } = &self.0[at] {
            for name in now.keys().cloned().collect::<Vec<_>>() {
                self.remove(&path.join(name));
            }
        }
        self.change(within(path), vec![(name(path), None)]);
    }

    /// Does what was done, but for syncs; `after` is what the real folder then was.
    fn apply(&mut self, change: &Change, after: &Tree) {
        match change {
            Change::Named(path) if self.find(path).is_none() => {
                let nothing: Bytes = [].into();
                let node = match after[path] {
                    None => Self::folder(),
                    Some(_) => Node::File { synced: Arc::clone(&nothing), written: nothing },
                };
                self.add(path, node);
            }
            Change::Renamed(from, to) => {
                assert_eq!(within(from), within(to), "a rename in one folder");
                let node = self.find(from).expect("it is there");
                self.change(within(from), vec![(name(from), None), (name(to), Some(node))]);
            }
            Change::Removed(path) => self.remove(path),
            Change::Named(_) | Change::Synced(_) | Change::Told(_) => {}
        }
        let mut there = BTreeSet::new();
        self.names(0, Path::new(""), &mut there);
        assert!(there.iter().eq(after.keys()), "an operation went past `trace::disk` before {change:?}");
        for (path, content) in after {
            let at = self.find(path).expect("it is there");
            if let (Node::File { written, .. }, Some(bytes)) = (&mut self.0[at], content) {
                *written = Arc::clone(bytes);
            }
        }
    }

    fn sync(&mut self, path: &Path) {
        let at = self.find(path).expect("it is there");
        match &mut self.0[at] {
            Node::File { synced, written } => *synced = Arc::clone(written),
            Node::Folder { synced, now, changes } => {
                synced.clone_from(now);
                changes.clear();
            }
        }
    }

    fn names(&self, at: usize, path: &Path, found: &mut BTreeSet<PathBuf>) {
        let Node::Folder { now, .. } = &self.0[at] else { return };
        for (name, node) in now {
            found.insert(path.join(name));
            self.names(*node, &path.join(name), found);
        }
    }

    /// Everything that a power cut can leave of a node.
    fn cut(&self, at: usize) -> BTreeSet<Tree> {
        match &self.0[at] {
            Node::File { synced, written } => bytes_left(synced, written)
                .into_iter()
                .map(|bytes| Tree::from([(PathBuf::new(), Some(bytes))]))
                .collect(),
            Node::Folder { synced, changes, .. } => {
                assert!(changes.len() <= 16, "too many changes are not synced to try all of them");
                let mut left = BTreeSet::new();
                let names: BTreeSet<Names> =
                    (0..1u32 << changes.len()).map(|subset| names_left(synced, changes, subset)).collect();
                for names in names {
                    let mut trees = vec![Tree::from([(PathBuf::new(), None)])];
                    for (name, node) in names {
                        let below = self.cut(node);
                        trees = trees
                            .iter()
                            .flat_map(|tree| below.iter().map(|below| joined(tree, &name, below)))
                            .collect();
                    }
                    left.extend(trees);
                }
                left
            }
        }
    }
}

fn within(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

fn names_left(synced: &Names, changes: &[Vec<(String, Option<usize>)>], subset: u32) -> Names {
    let mut names = synced.clone();
    for (_, change) in changes.iter().enumerate().filter(|(n, _)| subset >> n & 1 == 1) {
        for (name, node) in change {
            match node {
                Some(node) => names.insert(name.clone(), *node),
                None => names.remove(name),
            };
        }
    }
    names
}

fn bytes_left(synced: &Bytes, written: &Bytes) -> BTreeSet<Bytes> {
    let mut left = BTreeSet::from([Arc::clone(synced), Arc::clone(written)]);
    if synced != written {
        let same = synced.iter().zip(written.iter()).take_while(|(a, b)| a == b).count();
        let some = same + (written.len() - same) / 2;
        left.insert(written[..same].into());
        left.insert(written[..some].into());
        // As long as it should be, without its bytes, or without the first of them.
        for until in [written.len(), some] {
            let is_lost = |n: usize| n >= same && n < until;
            left.insert(
                written.iter().enumerate().map(|(n, byte)| if is_lost(n) { 0 } else { *byte }).collect(),
            );
        }
    }
    left
}

fn joined(tree: &Tree, name: &str, below: &Tree) -> Tree {
    let mut tree = tree.clone();
    let path = |at: &PathBuf| if at.as_os_str().is_empty() { name.into() } else { Path::new(name).join(at) };
    tree.extend(below.iter().map(|(at, content)| (path(at), content.clone())));
    tree
}

/// Every state that a power cut at any moment can leave, with how many things had been told by then (the most, if several
/// moments leave the same); `skip` is a sync that is left out.
fn states(before: &Tree, steps: &[(Change, Tree)], skip: Option<usize>) -> BTreeMap<Tree, usize> {
    let mut disk = Disk::new(before);
    let mut states = BTreeMap::new();
    let mut told = 0;
    let mut note = |disk: &Disk, told: usize| {
        for mut tree in disk.cut(0) {
            tree.remove(Path::new(""));
            states.insert(tree, told);
        }
    };
    note(&disk, 0);
    for (n, (change, after)) in steps.iter().enumerate() {
        disk.apply(change, after);
        note(&disk, told);
        match change {
            Change::Synced(path) if skip != Some(n) => disk.sync(path),
            Change::Told(_) => told += 1,
            _ => continue,
        }
        note(&disk, told);
    }
    states
}

/// The syncs without which, one at a time, nothing is found; each of the others is needed.
fn spare_syncs(steps: &[(Change, Tree)], finds: impl Fn(usize) -> bool) -> Vec<String> {
    let path = |change: &Change| match change {
        Change::Synced(path) => Some(path.display().to_string()),
        _ => None,
    };
    let syncs = steps.iter().enumerate().filter_map(|(n, (change, _))| Some((n, path(change)?)));
    let spare = |(n, path): (usize, String)| if finds(n) { None } else { Some(path) };
    syncs.filter_map(spare).collect()
}

/// Puts a state on the real disk.
fn restore(state: &Tree, root: &Path) {
    for (path, content) in state {
        match content {
            None => fs::create_dir(root.join(path)).unwrap(),
            Some(bytes) => fs::write(root.join(path), bytes).unwrap(),
        }
    }
}

#[test]
fn a_file_is_the_old_one_or_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.ck");
    write_atomically(&path, b"podpace checkpoint, the old one").unwrap();
    let before = tree(folder.path());
    let ((), steps) = record(folder.path(), || {
        write_atomically(&path, b"podpace checkpoint, which is the new one").unwrap();
        tell("written".to_owned());
    });
    let after = tree(folder.path());
    let wrong = |skip| {
        let is_wrong = |(state, told): (&Tree, &usize)| {
            let own: Tree =
                state.iter().filter(|(p, _)| !is_temporary(p)).map(|(p, c)| (p.clone(), c.clone())).collect();
            own != after && (*told > 0 || own != before)
        };
        states(&before, &steps, skip).iter().filter(|state| is_wrong(*state)).count()
    };
    assert!(states(&before, &steps, None).len() >= 6);
    assert_eq!(wrong(None), 0);
    // The file before its rename, and the folder after it.
    assert_eq!(steps.iter().filter(|(change, _)| matches!(change, Change::Synced(_))).count(), 2);
    assert_eq!(spare_syncs(&steps, |n| wrong(Some(n)) > 0), Vec::<String>::new());
}

/// A result with a run in a folder of its own, as experiments have.
fn write_result(destination: &Path, text: &str) {
    let mut staging = Staging::new(destination).unwrap();
    for name in ["summary.json", "kube-1/summary.json", "kube-1/pods.csv"] {
        staging.file(name, |out| out.write_all(format!("{name} of the {text} result").as_bytes())).unwrap();
    }
    staging.unhashed("timing.json", text.as_bytes()).unwrap();
    staging.publish().unwrap();
}

#[test]
fn a_result_is_the_old_one_or_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("out/result");
    let of_result = |root: &Path| {
        let result = root.join("out/result");
        if result.exists() { Some(tree(&result)) } else { None }
    };
    // The first one, into a folder that is not there, then one that replaces it.
    for text in ["first", "second"] {
        let (before, old) = (tree(folder.path()), of_result(folder.path()));
        let ((), steps) = record(folder.path(), || {
            write_result(&destination, text);
            tell("written".to_owned());
        });
        let new = of_result(folder.path());
        let wrong = |skip| {
            let is_wrong = |(state, told): (&Tree, &usize)| {
                let root = tempfile::tempdir().unwrap();
                restore(state, root.path());
                // What the next command does that writes there.
                let _ = mend(&root.path().join("out/result"));
                let found = of_result(root.path());
                found != new && (*told > 0 || found != old)
            };
            states(&before, &steps, skip).iter().filter(|state| is_wrong(*state)).count()
        };
        assert!(states(&before, &steps, None).len() >= 30);
        assert_eq!(wrong(None), 0, "{text}");
        // The folder of a run, when it is made: it is synced again when all of it is there.
        let spare = spare_syncs(&steps, |n| wrong(Some(n)) > 0);
        assert!(spare.len() == 1 && spare[0].starts_with("out/result.tmp-"), "{spare:?}");
    }
}

/// A sweep of two runs, done once in memory.
struct Sweep {
    points: Vec<Point>,
    rows: Vec<SweepRow>,
    summaries: BTreeMap<String, Summary>,
}

const FOLDER: &str = "results/sweep";

impl Sweep {
    fn new() -> Self {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let profiles = ProfileLibrary::with_folder(&fixtures.join("models"));
        let environment = Environment { profiles, ..Environment::built_in() };
        let document = Document::load(&fixtures.join("ideal.yaml")).unwrap();
        let points = grid(&document, &["workload.arrivals.rate=10,20".to_owned()], Some(1)).unwrap();
        let summaries = Mutex::new(BTreeMap::new());
        let done = |done: super::sweep::Done<'_>| {
            summaries.lock().unwrap().insert(done.point.to_owned(), done.summary.clone());
        };
        let rows = run(&points, &environment, &Options::default(), done).unwrap().rows;
        Self { points, rows, summaries: summaries.into_inner().unwrap() }
    }

    /// What `podpace sweep --resume` does with a folder, telling of each run; which ones were there, and notes.
    fn write(&self, root: &Path) -> Result<(BTreeSet<String>, Vec<String>), SweepError> {
        let store = Store::open(&root.join(FOLDER), true)?;
        let mut there = BTreeSet::new();
        for point in &self.points {
            let name = point.name();
            let summary = &self.summaries[&name];
            if store.finished(&name, &point.run, &summary.inputs.all).is_some() {
                there.insert(name.clone());
            } else {
                store.keep(&name, summary)?;
            }
            tell(name);
        }
        let notes = store.notes();
        store.finish(&self.rows)?;
        tell("the sweep".to_owned());
        Ok((there, notes))
    }

    /// What is wrong with a state after so many were told of, by looking at its files.
    fn wrong(&self, state: &Tree, told: usize, whole: &Tree) -> Option<String> {
        let at = |name: &str| Path::new(FOLDER).join(name);
        let hashes = state.get(&at(".hashes")).cloned().flatten().unwrap_or_default();
        let hashes = String::from_utf8_lossy(&hashes).into_owned();
        let is_complete = state.contains_key(&at(MANIFEST));
        for (path, content) in state.iter().filter(|(path, _)| !is_temporary(path)) {
            let ours = !path.ends_with(".hashes") && !path.ends_with(".lock");
            if ours && whole.get(path) != Some(content) {
                return Some(format!("{} is not whole", path.display()));
            }
            if let (Some(bytes), true) = (content, path.starts_with(at("runs")) && !is_complete) {
                let line = format!("{} {}", sha256_hex(bytes), name(path));
                if !hashes.lines().any(|l| l == line) {
                    return Some(format!("{} has no line in .hashes", path.display()));
                }
            }
        }
        let runs = self.points.iter().map(|p| at("runs").join(file_name(&p.name(), p.run.seed, p.run.draw)));
        let lost = runs.take(told).find(|path| !state.contains_key(path));
        if told > self.points.len() && state != whole {
            return Some("the complete sweep is another".to_owned());
        }
        lost.map(|path| format!("{} is lost", path.display()))
    }
}

#[test]
fn a_sweep_loses_nothing_that_was_told_and_goes_on() {
    let sweep = Sweep::new();
    let folder = tempfile::tempdir().unwrap();
    let (done, steps) = record(folder.path(), || sweep.write(folder.path()));
    done.unwrap();
    let whole = tree(folder.path());
    let (nothing, first) = (Tree::new(), states(&Tree::new(), &steps, None));
    let mut second = 0;
    for (state, told) in &first {
        assert_eq!(sweep.wrong(state, *told, &whole), None, "{told}: {:?}", state.keys());
        let root = tempfile::tempdir().unwrap();
        restore(state, root.path());
        let (resumed, more) = record(root.path(), || sweep.write(root.path()));
        let (there, notes) = resumed.unwrap_or_else(|error| panic!("{error}: {:?}", state.keys()));
        assert!(there.len() >= (*told).min(2), "{:?}", state.keys());
        assert_eq!((notes, tree(root.path()) == whole), (Vec::new(), true), "{:?}", state.keys());
        for (again, more_told) in states(state, &more, None) {
            // What was told before is told still.
            let told = more_told.max((*told).min(2));
            assert_eq!(
                sweep.wrong(&again, told, &whole),
                None,
                "{:?}, then {:?}",
                state.keys(),
                again.keys()
            );
            second += 1;
        }
    }
    println!("{} operations, {} states, {second} after a second power cut", steps.len(), first.len());
    assert!(first.len() > 40 && second > 1_000, "{}, {second}", first.len());

    let finds = |n: usize| {
        states(&nothing, &steps, Some(n))
            .iter()
            .any(|(state, told)| sweep.wrong(state, *told, &whole).is_some())
    };
    let syncs = steps.iter().filter(|(change, _)| matches!(change, Change::Synced(_))).count();
    let spare = spare_syncs(&steps, finds);
    println!("{syncs} syncs, not needed here: {spare:?}");
    // The folders above are synced as they are made and when they are opened, the sweep's own folder again after each of its
    // tables and after the manifest: any one of these is made up for by the next.
    let folders = ["results", FOLDER, "results", FOLDER, FOLDER];
    assert_eq!(spare, folders);
    assert!(syncs >= spare.len() + 10, "{syncs}");
}
