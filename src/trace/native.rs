//! Reading and writing native traces, streaming.
//!
//! Rows go through fixed-size batches (65,536 rows), so memory does not depend on the trace's length; only `specs`
//! (thousands of rows where pods are millions) is read at once. Pods are read in columns ([`PodBatch`]): texts of a
//! column lie in one buffer, so a batch costs a handful of allocations and not several per pod.
//!
//! Writing is safe against a crash: everything goes to a hidden folder beside the target, is synced, and the folder
//! is renamed at the end. Whoever sees the target sees all of it. Bytes depend on rows and options only: no times,
//! no machine names, no hash order.
//!
//! Cost: O(rows); Parquet reads tens of millions of pods a second, JSON Lines about a million.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::disk;
use super::error::{Problem, TraceError};
use super::input::{Lines, MAX_LINE_BYTES};
use super::model::{
    Compression, Counts, Encoding, EventRow, FORMAT_VERSION, Manifest, NodeRow, OutcomeRow, PodRow, SpecRow,
};
use super::source::{InputFile, read_all};
use super::temporary::{self, Temporary, parent_of};

/// Rows per batch and per Parquet row group.
pub const BATCH_ROWS: usize = 65_536;
/// Bytes of texts after which a batch of JSON Lines is given: an ordinary one has some 5 MB.
const BATCH_BYTES: usize = 64 << 20;

/// The file in a snapshot's folder that goes on with the run it was taken of. It is no table.
pub const CHECKPOINT: &str = "run.checkpoint";

/// A column of texts in one buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    bytes: String,
    ends: Vec<u32>,
}

impl Texts {
    /// Adds a text.
    pub fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len() as u32);
    }

    /// The text of row `i`.
    #[inline]
    pub fn get(&self, i: usize) -> &str {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.bytes[start..self.ends[i] as usize]
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    #[cfg(feature = "parquet")]
    fn extend_from_arrow(&mut self, array: &arrow_array::StringArray) -> Option<()> {
        use arrow_array::Array;
        let offsets = array.value_offsets();
        let (first, last) = (*offsets.first()?, *offsets.last()?);
        let data = array.value_data().get(first as usize..last as usize)?;
        let base = self.bytes.len();
        self.bytes.push_str(std::str::from_utf8(data).ok()?);
        if array.null_count() == 0 {
            self.ends.extend(offsets[1..].iter().map(|o| (base + (o - first) as usize) as u32));
            Some(())
        } else {
            // A null's slot may hold bytes: take such (foreign) files value by value.
            self.bytes.truncate(base);
            for i in 0..array.len() {
                self.push(if array.is_null(i) { "" } else { array.value(i) });
            }
            Some(())
        }
    }
}

/// Pods in columns; see [`PodRow`] for the meaning of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodBatch {
    /// Creation, ns.
    pub submit_ns: Vec<u64>,
    /// Position in the trace.
    pub seq: Vec<u64>,
    /// Unique id.
    pub uid: Texts,
    /// Row of `specs`.
    pub spec_id: Vec<u32>,
    /// Application.
    pub app: Texts,
    /// Gang.
    pub task_group: Texts,
    /// Members the gang needs.
    pub min_member: Vec<u32>,
    /// Queue.
    pub queue: Texts,
    /// Who submitted.
    pub user: Texts,
    /// Priority.
    pub priority: Vec<i32>,
    /// Run time, ns.
    pub run_ns: Vec<Option<u64>>,
}

impl PodBatch {
    /// Number of pods.
    pub fn len(&self) -> usize {
        self.submit_ns.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.submit_ns.is_empty()
    }

    fn text_bytes(&self) -> usize {
        [&self.uid, &self.app, &self.task_group, &self.queue, &self.user].iter().map(|t| t.bytes.len()).sum()
    }

    /// Removes all pods and keeps the memory.
    pub fn clear(&mut self) {
        self.submit_ns.clear();
        self.seq.clear();
        self.uid.clear();
        self.spec_id.clear();
        self.app.clear();
        self.task_group.clear();
        self.min_member.clear();
        self.queue.clear();
        self.user.clear();
        self.priority.clear();
        self.run_ns.clear();
    }

    /// Adds a pod.
    pub fn push(&mut self, row: &PodRow) {
        self.submit_ns.push(row.submit_ns);
        self.seq.push(row.seq);
        self.uid.push(&row.uid);
        self.spec_id.push(row.spec_id);
        self.app.push(&row.app);
        self.task_group.push(&row.task_group);
        self.min_member.push(row.min_member);
        self.queue.push(&row.queue);
        self.user.push(&row.user);
        self.priority.push(row.priority);
        self.run_ns.push(row.run_ns);
    }

    /// Pod `i` as a row of its own.
    pub fn row(&self, i: usize) -> PodRow {
        PodRow {
            submit_ns: self.submit_ns[i],
            seq: self.seq[i],
            uid: self.uid.get(i).to_string(),
            spec_id: self.spec_id[i],
            app: self.app.get(i).to_string(),
            task_group: self.task_group.get(i).to_string(),
            min_member: self.min_member[i],
            queue: self.queue.get(i).to_string(),
            user: self.user.get(i).to_string(),
            priority: self.priority[i],
            run_ns: self.run_ns[i],
        }
    }
}

/// A column that may be absent, and whether a row has it.
pub type Optional<T> = (&'static str, fn(&T) -> bool);

/// A row type of a native table other than `pods`.
pub trait Row: Serialize + DeserializeOwned + Clone + Sized + 'static {
    /// Table name.
    const TABLE: &'static str;
    /// Columns that are there only if a row has them. A table with such columns is written when it is complete.
    const OPTIONAL: &'static [Optional<Self>] = &[];
    /// Arrow columns of rows.
    #[cfg(feature = "parquet")]
    fn to_arrow(rows: &[Self]) -> Vec<(&'static str, arrow_array::ArrayRef, bool)>;
    /// Rows of an Arrow batch.
    #[cfg(feature = "parquet")]
    fn from_arrow(batch: &columnar::Columns<'_>) -> Result<Vec<Self>, String>;
}

/// How a trace is stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct WriteOptions {
    /// Parquet or JSON Lines.
    pub encoding: Encoding,
    /// Compression of JSON Lines.
    pub compression: Compression,
    /// Replace a trace that is already there.
    pub overwrite: bool,
}

enum TextOut {
    Plain(BufWriter<File>),
    Gzip(Box<flate2::write::GzEncoder<BufWriter<File>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, BufWriter<File>>>),
}

impl Write for TextOut {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            TextOut::Plain(w) => w.write(bytes),
            TextOut::Gzip(w) => w.write(bytes),
            TextOut::Zstd(w) => w.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct JsonOut {
    out: TextOut,
    path: PathBuf,
    line: Vec<u8>,
}

impl JsonOut {
    fn create(dir: &Path, table: &str, compression: Compression) -> Result<JsonOut, TraceError> {
        let extension = match compression {
            Compression::None => "jsonl",
            Compression::Gzip => "jsonl.gz",
            Compression::Zstd => "jsonl.zst",
        };
        let path = dir.join(format!("{table}.{extension}"));
        let file = File::create(&path).map_err(|e| TraceError::io(&path, e))?;
        let file = BufWriter::with_capacity(256 << 10, file);
        let out = match compression {
            Compression::None => TextOut::Plain(file),
            Compression::Gzip => {
                TextOut::Gzip(Box::new(flate2::write::GzEncoder::new(file, flate2::Compression::default())))
            }
            Compression::Zstd => {
                let e = zstd::stream::write::Encoder::new(file, 3).map_err(|e| TraceError::io(&path, e))?;
                TextOut::Zstd(Box::new(e))
            }
        };
        Ok(JsonOut { out, path, line: Vec::new() })
    }

    fn write<T: Serialize>(&mut self, row: &T) -> Result<(), TraceError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, row)
            .map_err(|e| TraceError::format(&self.path, e.to_string()))?;
        self.line.push(b'\n');
        self.out.write_all(&self.line).map_err(|e| TraceError::io(&self.path, e))
    }

    fn finish(self) -> Result<(), TraceError> {
        let path = self.path;
        let finish = || -> std::io::Result<()> {
            let file = match self.out {
                TextOut::Plain(w) => w,
                TextOut::Gzip(w) => w.finish()?,
                TextOut::Zstd(w) => w.finish()?,
            };
            file.into_inner().map_err(|e| e.into_error())?.sync_all()
        };
        finish().map_err(|e| TraceError::io(&path, e))
    }
}

#[cfg(feature = "parquet")]
pub mod columnar {
    //! Arrow and Parquet: schemas, batches, files.

    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io::BufWriter;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use arrow_array::{
        Array, ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchReader, StringArray, UInt32Array,
        UInt64Array,
    };
    use arrow_schema::{DataType, Field, Schema, SchemaRef};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
    use parquet::basic::{Compression, Encoding, ZstdLevel};
    use parquet::file::properties::{EnabledStatistics, WriterProperties};
    use parquet::schema::types::ColumnPath;

    use super::{BATCH_ROWS, PodBatch, Texts, TraceError};
    use crate::engine::guard::guarded;
    use crate::trace::error::{Problem, RowError};
    use crate::trace::number::rfc3339;
    use crate::trace::source::InputFile;

    /// The columns of a batch by name.
    pub struct Columns<'a> {
        batch: &'a RecordBatch,
    }

    impl<'a> Columns<'a> {
        /// Columns of `batch`.
        pub fn new(batch: &'a RecordBatch) -> Columns<'a> {
            Columns { batch }
        }

        /// Number of rows.
        pub fn rows(&self) -> usize {
            self.batch.num_rows()
        }

        fn get<A: 'static>(&self, name: &str, what: &str) -> Result<&'a A, String> {
            let column =
                self.batch.column_by_name(name).ok_or_else(|| format!("column {name} is missing"))?;
            column
                .as_any()
                .downcast_ref::<A>()
                .ok_or_else(|| format!("column {name} is {}, expected {what}", column.data_type()))
        }

        /// Whether there is such a column.
        pub fn has(&self, name: &str) -> bool {
            self.batch.column_by_name(name).is_some()
        }

        /// A column of texts.
        pub fn text(&self, name: &str) -> Result<&'a StringArray, String> {
            self.get(name, "Utf8")
        }

        /// A column of unsigned 64-bit integers.
        pub fn u64(&self, name: &str) -> Result<&'a UInt64Array, String> {
            self.get(name, "UInt64")
        }

        /// A column of unsigned 32-bit integers.
        pub fn u32(&self, name: &str) -> Result<&'a UInt32Array, String> {
            self.get(name, "UInt32")
        }

        /// A column of signed 32-bit integers.
        pub fn i32(&self, name: &str) -> Result<&'a Int32Array, String> {
            self.get(name, "Int32")
        }
    }

    /// Texts as an Arrow column.
    pub fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(values))
    }

    /// Numbers or nothing as an Arrow column.
    pub fn options(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
        Arc::new(values.collect::<UInt64Array>())
    }

    /// A map as JSON text; empty for an empty map.
    pub fn json<T: serde::Serialize>(map: &BTreeMap<String, T>) -> String {
        if map.is_empty() { String::new() } else { serde_json::to_string(map).unwrap_or_default() }
    }

    /// A map from JSON text.
    pub fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<BTreeMap<String, T>, String> {
        if text.is_empty() {
            return Ok(BTreeMap::new());
        }
        serde_json::from_str(text).map_err(|e| format!("{text:?} is not a JSON object: {e}"))
    }

    /// The value of a nullable column.
    pub fn option(column: &UInt64Array, i: usize) -> Option<u64> {
        (!column.is_null(i)).then(|| column.value(i))
    }

    fn properties(plain: &[&str], delta: &[&str]) -> Result<WriterProperties, TraceError> {
        let level = ZstdLevel::try_new(3).map_err(|e| TraceError::Usage(e.to_string()))?;
        let mut p = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(BATCH_ROWS))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_created_by("podpace".to_string());
        for column in plain {
            p = p.set_column_dictionary_enabled(ColumnPath::from(*column), false);
        }
        for column in delta {
            p = p
                .set_column_dictionary_enabled(ColumnPath::from(*column), false)
                .set_column_encoding(ColumnPath::from(*column), Encoding::DELTA_BINARY_PACKED);
        }
        Ok(p.build())
    }

    fn pod_schema() -> SchemaRef {
        let f = |name: &str, kind: DataType| Field::new(name, kind, false);
        Arc::new(Schema::new(vec![
            f("submit_ns", DataType::UInt64),
            f("seq", DataType::UInt64),
            f("uid", DataType::Utf8),
            f("spec_id", DataType::UInt32),
            f("app", DataType::Utf8),
            f("task_group", DataType::Utf8),
            f("min_member", DataType::UInt32),
            f("queue", DataType::Utf8),
            f("user", DataType::Utf8),
            f("priority", DataType::Int32),
            Field::new("run_ns", DataType::UInt64, true),
        ]))
    }

    fn strings(t: &Texts) -> ArrayRef {
        texts((0..t.len()).map(|i| t.get(i)))
    }

    fn pod_batch(schema: &SchemaRef, p: &PodBatch) -> Result<RecordBatch, String> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from(p.submit_ns.clone())),
            Arc::new(UInt64Array::from(p.seq.clone())),
            strings(&p.uid),
            Arc::new(UInt32Array::from(p.spec_id.clone())),
            strings(&p.app),
            strings(&p.task_group),
            Arc::new(UInt32Array::from(p.min_member.clone())),
            strings(&p.queue),
            strings(&p.user),
            Arc::new(Int32Array::from(p.priority.clone())),
            Arc::new(UInt64Array::from(p.run_ns.clone())),
        ];
        RecordBatch::try_new(schema.clone(), columns).map_err(|e| e.to_string())
    }

    /// Writes one Parquet file.
    pub struct ParquetOut {
        writer: ArrowWriter<BufWriter<File>>,
        schema: SchemaRef,
        path: PathBuf,
    }

    impl ParquetOut {
        /// A file of pods.
        pub fn pods(dir: &Path) -> Result<ParquetOut, TraceError> {
            ParquetOut::create(dir.join("pods.parquet"), pod_schema(), &["uid"], &["submit_ns", "seq"])
        }

        /// A file of any columns; those in `plain` repeat too little for a dictionary.
        pub fn create(
            path: PathBuf,
            schema: SchemaRef,
            plain: &[&str],
            delta: &[&str],
        ) -> Result<ParquetOut, TraceError> {
            let file = File::create(&path).map_err(|e| TraceError::io(&path, e))?;
            let out = BufWriter::with_capacity(256 << 10, file);
            let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties(plain, delta)?))
                .map_err(|e| TraceError::format(&path, e.to_string()))?;
            Ok(ParquetOut { writer, schema, path })
        }

        /// Appends pods.
        pub fn write_pods(&mut self, pods: &PodBatch) -> Result<(), TraceError> {
            let batch = pod_batch(&self.schema, pods).map_err(|e| TraceError::format(&self.path, e))?;
            self.write(&batch)
        }

        /// Appends a batch.
        pub fn write(&mut self, batch: &RecordBatch) -> Result<(), TraceError> {
            self.writer.write(batch).map_err(|e| TraceError::format(&self.path, e.to_string()))
        }

        /// Writes the footer and syncs.
        pub fn finish(self) -> Result<(), TraceError> {
            let path = self.path;
            let out = self.writer.into_inner().map_err(|e| TraceError::format(&path, e.to_string()))?;
            let file = out.into_inner().map_err(|e| TraceError::io(&path, e.into_error()))?;
            file.sync_all().map_err(|e| TraceError::io(&path, e))
        }
    }

    /// The batch of columns given by name.
    pub fn record(columns: Vec<(&'static str, ArrayRef, bool)>) -> Result<RecordBatch, String> {
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, array, null)| Field::new(*name, array.data_type().clone(), *null))
            .collect();
        let arrays = columns.into_iter().map(|(_, array, _)| array).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|e| e.to_string())
    }

    /// Rows that a byte of a Parquet file may stand for: columns that repeat one value compress to almost nothing, but
    /// no table of pods or samples does on all of them.
    const ROWS_PER_BYTE: u64 = 1_000;

    /// A Parquet file, batch by batch. The reader below trusts more of a file than a damaged one deserves: what it
    /// panics with becomes an error, and the file is over then.
    pub struct Batches {
        inner: Option<ParquetRecordBatchReader>,
        name: String,
        columns: Vec<String>,
        row: u64,
    }

    impl Batches {
        /// Opens a file; batches have at most so many rows.
        pub fn open(path: &Path, rows: usize) -> Result<Batches, TraceError> {
            let name = path.display().to_string();
            let file = File::open(path).map_err(|e| TraceError::io(path, e))?;
            let bytes = file.metadata().map_err(|e| TraceError::io(path, e))?.len();
            if bytes == 0 {
                return Err(crate::trace::source::empty_file(&name).into());
            }
            let opened = guarded(|| {
                let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
                let total = builder.metadata().file_metadata().num_rows();
                let groups: i64 = builder.metadata().row_groups().iter().map(|g| g.num_rows()).sum();
                builder.with_batch_size(rows).build().map(|reader| (total.max(groups), reader))
            });
            let damaged = |why: String| {
                let expected = format!("a Parquet file ({why})");
                corrupt(&name, 0, Problem::Corrupt, expected)
            };
            let (total, inner) = match opened {
                Ok(Ok(opened)) => opened,
                Ok(Err(e)) => return Err(damaged(e.to_string())),
                Err(panic) => return Err(damaged(panic)),
            };
            if u64::try_from(total).unwrap_or(u64::MAX) > 1_000_000 + bytes.saturating_mul(ROWS_PER_BYTE) {
                let expected = format!("at most {ROWS_PER_BYTE} rows a byte; it says {total} in {bytes}");
                return Err(corrupt(&name, 0, Problem::Bomb, expected));
            }
            let columns = inner.schema().fields().iter().map(|f| f.name().clone()).collect();
            Ok(Batches { inner: Some(inner), name, columns, row: 0 })
        }

        /// A file to import.
        pub fn of(file: &InputFile, rows: usize) -> Result<Batches, TraceError> {
            if file.in_archive() {
                return Err(corrupt(
                    &file.display(),
                    0,
                    Problem::UnknownPacking,
                    "a Parquet file by itself: it can't be read inside of an archive, unpack it".into(),
                ));
            }
            Batches::open(&file.path, rows)
        }

        /// Names of the columns.
        pub fn columns(&self) -> &[String] {
            &self.columns
        }
    }

    fn corrupt(name: &str, line: u64, problem: Problem, expected: String) -> TraceError {
        let (field, value) = (String::new(), String::new());
        RowError { problem, file: name.to_string(), line, field, value, expected }.into()
    }

    impl Iterator for Batches {
        type Item = Result<RecordBatch, TraceError>;

        fn next(&mut self) -> Option<Self::Item> {
            let reader = self.inner.as_mut()?;
            let why = match guarded(|| reader.next()) {
                Ok(None) => return None,
                Ok(Some(Ok(batch))) => {
                    self.row += batch.num_rows() as u64;
                    return Some(Ok(batch));
                }
                Ok(Some(Err(e))) => e.to_string(),
                Err(panic) => panic,
            };
            self.inner = None;
            let expected = format!("a whole Parquet file ({why})");
            Some(Err(corrupt(&self.name, self.row + 1, Problem::Corrupt, expected)))
        }
    }

    /// Appends a record batch of `pods` to `out`.
    pub fn read_pods(batch: &RecordBatch, out: &mut PodBatch) -> Result<(), String> {
        let c = Columns::new(batch);
        out.submit_ns.extend_from_slice(c.u64("submit_ns")?.values());
        out.seq.extend_from_slice(c.u64("seq")?.values());
        out.spec_id.extend_from_slice(c.u32("spec_id")?.values());
        out.min_member.extend_from_slice(c.u32("min_member")?.values());
        out.priority.extend_from_slice(c.i32("priority")?.values());
        out.run_ns.extend(c.u64("run_ns")?.iter());
        for (name, column) in [
            ("uid", &mut out.uid),
            ("app", &mut out.app),
            ("task_group", &mut out.task_group),
            ("queue", &mut out.queue),
            ("user", &mut out.user),
        ] {
            column.extend_from_arrow(c.text(name)?).ok_or_else(|| format!("column {name} is damaged"))?;
        }
        Ok(())
    }

    /// The elements of a list as texts; empty for null and for what is no list.
    pub fn list(column: &ArrayRef, i: usize) -> Vec<String> {
        let elements = |values: ArrayRef| (0..values.len()).filter_map(|k| cell(&values, k)).collect();
        if column.is_null(i) {
            return Vec::new();
        }
        if let Some(lists) = column.as_any().downcast_ref::<arrow_array::ListArray>() {
            return elements(lists.value(i));
        }
        column
            .as_any()
            .downcast_ref::<arrow_array::LargeListArray>()
            .map_or_else(Vec::new, |lists| elements(lists.value(i)))
    }

    /// One cell of any simple type as text, for importers of foreign Parquet tables; `None` for null. Timestamps are
    /// dates, whatever their unit.
    pub fn cell(column: &ArrayRef, i: usize) -> Option<String> {
        if column.is_null(i) {
            return None;
        }
        use arrow_array::{
            BinaryArray, Float32Array, Float64Array, Int8Array, Int16Array, LargeStringArray,
            StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
            TimestampSecondArray, UInt8Array, UInt16Array,
        };
        let any = column.as_any();
        macro_rules! as_text {
            ($($kind:ty),*) => {$(
                if let Some(a) = any.downcast_ref::<$kind>() {
                    return Some(a.value(i).to_string());
                }
            )*};
        }
        as_text!(
            StringArray,
            LargeStringArray,
            Int64Array,
            Int32Array,
            UInt64Array,
            UInt32Array,
            Float64Array,
            Float32Array,
            StringViewArray,
            Int16Array,
            UInt16Array,
            Int8Array,
            UInt8Array
        );
        macro_rules! as_date {
            ($($kind:ty: $unit:expr),*) => {$(
                if let Some(a) = any.downcast_ref::<$kind>() {
                    // A time past 292 years is no date: the number shows in the error.
                    let ns = a.value(i).checked_mul($unit);
                    return Some(ns.map_or_else(|| a.value(i).to_string(), rfc3339));
                }
            )*};
        }
        as_date!(
            TimestampMillisecondArray: 1_000_000,
            TimestampMicrosecondArray: 1_000,
            TimestampNanosecondArray: 1,
            TimestampSecondArray: 1_000_000_000
        );
        any.downcast_ref::<BinaryArray>().map(|a| String::from_utf8_lossy(a.value(i)).into_owned())
    }
}

#[cfg(feature = "parquet")]
mod rows {
    //! Arrow columns of the small tables.
    use std::sync::Arc;

    use arrow_array::{Array, ArrayRef, UInt32Array, UInt64Array};

    use super::columnar::{Columns, from_json, json, option, options, texts};
    use super::{EventRow, NodeRow, Optional, OutcomeRow, Row, SpecRow};
    use crate::trace::model::{EventOp, NodeOp};

    type Named = Vec<(&'static str, ArrayRef, bool)>;

    fn owned(values: Vec<String>) -> ArrayRef {
        texts(values.iter().map(String::as_str))
    }

    fn u64s(values: impl Iterator<Item = u64>) -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(values))
    }

    impl Row for SpecRow {
        const TABLE: &'static str = "specs";
        const OPTIONAL: &'static [Optional<Self>] =
            &[("host_ports", |s| !s.host_ports.is_empty()), ("gang", |s| !s.gang.is_empty())];

        fn to_arrow(r: &[SpecRow]) -> Named {
            vec![
                ("spec_id", Arc::new(UInt32Array::from_iter_values(r.iter().map(|s| s.spec_id))), false),
                ("namespace", texts(r.iter().map(|s| s.namespace.as_str())), false),
                ("requests", owned(r.iter().map(|s| json(&s.requests)).collect()), false),
                ("labels", owned(r.iter().map(|s| json(&s.labels)).collect()), false),
                ("node_selector", owned(r.iter().map(|s| json(&s.node_selector)).collect()), false),
                ("tolerations", texts(r.iter().map(|s| s.tolerations.as_str())), false),
                ("affinity", texts(r.iter().map(|s| s.affinity.as_str())), false),
                ("topology_spread", texts(r.iter().map(|s| s.topology_spread.as_str())), false),
                ("gpu_type", texts(r.iter().map(|s| s.gpu_type.as_str())), false),
                ("scheduler_name", texts(r.iter().map(|s| s.scheduler_name.as_str())), false),
                ("preemption_policy", texts(r.iter().map(|s| s.preemption_policy.as_str())), false),
                ("host_ports", texts(r.iter().map(|s| s.host_ports.as_str())), false),
                ("gang", texts(r.iter().map(|s| s.gang.as_str())), false),
            ]
        }

        fn from_arrow(c: &Columns<'_>) -> Result<Vec<SpecRow>, String> {
            // Traces from before it was kept do not have it.
            let later = |name| if c.has(name) { c.text(name).map(Some) } else { Ok(None) };
            let (policy, ports, gang) = (later("preemption_policy")?, later("host_ports")?, later("gang")?);
            (0..c.rows())
                .map(|i| {
                    Ok(SpecRow {
                        spec_id: c.u32("spec_id")?.value(i),
                        namespace: c.text("namespace")?.value(i).to_string(),
                        requests: from_json(c.text("requests")?.value(i))?,
                        labels: from_json(c.text("labels")?.value(i))?,
                        node_selector: from_json(c.text("node_selector")?.value(i))?,
                        tolerations: c.text("tolerations")?.value(i).to_string(),
                        affinity: c.text("affinity")?.value(i).to_string(),
                        topology_spread: c.text("topology_spread")?.value(i).to_string(),
                        gpu_type: c.text("gpu_type")?.value(i).to_string(),
                        scheduler_name: c.text("scheduler_name")?.value(i).to_string(),
                        preemption_policy: policy.map(|p| p.value(i).to_string()).unwrap_or_default(),
                        host_ports: ports.map(|p| p.value(i).to_string()).unwrap_or_default(),
                        gang: gang.map(|g| g.value(i).to_string()).unwrap_or_default(),
                    })
                })
                .collect()
        }
    }

    impl Row for NodeRow {
        const TABLE: &'static str = "nodes";

        fn to_arrow(r: &[NodeRow]) -> Named {
            vec![
                ("t_ns", u64s(r.iter().map(|n| n.t_ns)), false),
                ("seq", u64s(r.iter().map(|n| n.seq)), false),
                ("op", texts(r.iter().map(|n| n.op.as_str())), false),
                ("name", texts(r.iter().map(|n| n.name.as_str())), false),
                ("allocatable", owned(r.iter().map(|n| json(&n.allocatable)).collect()), false),
                ("labels", owned(r.iter().map(|n| json(&n.labels)).collect()), false),
                ("taints", texts(r.iter().map(|n| n.taints.as_str())), false),
            ]
        }

        fn from_arrow(c: &Columns<'_>) -> Result<Vec<NodeRow>, String> {
            (0..c.rows())
                .map(|i| {
                    let op = c.text("op")?.value(i);
                    Ok(NodeRow {
                        t_ns: c.u64("t_ns")?.value(i),
                        seq: c.u64("seq")?.value(i),
                        op: NodeOp::parse(op)
                            .ok_or_else(|| format!("op {op:?} is none of add, update, remove"))?,
                        name: c.text("name")?.value(i).to_string(),
                        allocatable: from_json(c.text("allocatable")?.value(i))?,
                        labels: from_json(c.text("labels")?.value(i))?,
                        taints: c.text("taints")?.value(i).to_string(),
                    })
                })
                .collect()
        }
    }

    impl Row for EventRow {
        const TABLE: &'static str = "events";

        fn to_arrow(r: &[EventRow]) -> Named {
            vec![
                ("t_ns", u64s(r.iter().map(|e| e.t_ns)), false),
                ("seq", u64s(r.iter().map(|e| e.seq)), false),
                ("op", texts(r.iter().map(|e| e.op.as_str())), false),
                ("uid", texts(r.iter().map(|e| e.uid.as_str())), false),
                ("node", texts(r.iter().map(|e| e.node.as_str())), false),
            ]
        }

        fn from_arrow(c: &Columns<'_>) -> Result<Vec<EventRow>, String> {
            (0..c.rows())
                .map(|i| {
                    let op = c.text("op")?.value(i);
                    Ok(EventRow {
                        t_ns: c.u64("t_ns")?.value(i),
                        seq: c.u64("seq")?.value(i),
                        op: EventOp::parse(op).ok_or_else(|| {
                            format!("op {op:?} is none of pod-bound, placeholder-bound, pod-delete")
                        })?,
                        uid: c.text("uid")?.value(i).to_string(),
                        node: c.text("node")?.value(i).to_string(),
                    })
                })
                .collect()
        }
    }

    impl Row for OutcomeRow {
        const TABLE: &'static str = "outcomes";

        fn to_arrow(r: &[OutcomeRow]) -> Named {
            vec![
                ("uid", texts(r.iter().map(|o| o.uid.as_str())), false),
                ("created_ns", options(r.iter().map(|o| o.created_ns)), true),
                ("bound_ns", options(r.iter().map(|o| o.bound_ns)), true),
                ("running_ns", options(r.iter().map(|o| o.running_ns)), true),
                ("finished_ns", options(r.iter().map(|o| o.finished_ns)), true),
                ("node", texts(r.iter().map(|o| o.node.as_str())), false),
            ]
        }

        fn from_arrow(c: &Columns<'_>) -> Result<Vec<OutcomeRow>, String> {
            let (uid, node) = (c.text("uid")?, c.text("node")?);
            let (created, bound) = (c.u64("created_ns")?, c.u64("bound_ns")?);
            let (running, finished) = (c.u64("running_ns")?, c.u64("finished_ns")?);
            Ok((0..c.rows())
                .map(|i| OutcomeRow {
                    uid: if uid.is_null(i) { String::new() } else { uid.value(i).to_string() },
                    created_ns: option(created, i),
                    bound_ns: option(bound, i),
                    running_ns: option(running, i),
                    finished_ns: option(finished, i),
                    node: node.value(i).to_string(),
                })
                .collect())
        }
    }
}

#[cfg(not(feature = "parquet"))]
mod rows {
    use super::{EventRow, NodeRow, OutcomeRow, Row, SpecRow};
    impl Row for SpecRow {
        const TABLE: &'static str = "specs";
    }
    impl Row for NodeRow {
        const TABLE: &'static str = "nodes";
    }
    impl Row for EventRow {
        const TABLE: &'static str = "events";
    }
    impl Row for OutcomeRow {
        const TABLE: &'static str = "outcomes";
    }
}

enum TableOut<T> {
    Json(JsonOut, PhantomData<T>),
    #[cfg(feature = "parquet")]
    Parquet {
        path: PathBuf,
        /// None: until the optional columns are known.
        out: Option<Box<columnar::ParquetOut>>,
        rows: Vec<T>,
    },
}

/// A batch of these rows, without the optional columns that are not `used`.
#[cfg(feature = "parquet")]
fn columns<T: Row>(rows: &[T], used: &[&str]) -> Result<arrow_array::RecordBatch, String> {
    let unused = |name: &str| T::OPTIONAL.iter().any(|(of, _)| *of == name) && !used.contains(&name);
    let mut columns = T::to_arrow(rows);
    columns.retain(|(name, ..)| !unused(name));
    columnar::record(columns)
}

#[cfg(feature = "parquet")]
fn create_table<T: Row>(path: &Path, used: &[&str]) -> Result<Box<columnar::ParquetOut>, TraceError> {
    let empty = columns::<T>(&[], used).map_err(|e| TraceError::format(path, e))?;
    Ok(Box::new(columnar::ParquetOut::create(path.to_path_buf(), empty.schema(), &[], &[])?))
}

impl<T: Row> TableOut<T> {
    fn create(dir: &Path, options: &WriteOptions) -> Result<TableOut<T>, TraceError> {
        match options.encoding {
            Encoding::Jsonl => {
                Ok(TableOut::Json(JsonOut::create(dir, T::TABLE, options.compression)?, PhantomData))
            }
            #[cfg(feature = "parquet")]
            Encoding::Parquet => {
                let path = dir.join(format!("{}.parquet", T::TABLE));
                let out = if T::OPTIONAL.is_empty() { Some(create_table::<T>(&path, &[])?) } else { None };
                Ok(TableOut::Parquet { path, out, rows: Vec::new() })
            }
            #[cfg(not(feature = "parquet"))]
            Encoding::Parquet => Err(no_parquet()),
        }
    }

    fn write(&mut self, row: &T) -> Result<(), TraceError> {
        match self {
            TableOut::Json(out, _) => out.write(row),
            #[cfg(feature = "parquet")]
            TableOut::Parquet { out, rows, .. } => {
                rows.push(row.clone());
                match out {
                    Some(out) if rows.len() == BATCH_ROWS => {
                        flush(out, rows, &[])?;
                        rows.clear();
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn finish(self) -> Result<(), TraceError> {
        match self {
            TableOut::Json(out, _) => out.finish(),
            #[cfg(feature = "parquet")]
            TableOut::Parquet { path, out, rows } => {
                let used = T::OPTIONAL.iter().filter(|(_, has)| rows.iter().any(has));
                let used: Vec<&str> = used.map(|(name, _)| *name).collect();
                let mut out = match out {
                    Some(out) => out,
                    None => create_table::<T>(&path, &used)?,
                };
                for batch in rows.chunks(BATCH_ROWS) {
                    flush(&mut out, batch, &used)?;
                }
                out.finish()
            }
        }
    }
}

#[cfg(feature = "parquet")]
fn flush<T: Row>(out: &mut columnar::ParquetOut, rows: &[T], used: &[&str]) -> Result<(), TraceError> {
    out.write(&columns(rows, used).map_err(TraceError::Usage)?)
}

#[cfg(not(feature = "parquet"))]
fn no_parquet() -> TraceError {
    TraceError::Usage("this build has no Parquet; use --encoding jsonl".into())
}

enum PodOut {
    Json(JsonOut),
    #[cfg(feature = "parquet")]
    Parquet {
        out: Box<columnar::ParquetOut>,
        pods: Box<PodBatch>,
    },
}

struct Tables {
    pods: PodOut,
    specs: TableOut<SpecRow>,
    nodes: TableOut<NodeRow>,
    events: TableOut<EventRow>,
    outcomes: Option<TableOut<OutcomeRow>>,
}

impl Tables {
    fn finish(self) -> Result<(), TraceError> {
        match self.pods {
            PodOut::Json(out) => out.finish()?,
            #[cfg(feature = "parquet")]
            PodOut::Parquet { mut out, pods } => {
                if !pods.is_empty() {
                    out.write_pods(&pods)?;
                }
                out.finish()?;
            }
        }
        self.specs.finish()?;
        self.nodes.finish()?;
        self.events.finish()?;
        match self.outcomes {
            Some(outcomes) => outcomes.finish(),
            None => Ok(()),
        }
    }
}

/// Writes a native trace.
pub struct TraceWriter {
    target: PathBuf,
    folder: Temporary,
    options: WriteOptions,
    tables: Option<Tables>,
    counts: Counts,
}

/// What stands before the name of a trace that is replaced, and behind it.
fn old_before(target: &Path) -> String {
    format!(".{}.old-", target.file_name().unwrap_or_default().to_string_lossy())
}

fn is_trace(folder: &Path) -> bool {
    folder.join("trace.json").is_file()
}

/// A file of a folder that is no table of a trace, nor what stands beside them.
fn foreign(folder: &Path) -> Result<Option<String>, TraceError> {
    let known = |name: &str| {
        let table = name.split('.').next().unwrap_or("");
        ["pods", "specs", "nodes", "events", "outcomes"].contains(&table)
            || ["trace.json", CHECKPOINT].contains(&name)
    };
    let entries = fs::read_dir(folder).map_err(|e| TraceError::io(folder, e))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| !known(name)).min())
}

impl TraceWriter {
    /// Starts a trace at `target`, which must not be there yet (or be a trace, with `overwrite`).
    pub fn create(target: &Path, options: WriteOptions) -> Result<TraceWriter, TraceError> {
        let name = target
            .file_name()
            .ok_or_else(|| TraceError::Usage(format!("{}: name a folder to write", target.display())))?;
        // What a killed process left aside is the trace that was there.
        let _ = temporary::mend(target, &old_before(target), is_trace);
        if fs::symlink_metadata(target).is_ok() {
            let (is_link, is_trace) = (target.is_symlink(), is_trace(target));
            let is_empty = fs::read_dir(target).is_ok_and(|mut d| d.next().is_none());
            if is_link || !(is_empty || options.overwrite && is_trace) {
                return Err(TraceError::Usage(format!(
                    "{}: already there; choose another folder{}",
                    target.display(),
                    if is_trace && !is_link { " or overwrite it" } else { "" }
                )));
            }
            if let Some(file) = foreign(target)? {
                return Err(TraceError::Usage(format!(
                    "{}: holds `{file}`, which is no part of a trace and would be lost; move it, or choose another folder",
                    target.display()
                )));
            }
        }
        let parent = parent_of(target);
        fs::create_dir_all(parent).map_err(|e| TraceError::io(parent, e))?;
        let folder = Temporary::folder(parent, &format!(".{}.writing-", name.to_string_lossy()))
            .map_err(|e| TraceError::io(target, e))?;
        let mut writer = TraceWriter {
            target: target.to_path_buf(),
            folder,
            options,
            tables: None,
            counts: Counts::default(),
        };
        let dir = writer.folder.path();
        let pods = match options.encoding {
            Encoding::Jsonl => PodOut::Json(JsonOut::create(dir, "pods", options.compression)?),
            #[cfg(feature = "parquet")]
            Encoding::Parquet => {
                PodOut::Parquet { out: Box::new(columnar::ParquetOut::pods(dir)?), pods: Box::default() }
            }
            #[cfg(not(feature = "parquet"))]
            Encoding::Parquet => return Err(no_parquet()),
        };
        writer.tables = Some(Tables {
            pods,
            specs: TableOut::create(dir, &options)?,
            nodes: TableOut::create(dir, &options)?,
            events: TableOut::create(dir, &options)?,
            outcomes: None,
        });
        Ok(writer)
    }

    /// Where temporary files may go until `finish`.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    fn tables(&mut self) -> &mut Tables {
        self.tables.as_mut().expect("tables are there from create to finish")
    }

    /// Appends a pod.
    pub fn pod(&mut self, row: &PodRow) -> Result<(), TraceError> {
        self.counts.pods += 1;
        match &mut self.tables().pods {
            PodOut::Json(out) => out.write(row),
            #[cfg(feature = "parquet")]
            PodOut::Parquet { out, pods } => {
                pods.push(row);
                if pods.len() == BATCH_ROWS {
                    out.write_pods(pods)?;
                    pods.clear();
                }
                Ok(())
            }
        }
    }

    /// Appends a spec.
    pub fn spec(&mut self, row: &SpecRow) -> Result<(), TraceError> {
        self.counts.specs += 1;
        self.tables().specs.write(row)
    }

    /// Appends a node row.
    pub fn node(&mut self, row: &NodeRow) -> Result<(), TraceError> {
        self.counts.node_rows += 1;
        self.tables().nodes.write(row)
    }

    /// Appends an event.
    pub fn event(&mut self, row: &EventRow) -> Result<(), TraceError> {
        self.counts.events += 1;
        self.tables().events.write(row)
    }

    /// Appends an outcome. The table exists only if there is one.
    pub fn outcome(&mut self, row: &OutcomeRow) -> Result<(), TraceError> {
        self.counts.outcomes += 1;
        if self.tables().outcomes.is_none() {
            let table = TableOut::create(self.folder.path(), &self.options)?;
            self.tables().outcomes = Some(table);
        }
        match &mut self.tables().outcomes {
            Some(out) => out.write(row),
            None => Ok(()),
        }
    }

    /// Writes `trace.json` (format, version, storage and row counts are filled in), syncs, and moves the folder to
    /// its name. `manifest.counts.nodes` (distinct names) is the caller's.
    pub fn finish(mut self, mut manifest: Manifest) -> Result<Manifest, TraceError> {
        if let Some(tables) = self.tables.take() {
            tables.finish()?;
        }
        manifest.format = "podpace-trace".to_string();
        manifest.version = FORMAT_VERSION;
        manifest.encoding = self.options.encoding;
        manifest.compression = self.options.compression;
        manifest.counts = Counts { nodes: manifest.counts.nodes, ..self.counts.clone() };
        let path = self.folder.path().join("trace.json");
        let mut text =
            serde_json::to_string_pretty(&manifest).map_err(|e| TraceError::format(&path, e.to_string()))?;
        text.push('\n');
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|e| TraceError::io(&path, e))?;
        disk::sync_folder(self.folder.path()).map_err(|e| TraceError::io(self.folder.path(), e))?;
        // The old trace stays whole until the new one is complete.
        let (folder, target) = (self.folder, self.target);
        folder.replace(&target, &old_before(&target)).map_err(|e| TraceError::io(&target, e))?;
        let parent = parent_of(&target);
        disk::sync_folder(parent).map_err(|e| TraceError::io(parent, e))?;
        Ok(manifest)
    }
}

/// A native trace opened for reading. Tables can be read any number of times.
#[derive(Debug, Clone)]
pub struct TraceReader {
    folder: PathBuf,
    manifest: Manifest,
}

/// Opens a native trace. A folder without `trace.json` but with a `pods` table is taken as written by hand.
pub fn open(path: &Path) -> Result<TraceReader, TraceError> {
    let file = path.join("trace.json");
    let manifest = if file.exists() {
        const LONGEST: u64 = 16 << 20;
        let text = read_all(&InputFile::named(&file), LONGEST)?;
        let head: serde_json::Value = serde_json::from_slice(&text)
            .map_err(|e| TraceError::format(&file, format!("not JSON ({e}); import the trace again")))?;
        if head.get("format").and_then(|f| f.as_str()) != Some("podpace-trace") {
            return Err(TraceError::format(&file, "not a podpace trace (format is not \"podpace-trace\")"));
        }
        let version = head.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if version == 0 || version > u64::from(FORMAT_VERSION) {
            return Err(TraceError::format(
                &file,
                format!(
                    "format version {version}; this build reads 1 to {FORMAT_VERSION}: use a newer podpace"
                ),
            ));
        }
        serde_json::from_value(head).map_err(|e| TraceError::format(&file, e.to_string()))?
    } else {
        Manifest {
            format: "podpace-trace".into(),
            version: FORMAT_VERSION,
            source: "native".into(),
            ..Manifest::default()
        }
    };
    let reader = TraceReader { folder: path.to_path_buf(), manifest };
    if reader.table("pods").is_none() {
        return Err(TraceError::format(
            path,
            "not a trace: neither pods.parquet nor pods.jsonl is here; make one with `podpace trace import`",
        ));
    }
    Ok(reader)
}

impl TraceReader {
    /// `trace.json`.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The trace's folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    fn table(&self, name: &str) -> Option<PathBuf> {
        ["parquet", "jsonl", "jsonl.gz", "jsonl.zst"]
            .iter()
            .map(|e| self.folder.join(format!("{name}.{e}")))
            .find(|p| p.exists())
    }

    /// Pods in batches.
    pub fn pods(&self) -> Result<PodReader, TraceError> {
        let path =
            self.table("pods").ok_or_else(|| TraceError::format(&self.folder, "the pods table is gone"))?;
        let source = if path.extension().is_some_and(|e| e == "parquet") {
            #[cfg(feature = "parquet")]
            {
                PodSource::Parquet(Box::new(columnar::Batches::open(&path, BATCH_ROWS)?))
            }
            #[cfg(not(feature = "parquet"))]
            {
                return Err(no_parquet());
            }
        } else {
            PodSource::Json(Lines::open(&InputFile::named(&path), MAX_LINE_BYTES)?)
        };
        Ok(PodReader { source, path })
    }

    /// All specs, in order of their id.
    pub fn specs(&self) -> Result<Vec<SpecRow>, TraceError> {
        let mut specs: Vec<SpecRow> = self.rows::<SpecRow>()?.collect::<Result<_, _>>()?;
        specs.sort_by_key(|s| s.spec_id);
        if let Some((i, s)) = specs.iter().enumerate().find(|(i, s)| s.spec_id as usize != *i) {
            let message =
                format!("specs: spec_id {} where {i} is expected; ids count 0, 1, 2, ..", s.spec_id);
            return Err(TraceError::format(&self.folder, message));
        }
        Ok(specs)
    }

    /// Node rows in order of time.
    pub fn nodes(&self) -> Result<RowReader<NodeRow>, TraceError> {
        self.rows()
    }

    /// Events in order of time.
    pub fn events(&self) -> Result<RowReader<EventRow>, TraceError> {
        self.rows()
    }

    /// Recorded outcomes, in order of their pods; nothing if none were recorded.
    pub fn outcomes(&self) -> Result<RowReader<OutcomeRow>, TraceError> {
        self.rows()
    }

    fn rows<T: Row>(&self) -> Result<RowReader<T>, TraceError> {
        let source = match self.table(T::TABLE) {
            None => RowSource::Empty,
            Some(path) if path.extension().is_some_and(|e| e == "parquet") => {
                #[cfg(feature = "parquet")]
                {
                    RowSource::Parquet { reader: Box::new(columnar::Batches::open(&path, BATCH_ROWS)?), path }
                }
                #[cfg(not(feature = "parquet"))]
                {
                    return Err(no_parquet());
                }
            }
            Some(path) => RowSource::Json(Lines::open(&InputFile::named(&path), MAX_LINE_BYTES)?),
        };
        Ok(RowReader { source, batch: Vec::new().into_iter() })
    }
}

enum PodSource {
    Json(Lines),
    #[cfg(feature = "parquet")]
    Parquet(Box<columnar::Batches>),
}

/// Reads pods batch by batch.
pub struct PodReader {
    source: PodSource,
    path: PathBuf,
}

impl PodReader {
    /// Replaces `batch` with the next pods; `false` at the end.
    pub fn next_batch(&mut self, batch: &mut PodBatch) -> Result<bool, TraceError> {
        batch.clear();
        match &mut self.source {
            PodSource::Json(lines) => {
                while batch.len() < BATCH_ROWS && batch.text_bytes() < BATCH_BYTES {
                    let Some(row) = json_row::<PodRow>(lines)? else { break };
                    batch.push(&row);
                }
                Ok(!batch.is_empty())
            }
            #[cfg(feature = "parquet")]
            PodSource::Parquet(reader) => {
                for record in reader.by_ref() {
                    let record = record?;
                    columnar::read_pods(&record, batch).map_err(|e| TraceError::format(&self.path, e))?;
                    if !batch.is_empty() {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// Pods one by one; convenient where speed does not matter.
    pub fn rows(self) -> PodRows {
        PodRows { reader: self, batch: PodBatch::default(), at: 0 }
    }

    /// The file read.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Pods one by one.
pub struct PodRows {
    reader: PodReader,
    batch: PodBatch,
    at: usize,
}

impl Iterator for PodRows {
    type Item = Result<PodRow, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.batch.len() {
            self.at = 0;
            match self.reader.next_batch(&mut self.batch) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(e) => return Some(Err(e)),
            }
        }
        self.at += 1;
        Some(Ok(self.batch.row(self.at - 1)))
    }
}

enum RowSource {
    Empty,
    Json(Lines),
    #[cfg(feature = "parquet")]
    Parquet {
        reader: Box<columnar::Batches>,
        path: PathBuf,
    },
}

/// Rows of a small table one by one.
pub struct RowReader<T> {
    source: RowSource,
    batch: std::vec::IntoIter<T>,
}

impl<T: Row> Iterator for RowReader<T> {
    type Item = Result<T, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.batch.next() {
            return Some(Ok(row));
        }
        match &mut self.source {
            RowSource::Empty => None,
            RowSource::Json(lines) => json_row(lines).transpose(),
            #[cfg(feature = "parquet")]
            RowSource::Parquet { reader, path } => loop {
                let batch = match reader.next()? {
                    Ok(batch) => batch,
                    Err(e) => return Some(Err(e)),
                };
                match T::from_arrow(&columnar::Columns::new(&batch)) {
                    Ok(rows) => self.batch = rows.into_iter(),
                    Err(e) => return Some(Err(TraceError::format(path, e))),
                }
                if let Some(row) = self.batch.next() {
                    return Some(Ok(row));
                }
            },
        }
    }
}

fn json_row<T: DeserializeOwned>(lines: &mut Lines) -> Result<Option<T>, TraceError> {
    loop {
        let parsed = {
            let Some(line) = lines.next_line()? else { return Ok(None) };
            if line.trim().is_empty() {
                continue;
            }
            serde_json::from_str::<T>(line).map_err(|e| e.to_string())
        };
        return parsed.map(Some).map_err(|e| lines.error(Problem::BadSyntax, "", "", e));
    }
}
