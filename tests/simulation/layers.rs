//! Modules use only lower layers: engine < cost < cluster < measure < control_plane < scheduler < autoscaler < trace <
//! scenario < experiment < report < calibrate < cli.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Lowest first. A module uses itself and what stands in an earlier group.
const LAYERS: [&[&str]; 13] = [
    &["engine"],
    &["cost"],
    &["cluster"],
    &["measure"],
    &["control_plane"],
    &["scheduler"],
    &["autoscaler"],
    &["trace"],
    &["scenario"],
    &["experiment"],
    &["report"],
    &["calibrate"],
    &["cli"],
];

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|group| group.contains(&module))
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Top-level modules that a line names: `crate::x`, and each `x` of `use crate::{x::.., y}`.
fn used(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or("");
    let mut found = Vec::new();
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit()).collect()
    };
    for part in code.split("crate::").skip(1) {
        if let Some(list) = part.strip_prefix('{') {
            let mut depth = 0;
            let mut start = true;
            for (at, c) in list.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if start && !c.is_whitespace() => {
                        found.push(word(&list[at..]));
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            found.push(word(part));
        }
    }
    found.retain(|m| !m.is_empty());
    found
}

#[test]
fn modules_use_only_lower_layers() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    files.sort();
    let (mut errors, mut seen) = (Vec::new(), BTreeSet::new());
    for file in &files {
        let relative = file.strip_prefix(&source).unwrap();
        let module = relative.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        if module == "lib" || module == "main" {
            continue;
        }
        let Some(own) = rank(&module) else {
            errors.push(format!("{}: `{module}` is in no layer of this test", relative.display()));
            continue;
        };
        seen.insert(module.clone());
        for (number, line) in std::fs::read_to_string(file).unwrap().lines().enumerate() {
            for other in used(line) {
                match rank(&other) {
                    Some(rank) if rank < own || other == module => {}
                    Some(_) => errors.push(format!(
                        "{}:{}: `{module}` uses `{other}`, which is no lower layer",
                        relative.display(),
                        number + 1
                    )),
                    // A macro of the crate's root.
                    None => {}
                }
            }
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    assert!(seen.len() >= 9, "only {seen:?} were found: has the layout changed?");
}

#[test]
fn uses_are_recognised() {
    assert_eq!(used("use crate::engine::Nanos;"), ["engine"]);
    assert_eq!(used("use crate::{cost::{Meter, OpId}, engine::Nanos};"), ["cost", "engine"]);
    assert_eq!(used("    let x = crate::scenario::to_yaml(&y); // crate::cli"), ["scenario"]);
    assert!(used("//! crate::cli").is_empty());
}
