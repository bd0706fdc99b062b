//! Where a trace's bytes come from: finding files, looking into archives, decompressing within limits.
//!
//! * **Finding.** A path is a file or a folder (walked in sorted order; hidden files and documents are passed over).
//! * **Archives.** A tar archive, compressed or not, stands for the files in it: `batch_task.tar.gz` is read as it was
//!   downloaded, without a copy on the disk. A member is read by reading the archive up to it.
//! * **Opening.** Compression is told by the first bytes (gzip 1f 8b, zstd 28 b5 2f fd), never by the name, so a
//!   renamed file opens. Concatenated gzip members and zstd frames are read to the end. Other packings (bzip2, xz, zip,
//!   7z) are named in the error and not taken for data.
//! * **Bombs.** Past the first 64 MiB a compressed file may expand [`MAX_EXPANSION`] times; a file that says it becomes
//!   more is refused where that happens. Who means it decompresses the file first.
//!
//! Sources: RFC 1952 (gzip), RFC 8878 (zstd), POSIX.1-2001 pax with GNU's long names (tar).
//! Cost: O(bytes) and a few hundred KiB; finding the members of an archive reads it once.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::error::{Problem, RowError, TraceError};

/// Times a compressed file may expand past its first [`EXPANSION_FREE`] bytes. Text tables reach 5 to 30, lists of
/// equal Kubernetes objects 100; gzip can do 1,032 and zstd any number.
pub const MAX_EXPANSION: u64 = 300;
/// Bytes that any compressed file may become.
pub const EXPANSION_FREE: u64 = 64 << 20;
/// Files in one archive.
const MAX_MEMBERS: usize = 100_000;
const BUFFER: usize = 256 << 10;

/// Fails for what is neither a file nor a folder: a pipe that nobody writes is waited for without end, a device has none.
/// What the shell hands over (`/dev/stdin`, and `/dev/fd/N` of `<(command)`) is read.
///
/// # Errors
/// It is a pipe, a socket or a device; the file system's.
pub fn refuse_special(path: &Path) -> io::Result<()> {
    let it = std::fs::metadata(path)?.file_type();
    let is_handed_over =
        ["/dev/stdin", "/dev/fd", "/proc/self/fd"].iter().any(|given| path.starts_with(given));
    if it.is_file() || it.is_dir() || is_handed_over {
        return Ok(());
    }
    let message = "is a pipe, a socket or a device; expected a regular file: write what it gives into one";
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

/// A file in a tar archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    name: String,
    /// Where its bytes begin in the archive, decompressed.
    offset: u64,
    size: u64,
}

/// A file to import.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InputFile {
    /// Where it, or the archive that holds it, is.
    pub path: PathBuf,
    /// Named by the user, and not merely found in a folder: then it has to be usable.
    pub explicit: bool,
    member: Option<Member>,
}

impl InputFile {
    /// A file that the user named.
    pub fn named(path: &Path) -> InputFile {
        InputFile { path: path.to_path_buf(), explicit: true, member: None }
    }

    /// As messages name it; a file in an archive is `ARCHIVE:MEMBER`.
    pub fn display(&self) -> String {
        match &self.member {
            None => self.path.display().to_string(),
            Some(member) => format!("{}:{}", self.path.display(), member.name),
        }
    }

    /// Whether it lies in an archive: such a file can be read from its beginning only.
    pub fn in_archive(&self) -> bool {
        self.member.is_some()
    }

    fn inner_path(&self) -> &Path {
        self.member.as_ref().map_or(&self.path, |member| Path::new(&member.name))
    }

    /// File name without folders.
    pub fn file_name(&self) -> String {
        self.inner_path().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The last three parts of the path in lower case: what formats tell tables apart by. For a file in an archive
    /// the archive's name is one of them.
    pub fn hint(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        if self.member.is_some() {
            parts.extend(self.path.file_name().map(|n| n.to_string_lossy().to_lowercase()));
        }
        parts.extend(self.inner_path().components().map(|c| c.as_os_str().to_string_lossy().to_lowercase()));
        parts[parts.len().saturating_sub(3)..].join("/")
    }

    /// The file's bytes, decompressed.
    ///
    /// # Errors
    /// It can't be opened, or is packed in a way that is not read.
    pub fn open(&self) -> Result<Box<dyn BufRead>, TraceError> {
        let Some(member) = &self.member else { return open(&self.path) };
        let mut archive = open(&self.path)?;
        let skipped = io::copy(&mut archive.by_ref().take(member.offset), &mut io::sink())
            .map_err(|e| TraceError::from(read_problem(&self.display(), 0, &e)))?;
        if skipped < member.offset {
            let early = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(read_problem(&self.display(), 0, &early).into());
        }
        let inside = Exactly { inner: archive, left: member.size };
        decompress(&self.display(), Box::new(BufReader::with_capacity(BUFFER, inside)))
    }
}

/// So many bytes, or an error.
struct Exactly {
    inner: Box<dyn BufRead>,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.inner.read(&mut out[..most])?;
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// All files under the paths: folders walked in sorted order, archives opened.
///
/// # Errors
/// A path is not there, holds no files, or is an archive that can't be read.
pub fn collect(paths: &[PathBuf]) -> Result<Vec<InputFile>, TraceError> {
    if paths.is_empty() {
        return Err(TraceError::Usage("no input: name at least one file or folder".into()));
    }
    let mut files = Vec::new();
    for path in paths {
        let meta = std::fs::metadata(path).map_err(|e| TraceError::io(path, e))?;
        let before = files.len();
        if meta.is_dir() {
            walk(path, 0, &mut files)?;
            if files.len() == before {
                return Err(TraceError::Usage(format!("{}: the folder holds no files", path.display())));
            }
        } else {
            add(path, true, &mut files)?;
            if files.len() == before {
                return Err(TraceError::Usage(format!("{}: the archive holds no files", path.display())));
            }
        }
    }
    Ok(files)
}

/// Whether nobody means this file as data.
fn is_passed_over(name: &str) -> bool {
    let name = name.to_lowercase();
    name.starts_with('.')
        || name.starts_with("readme")
        || name.starts_with("provenance")
        || name.starts_with("license")
        || [".md", ".pdf", ".proto"].iter().any(|end| name.ends_with(end))
}

fn walk(dir: &Path, depth: u32, files: &mut Vec<InputFile>) -> Result<(), TraceError> {
    if depth > 16 {
        return Err(TraceError::Usage(format!("{}: folders nested deeper than 16", dir.display())));
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| TraceError::io(dir, e))? {
        entries.push(entry.map_err(|e| TraceError::io(dir, e))?.path());
    }
    entries.sort();
    for path in entries {
        if path.file_name().is_some_and(|n| is_passed_over(&n.to_string_lossy())) {
            continue;
        }
        if path.is_dir() {
            walk(&path, depth + 1, files)?;
        } else {
            add(&path, false, files)?;
        }
    }
    Ok(())
}

/// Adds a file, or what is in it if it is an archive.
fn add(path: &Path, explicit: bool, files: &mut Vec<InputFile>) -> Result<(), TraceError> {
    // Special files (a pipe) can be read once only: they are no archives.
    let is_file = std::fs::metadata(path).is_ok_and(|meta| meta.is_file());
    let members = if is_file { members(path)? } else { None };
    match members {
        None => files.push(InputFile { path: path.to_path_buf(), explicit, member: None }),
        // In the order of a folder that holds the same files.
        Some(mut members) => {
            members.sort();
            let file = |member| InputFile { path: path.to_path_buf(), explicit: false, member: Some(member) };
            files.extend(members.into_iter().map(file));
        }
    }
    Ok(())
}

const BLOCK: usize = 512;

/// The files in a tar archive; `None`: it is none. What is wrong with a file that is no archive shows when it is read.
fn members(path: &Path) -> Result<Option<Vec<Member>>, TraceError> {
    let Ok(mut reader) = open(path) else { return Ok(None) };
    let mut block = [0u8; BLOCK];
    let first = reader.by_ref().take(BLOCK as u64).read(&mut block).unwrap_or(0);
    if first < BLOCK && reader.read_exact(&mut block[first..]).is_err() || &block[257..262] != b"ustar" {
        return Ok(None);
    }
    let name = path.display().to_string();
    let bad = |at: u64, expected: &str| -> TraceError {
        let value = format!("byte {at}");
        let file = name.clone();
        let field = String::new();
        RowError { problem: Problem::Corrupt, file, line: 0, field, value, expected: expected.into() }.into()
    };
    let failed = |e: &io::Error| TraceError::from(read_problem(&name, 0, e));
    let mut members = Vec::new();
    let mut at = BLOCK as u64;
    let mut long_name: Option<String> = None;
    loop {
        if block.iter().all(|b| *b == 0) {
            return Ok(Some(members));
        }
        let is_sum = |(i, b): (usize, &u8)| u64::from(if (148..156).contains(&i) { b' ' } else { *b });
        if octal(&block[148..156]) != Some(block.iter().enumerate().map(is_sum).sum()) {
            return Err(bad(at - BLOCK as u64, "a tar archive's header; fetch the file again"));
        }
        let size = octal(&block[124..136]).ok_or_else(|| bad(at, "a size below 8 GiB in a tar header"))?;
        let padded = size.div_ceil(BLOCK as u64) * BLOCK as u64;
        match block[156] {
            kind @ (b'L' | b'x') => {
                const LONGEST: u64 = 1 << 20;
                if size > LONGEST {
                    return Err(bad(at, "a name of at most 1 MiB in a tar archive"));
                }
                let mut text = vec![0; padded as usize];
                reader.read_exact(&mut text).map_err(|e| failed(&e))?;
                text.truncate(size as usize);
                let found = if kind == b'L' { Some(text.as_slice()) } else { pax_path(&text) };
                let text = |b: &[u8]| String::from_utf8_lossy(b).trim_end_matches('\0').to_string();
                long_name = found.map(text).or(long_name);
            }
            kind => {
                let member = long_name.take().unwrap_or_else(|| short_name(&block));
                let passed_over = member.split('/').any(|part| part != "." && is_passed_over(part));
                if matches!(kind, b'0' | 0) && !member.ends_with('/') && !passed_over {
                    members.push(Member { name: member, offset: at, size });
                }
                if members.len() > MAX_MEMBERS {
                    return Err(bad(at, "at most 100,000 files in an archive"));
                }
                let skipped = io::copy(&mut reader.by_ref().take(padded), &mut io::sink());
                if skipped.map_err(|e| failed(&e))? < padded {
                    return Err(failed(&io::ErrorKind::UnexpectedEof.into()));
                }
            }
        }
        at += padded;
        match reader.read_exact(&mut block) {
            Ok(()) => at += BLOCK as u64,
            // Some writers leave the two empty blocks at the end out.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(members)),
            Err(e) => return Err(failed(&e)),
        }
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

/// Prefix and name of a header.
fn short_name(block: &[u8; BLOCK]) -> String {
    let text = |field: &[u8]| {
        let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
        String::from_utf8_lossy(&field[..end]).into_owned()
    };
    let (prefix, name) = (text(&block[345..500]), text(&block[..100]));
    // GNU tar keeps times where POSIX keeps the prefix.
    if prefix.is_empty() || &block[257..263] != b"ustar\0" { name } else { format!("{prefix}/{name}") }
}

/// The value of `path` in a pax header: records `LENGTH KEY=VALUE\n`.
fn pax_path(mut text: &[u8]) -> Option<&[u8]> {
    while !text.is_empty() {
        let space = text.iter().position(|b| *b == b' ')?;
        let length: usize = std::str::from_utf8(&text[..space]).ok()?.parse().ok()?;
        let record = text.get(space + 1..length)?;
        if let Some(path) = record.strip_prefix(b"path=") {
            return Some(path.strip_suffix(b"\n").unwrap_or(path));
        }
        text = text.get(length..)?;
    }
    None
}

/// Counts the bytes that are taken from a file.
struct Counted<R> {
    inner: R,
    taken: Rc<Cell<u64>>,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.taken.set(self.taken.get() + n as u64);
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.taken.set(self.taken.get() + n as u64);
        self.inner.consume(n);
    }
}

/// Fails when a compressed file becomes too much.
struct Bounded<R> {
    inner: R,
    taken: Rc<Cell<u64>>,
    given: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.given += n as u64;
        let most = EXPANSION_FREE.saturating_add(self.taken.get().saturating_mul(MAX_EXPANSION));
        if self.given > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{} bytes came out of {}", self.given, self.taken.get()),
            ));
        }
        Ok(n)
    }
}

/// A file's bytes, decompressed if they are gzip or zstd.
///
/// # Errors
/// It can't be opened, or is packed in another way.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>, TraceError> {
    refuse_special(path).map_err(|e| TraceError::io(path, e))?;
    let file = File::open(path).map_err(|e| TraceError::io(path, e))?;
    decompress(&path.display().to_string(), Box::new(BufReader::with_capacity(BUFFER, file)))
}

fn decompress(name: &str, mut reader: Box<dyn BufRead>) -> Result<Box<dyn BufRead>, TraceError> {
    let magic = reader.fill_buf().map_err(|e| TraceError::from(read_problem(name, 0, &e)))?;
    let packed_otherwise = match magic {
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("bzip2: unpack it with `bunzip2`"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("xz: unpack it with `unxz`"),
        [b'P', b'K', 3, 4, ..] => Some("zip: unpack it with `unzip`"),
        [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => Some("7z: unpack it"),
        _ => None,
    };
    if let Some(what) = packed_otherwise {
        return Err(RowError {
            problem: Problem::UnknownPacking,
            file: name.to_string(),
            line: 0,
            field: String::new(),
            value: String::new(),
            expected: format!("plain, gzip, zstd or tar; this is {what}"),
        }
        .into());
    }
    let (is_gzip, is_zstd) = (magic.starts_with(&[0x1f, 0x8b]), magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    if !is_gzip && !is_zstd {
        return Ok(reader);
    }
    let taken = Rc::new(Cell::new(0));
    let counted = Counted { inner: reader, taken: taken.clone() };
    let inner: Box<dyn Read> = if is_gzip {
        Box::new(flate2::bufread::MultiGzDecoder::new(counted))
    } else {
        let decoder = zstd::stream::read::Decoder::with_buffer(counted);
        Box::new(decoder.map_err(|e| TraceError::from(read_problem(name, 0, &e)))?)
    };
    Ok(Box::new(BufReader::with_capacity(BUFFER, Bounded { inner, taken, given: 0 })))
}

/// What a failed read of a (compressed) file means for the file.
pub(crate) fn read_problem(file: &str, line: u64, e: &io::Error) -> RowError {
    let (problem, expected) = match e.kind() {
        io::ErrorKind::UnexpectedEof => {
            (Problem::Truncated, "the compressed data ends early; fetch the file again".to_string())
        }
        io::ErrorKind::FileTooLarge => (
            Problem::Bomb,
            format!(
                "at most {MAX_EXPANSION} times the compressed size and {} MiB ({e}); if that is right, decompress the file first",
                EXPANSION_FREE >> 20
            ),
        ),
        _ => (Problem::Corrupt, format!("cannot read on ({e}); fetch the file again")),
    };
    RowError { problem, file: file.to_string(), line, field: String::new(), value: String::new(), expected }
}

/// A whole small file in memory (documents that have to be seen as one).
///
/// # Errors
/// It can't be read, is empty, or has more than `limit` bytes.
pub fn read_all(file: &InputFile, limit: u64) -> Result<Vec<u8>, TraceError> {
    let name = file.display();
    let mut bytes = Vec::new();
    file.open()?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| TraceError::from(read_problem(&name, 0, &e)))?;
    if bytes.len() as u64 > limit {
        return Err(RowError {
            problem: Problem::TooLong,
            file: name,
            line: 0,
            field: String::new(),
            value: String::new(),
            expected: format!("at most {limit} bytes in one document"),
        }
        .into());
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(empty_file(&name).into());
    }
    Ok(bytes)
}

/// The error for a file without rows.
pub fn empty_file(file: &str) -> RowError {
    RowError {
        problem: Problem::EmptyFile,
        file: file.to_string(),
        line: 0,
        field: String::new(),
        value: String::new(),
        expected: "at least one row; leave the file out if that is right".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        e.write_all(bytes).unwrap();
        e.finish().unwrap()
    }

    /// A header as POSIX has it.
    fn header(name: &str, size: usize, kind: u8) -> Vec<u8> {
        let mut block = vec![0u8; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
        block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        block[154] = 0;
        block
    }

    fn tar(entries: &[(&str, u8, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, kind, bytes) in entries {
            out.extend(header(name, bytes.len(), *kind));
            out.extend(*bytes);
            out.resize(out.len().div_ceil(BLOCK) * BLOCK, 0);
        }
        out.extend(vec![0; 2 * BLOCK]);
        out
    }

    fn texts(files: &[InputFile]) -> Vec<(String, String)> {
        let text = |f: &InputFile| {
            let mut text = String::new();
            f.open().unwrap().read_to_string(&mut text).unwrap();
            (f.file_name(), text)
        };
        files.iter().map(text).collect()
    }

    #[test]
    fn members_of_an_archive_are_files() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("{}/long.csv", "z".repeat(120));
        let record = format!("{} path={long}\n", long.len() + 10);
        let archive = tar(&[
            ("a.csv", b'0', b"1,2\n"),
            ("README.md", b'0', b"no data"),
            ("folder/", b'5', b""),
            ("folder/b.csv.gz", b'0', &gzip(b"3,4\n")),
            ("x", b'x', record.as_bytes()),
            ("short", b'0', b"5,6\n"),
        ]);
        let expected = [("a.csv", "1,2\n"), ("b.csv.gz", "3,4\n"), ("long.csv", "5,6\n")]
            .map(|(n, t)| (n.to_string(), t.to_string()));
        for (name, bytes) in [("t.tar", archive.clone()), ("t.tar.gz", gzip(&archive))] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let files = collect(&[path]).unwrap();
            assert_eq!(texts(&files), expected);
            assert!(files[1].display().ends_with(&format!("{name}:folder/b.csv.gz")));
            assert_eq!(files[1].hint(), format!("{name}/folder/b.csv.gz"));
        }
        // Cut inside of a member: the archive is damaged, and the error says so.
        let path = dir.path().join("cut.tar");
        std::fs::write(&path, &archive[..BLOCK + 2]).unwrap();
        assert_eq!(collect(&[path]).unwrap_err().problem(), Some(Problem::Truncated));
    }

    #[test]
    fn other_packings_are_named() {
        let dir = tempfile::tempdir().unwrap();
        for (bytes, what) in [
            (&b"BZh91AY"[..], "bunzip2"),
            (&b"\xfd7zXZ\0\0"[..], "unxz"),
            (&b"PK\x03\x04\x14"[..], "unzip"),
            (&b"7z\xbc\xaf\x27\x1c\0"[..], "7z"),
        ] {
            let path = dir.path().join("x.csv");
            std::fs::write(&path, bytes).unwrap();
            let error = open(&path).err().unwrap();
            assert_eq!(error.problem(), Some(Problem::UnknownPacking));
            assert!(error.to_string().contains(what), "{error}");
        }
    }

    /// 200 MiB of zeros: 200 KB of gzip (1,030 times), a few KB of zstd (more than 10,000 times).
    #[test]
    fn bombs_are_refused_without_being_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let zeros = vec![0u8; 200 << 20];
        let packed = [gzip(&zeros), zstd::encode_all(&zeros[..], 3).unwrap()];
        drop(zeros);
        for bytes in packed {
            let path = dir.path().join("bomb");
            std::fs::write(&path, &bytes).unwrap();
            let mut reader = open(&path).unwrap();
            let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
            assert_eq!(read_problem("bomb", 1, &error).problem, Problem::Bomb, "{error}");
        }
    }
}
