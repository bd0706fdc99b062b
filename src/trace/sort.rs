//! Sorting more rows than fit in memory.
//!
//! Importers find rows in the source's order; traces are ordered by time. [`Sorter`] keeps encoded rows in one
//! arena up to a budget, sorts them by (key, order of arrival), writes the run to a temporary file, and merges all
//! runs at the end. A trace that fits the budget never touches the disk. Memory: the budget plus 64 KiB a run;
//! time O(n log n) with sequential I/O only.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use super::error::TraceError;

/// A row that can be written to bytes and read back.
pub trait Spill: Sized {
    /// Appends the row.
    fn encode(&self, out: &mut Vec<u8>);
    /// Takes a row written by `encode` off the front.
    fn decode(input: &mut &[u8]) -> Self;
}

/// Appends a number, 7 bits a byte.
pub fn put_u64(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Takes a number off the front.
pub fn get_u64(input: &mut &[u8]) -> u64 {
    let (mut n, mut shift) = (0u64, 0);
    while let Some((&b, rest)) = input.split_first() {
        *input = rest;
        n |= u64::from(b & 0x7f) << shift;
        if b < 0x80 {
            break;
        }
        shift += 7;
    }
    n
}

/// Appends a signed number.
pub fn put_i64(out: &mut Vec<u8>, n: i64) {
    put_u64(out, ((n << 1) ^ (n >> 63)) as u64);
}

/// Takes a signed number off the front.
pub fn get_i64(input: &mut &[u8]) -> i64 {
    let n = get_u64(input);
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Appends a number or nothing.
pub fn put_option(out: &mut Vec<u8>, n: Option<i64>) {
    match n {
        None => out.push(0),
        Some(n) => {
            out.push(1);
            put_i64(out, n);
        }
    }
}

/// Takes a number or nothing off the front.
pub fn get_option(input: &mut &[u8]) -> Option<i64> {
    (get_u64(input) == 1).then(|| get_i64(input))
}

/// Appends a text.
pub fn put_str(out: &mut Vec<u8>, s: &str) {
    put_u64(out, s.len() as u64);
    out.extend_from_slice(s.as_bytes());
}

/// Takes a text off the front.
pub fn get_str(input: &mut &[u8]) -> String {
    let n = get_u64(input) as usize;
    let (text, rest) = input.split_at(n.min(input.len()));
    *input = rest;
    String::from_utf8_lossy(text).into_owned()
}

struct Entry {
    key: i64,
    order: u64,
    start: usize,
}

/// Collects rows with keys; gives them back in order of (key, arrival).
pub struct Sorter<T> {
    folder: PathBuf,
    name: &'static str,
    budget: usize,
    arena: Vec<u8>,
    index: Vec<Entry>,
    runs: Vec<PathBuf>,
    count: u64,
    row: PhantomData<T>,
}

impl<T: Spill> Sorter<T> {
    /// Runs go to `folder` when more than `budget` bytes are held.
    pub fn new(folder: &Path, name: &'static str, budget: usize) -> Sorter<T> {
        Sorter {
            folder: folder.to_path_buf(),
            name,
            budget,
            arena: Vec::new(),
            index: Vec::new(),
            runs: Vec::new(),
            count: 0,
            row: PhantomData,
        }
    }

    /// Rows so far.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a row.
    pub fn push(&mut self, key: i64, row: &T) -> Result<(), TraceError> {
        let start = self.arena.len();
        row.encode(&mut self.arena);
        self.index.push(Entry { key, order: self.count, start });
        self.count += 1;
        if self.arena.len() + self.index.len() * size_of::<Entry>() > self.budget {
            self.spill()?;
        }
        Ok(())
    }

    fn sort(&mut self) {
        if !self.index.is_sorted_by_key(|e| (e.key, e.order)) {
            self.index.sort_unstable_by_key(|e| (e.key, e.order));
        }
    }

    fn end_of(&self, start: usize, ends: &[usize]) -> usize {
        // Rows lie in the arena in order of arrival: a row ends where the next one starts.
        match ends.binary_search(&start) {
            Ok(i) if i + 1 < ends.len() => ends[i + 1],
            _ => self.arena.len(),
        }
    }

    fn spill(&mut self) -> Result<(), TraceError> {
        let starts: Vec<usize> = self.index.iter().map(|e| e.start).collect();
        self.sort();
        let path = self.folder.join(format!("{}.run{}", self.name, self.runs.len()));
        let file = File::create(&path).map_err(|e| TraceError::io(&path, e))?;
        let mut out = BufWriter::with_capacity(256 << 10, file);
        let mut head = Vec::new();
        for e in &self.index {
            let row = &self.arena[e.start..self.end_of(e.start, &starts)];
            head.clear();
            put_i64(&mut head, e.key);
            put_u64(&mut head, e.order);
            put_u64(&mut head, row.len() as u64);
            out.write_all(&head).and_then(|()| out.write_all(row)).map_err(|e| TraceError::io(&path, e))?;
        }
        out.flush().map_err(|e| TraceError::io(&path, e))?;
        self.runs.push(path);
        self.arena.clear();
        self.index.clear();
        Ok(())
    }

    /// All rows in order.
    pub fn finish(mut self) -> Result<Sorted<T>, TraceError> {
        if self.runs.is_empty() {
            self.sort();
            let order = self.index.iter().map(|e| (e.key, e.start)).collect();
            return Ok(Sorted {
                memory: Some((self.arena, order, 0)),
                runs: Vec::new(),
                heap: BinaryHeap::new(),
                row: PhantomData,
            });
        }
        if !self.index.is_empty() {
            self.spill()?;
        }
        self.arena = Vec::new();
        self.index = Vec::new();
        let mut runs = Vec::new();
        let mut heap = BinaryHeap::new();
        for (i, path) in self.runs.iter().enumerate() {
            let file = File::open(path).map_err(|e| TraceError::io(path, e))?;
            let mut run =
                Run { reader: BufReader::with_capacity(64 << 10, file), path: path.clone(), row: Vec::new() };
            if let Some((key, order)) = run.advance()? {
                heap.push(Reverse((key, order, i)));
            }
            runs.push(run);
        }
        Ok(Sorted { memory: None, runs, heap, row: PhantomData })
    }
}

struct Run {
    reader: BufReader<File>,
    path: PathBuf,
    row: Vec<u8>,
}

impl Run {
    fn number(&mut self) -> std::io::Result<Option<u64>> {
        let (mut n, mut shift) = (0u64, 0);
        let mut byte = [0u8];
        loop {
            if self.reader.read(&mut byte)? == 0 {
                return Ok(None);
            }
            n |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(Some(n));
            }
            shift += 7;
        }
    }

    fn advance(&mut self) -> Result<Option<(i64, u64)>, TraceError> {
        let read = |run: &mut Run| -> std::io::Result<Option<(i64, u64)>> {
            let Some(key) = run.number()? else { return Ok(None) };
            let key = (key >> 1) as i64 ^ -((key & 1) as i64);
            let short = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            let order = run.number()?.ok_or_else(short)?;
            let len = run.number()?.ok_or_else(short)?;
            run.row.resize(len as usize, 0);
            run.reader.read_exact(&mut run.row)?;
            Ok(Some((key, order)))
        };
        read(self).map_err(|e| TraceError::io(&self.path, e))
    }
}

/// Rows that fitted the budget: the arena, (key, start) in order, and the next one to give.
type InMemory = (Vec<u8>, Vec<(i64, usize)>, usize);

/// Rows in order; removes the temporary files as it ends.
pub struct Sorted<T> {
    memory: Option<InMemory>,
    runs: Vec<Run>,
    heap: BinaryHeap<Reverse<(i64, u64, usize)>>,
    row: PhantomData<T>,
}

impl<T: Spill> Sorted<T> {
    /// The next row and its key.
    pub fn next_row(&mut self) -> Result<Option<(i64, T)>, TraceError> {
        if let Some((arena, order, at)) = &mut self.memory {
            let Some(&(key, start)) = order.get(*at) else { return Ok(None) };
            *at += 1;
            return Ok(Some((key, T::decode(&mut &arena[start..]))));
        }
        let Some(Reverse((key, _, i))) = self.heap.pop() else { return Ok(None) };
        let row = T::decode(&mut self.runs[i].row.as_slice());
        if let Some((key, order)) = self.runs[i].advance()? {
            self.heap.push(Reverse((key, order, i)));
        }
        Ok(Some((key, row)))
    }
}

impl<T> Drop for Sorted<T> {
    fn drop(&mut self) {
        for run in &self.runs {
            let _ = std::fs::remove_file(&run.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Clone)]
    struct Row(i64, String, Option<i64>);

    impl Spill for Row {
        fn encode(&self, out: &mut Vec<u8>) {
            put_i64(out, self.0);
            put_str(out, &self.1);
            put_option(out, self.2);
        }
        fn decode(input: &mut &[u8]) -> Row {
            Row(get_i64(input), get_str(input), get_option(input))
        }
    }

    proptest! {
        #[test]
        fn spilled_or_not_it_is_a_stable_sort(
            rows in prop::collection::vec((any::<i64>(), 0i64..5, "\\PC{0,12}", any::<Option<i64>>()), 0..200),
            budget in 64usize..4096,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::new(folder.path(), "t", budget);
            let mut expected = Vec::new();
            for (v, key, text, option) in rows {
                let row = Row(v, text, option);
                sorter.push(key, &row).unwrap();
                expected.push((key, row));
            }
            expected.sort_by_key(|(key, _)| *key);
            let mut sorted = sorter.finish().unwrap();
            let mut got = Vec::new();
            while let Some(row) = sorted.next_row().unwrap() {
                got.push(row);
            }
            drop(sorted);
            prop_assert_eq!(got, expected);
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
