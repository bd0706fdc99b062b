//! The import report: what was read, what was kept, what was dropped and why, what was made up and by which rule.
//!
//! No importer drops a row or invents a value without a line here; the report goes to the terminal and, the same,
//! into `trace.json`. For each table, rows read = rows kept + rows dropped; a file that can't be read (on) counts as a row. Everything is ordered by name, so equal imports give equal bytes. Memory is O(distinct
//! reasons), whatever the number of rows.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rows of one source table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableReport {
    /// Files that belonged to the table.
    pub files: u64,
    /// Data rows read (headers, comments and blank lines are none).
    pub read: u64,
    /// Rows that went into the trace.
    pub kept: u64,
    /// Rows that did not, by reason.
    pub dropped: BTreeMap<String, Dropped>,
}

/// Rows dropped for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dropped {
    /// How many.
    pub count: u64,
    /// Where the first one is and what is wrong with it.
    pub first: String,
}

/// Values the trace needs and the source lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invented {
    /// By which rule.
    pub rule: String,
    /// In how many rows.
    pub count: u64,
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Source tables by name.
    pub tables: BTreeMap<String, TableReport>,
    /// Invented or converted values by field.
    pub invented: BTreeMap<String, Vec<Invented>>,
    /// Tables of the format that were not given, and what is missing without them.
    pub absent: BTreeMap<String, String>,
    /// Pods and nodes that rows describe and the trace does not have, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, Dropped>,
    /// Files given that belong to no table, or were left out by a rule.
    pub ignored_files: Vec<String>,
    /// What the reader should know about this trace.
    pub notes: Vec<String>,
}

impl Report {
    /// The table's entry, made on first use.
    pub fn table(&mut self, name: &str) -> &mut TableReport {
        if !self.tables.contains_key(name) {
            self.tables.insert(name.to_string(), TableReport::default());
        }
        self.tables.get_mut(name).expect("just inserted")
    }

    /// Counts a dropped row; `first` is only built for the first one of its reason.
    pub fn drop_row(&mut self, table: &str, reason: &str, first: impl FnOnce() -> String) {
        let dropped = &mut self.table(table).dropped;
        match dropped.get_mut(reason) {
            Some(d) => d.count += 1,
            None => {
                dropped.insert(reason.to_string(), Dropped { count: 1, first: first() });
            }
        }
    }

    /// Counts a value made up for `field` by `rule`.
    pub fn invent(&mut self, field: &str, rule: &str) {
        self.invent_n(field, rule, 1);
    }

    /// Counts `n` values made up for `field` by `rule`.
    pub fn invent_n(&mut self, field: &str, rule: &str, n: u64) {
        if n == 0 {
            return;
        }
        if !self.invented.contains_key(field) {
            self.invented.insert(field.to_string(), Vec::new());
        }
        let rules = self.invented.get_mut(field).expect("just inserted");
        match rules.iter_mut().find(|i| i.rule == rule) {
            Some(i) => i.count += n,
            None => rules.push(Invented { rule: rule.to_string(), count: n }),
        }
    }

    /// Counts a pod or node that does not come into the trace although its rows were read; `reason` says which and why.
    pub fn leave_out(&mut self, reason: &str, first: impl FnOnce() -> String) {
        match self.left_out.get_mut(reason) {
            Some(d) => d.count += 1,
            None => {
                self.left_out.insert(reason.to_string(), Dropped { count: 1, first: first() });
            }
        }
    }

    /// Whether each row that was read was either kept or dropped.
    pub fn is_balanced(&self) -> bool {
        self.tables.values().all(|t| t.read == t.kept + t.dropped.values().map(|d| d.count).sum::<u64>())
    }

    /// Says that a table is absent and what is missing without it.
    pub fn absent(&mut self, table: &str, consequence: &str) {
        self.absent.insert(table.to_string(), consequence.to_string());
    }

    /// Adds a note, once.
    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// Rows read over all tables.
    pub fn read(&self) -> u64 {
        self.tables.values().map(|t| t.read).sum()
    }

    /// Rows dropped over all tables and reasons.
    pub fn dropped(&self) -> u64 {
        self.tables.values().flat_map(|t| t.dropped.values()).map(|d| d.count).sum()
    }
}

/// Thousands separated, as people read counts.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.tables.keys().map(String::len).max().unwrap_or(0).max(5);
        writeln!(f, "{:width$}  {:>6} {:>13} {:>13} {:>13}", "table", "files", "read", "kept", "dropped")?;
        for (name, t) in &self.tables {
            let dropped: u64 = t.dropped.values().map(|d| d.count).sum();
            writeln!(
                f,
                "{name:width$}  {:>6} {:>13} {:>13} {:>13}",
                thousands(t.files),
                thousands(t.read),
                thousands(t.kept),
                thousands(dropped)
            )?;
        }
        for (name, t) in &self.tables {
            for (reason, d) in &t.dropped {
                writeln!(f, "dropped   {name}: {} x {reason} (first: {})", thousands(d.count), d.first)?;
            }
        }
        for (reason, d) in &self.left_out {
            writeln!(f, "left out  {} x {reason} (first: {})", thousands(d.count), d.first)?;
        }
        for (field, rules) in &self.invented {
            for i in rules {
                writeln!(f, "made up   {field}: {} x {}", thousands(i.count), i.rule)?;
            }
        }
        for (table, consequence) in &self.absent {
            writeln!(f, "absent    {table}: {consequence}")?;
        }
        for name in &self.ignored_files {
            writeln!(f, "left out  {name}")?;
        }
        for note in &self.notes {
            writeln!(f, "note      {note}")?;
        }
        Ok(())
    }
}
