//! Generated pages are what the command line and the schemas say about themselves; the book holds every page.
use std::collections::BTreeSet;
use std::path::Path;

fn up_to_date(page: &str, now: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, now).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == now, "{page} is stale: UPDATE_DOCS=1 cargo test --test cli docs");
}

#[test]
fn the_command_line_s_page_is_up_to_date() {
    up_to_date("docs/cli.md", &podpace::cli::docs::markdown());
}

#[test]
fn the_scenario_s_page_is_up_to_date() {
    let page = podpace::cli::docs::scenario_markdown();
    assert!(page.contains("| **`apiVersion`** |") && page.contains("`percentageOfNodesToScore`"));
    up_to_date("docs/scenario.md", &page);
}

/// Targets of the links of a page, without anchors and other sites.
fn links(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut code = false;
    for line in page.lines() {
        if line.starts_with("```") {
            code = !code;
        }
        for part in line.split("](").skip(1).filter(|_| !code) {
            let target = part.split(')').next().unwrap_or_default().split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                found.push(target.to_owned());
            }
        }
    }
    found
}

#[test]
fn the_book_holds_every_page_and_no_link_is_dead() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let pages: BTreeSet<String> = std::fs::read_dir(&docs)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".md"))
        .collect();
    let read = |name: &str| std::fs::read_to_string(docs.join(name)).unwrap();
    let listed: BTreeSet<String> = links(&read("SUMMARY.md")).into_iter().collect();
    let expected: BTreeSet<String> = pages.iter().filter(|name| *name != "SUMMARY.md").cloned().collect();
    assert_eq!(listed, expected, "docs/SUMMARY.md lists other pages than there are");
    for page in &pages {
        for target in links(&read(page)) {
            assert!(docs.join(&target).exists(), "docs/{page}: a dead link to {target}");
        }
    }
}
