//! README.md and the tutorial do what they say: every command line in them parses, and the newcomer's way from a recording
//! to a report runs as it stands there.

use std::fs;
use std::path::Path;

use clap::Parser;

use podpace::cli::args::Cli;

const PAGES: [&str; 4] = ["README.md", "docs/tutorial.md", "docs/reports.md", "docs/how-to.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The code blocks of a page in a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside: Option<String> = None;
    for line in page.lines() {
        match &mut inside {
            Some(block) if line.starts_with("```") => {
                found.push(std::mem::take(block));
                inside = None;
            }
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line.trim_end() == format!("```{language}") => inside = Some(String::new()),
            None => {}
        }
    }
    found
}

/// Words as a shell splits them: quotes, comments.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (c, quote) {
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (_, Some(open)) if c == open => quote = None,
            ('#', None) if word.is_none() => break,
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn every_command_of_the_pages_is_one() {
    let mut commands = 0;
    for page in PAGES {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let lines = blocks(&text, "sh").into_iter().chain(blocks(&text, "console"));
        for block in lines {
            for line in block.replace("\\\n", " ").lines() {
                let line = line.trim_start_matches("$ ").replace("cargo run --release -- ", "podpace ");
                if !line.starts_with("podpace ") {
                    continue;
                }
                let words = words(line.split(" > ").next().unwrap());
                if let Err(error) = Cli::try_parse_from(&words) {
                    panic!("{page}: `{line}`: {error}");
                }
                commands += 1;
            }
        }
    }
    assert!(commands > 25, "{commands}");
}

/// Runs a block by bash, with the built binary and a `kubectl` that shows the sample; `/tmp` is a folder of its own.
#[cfg(unix)]
fn run(block: &str) -> tempfile::TempDir {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for name in ["scenarios", "traces", "models"] {
        symlink(root().join(name), here.join(name)).unwrap();
    }
    for name in ["bin", "tmp"] {
        fs::create_dir(here.join(name)).unwrap();
    }
    symlink(assert_cmd::cargo::cargo_bin("podpace"), here.join("bin/podpace")).unwrap();
    let kubectl = here.join("bin/kubectl");
    fs::write(&kubectl, "#!/bin/sh\ncat traces/kubectl/kubectl_get_pods_jobs.json\n").unwrap();
    fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
    let script = block.replace("/tmp/", &format!("{}/", here.join("tmp").display()));
    let path = format!("{}:{}", here.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let output = std::process::Command::new("bash")
        .args(["-eu", "-c", &script])
        .current_dir(here)
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    folder
}

#[cfg(unix)]
#[test]
fn a_newcomer_gets_from_a_recording_to_a_report() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let week = blocks(&text, "sh").into_iter().find(|block| block.contains("week.json")).expect("the block");
    let folder = run(&week);
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.contains("as-it-was") && page.contains("yunikorn"), "a page that tells two runs apart");
}

#[cfg(unix)]
#[test]
fn the_tutorial_runs_as_it_stands() {
    let text = fs::read_to_string(root().join("docs/tutorial.md")).unwrap();
    let all: String =
        blocks(&text, "sh").into_iter().filter(|block| !block.contains("cargo build")).collect();
    let folder = run(&all);
    assert!(folder.path().join("report.html").is_file());
}
