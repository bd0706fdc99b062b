//! docs/cli.md from clap, so that it can't drift.
use clap::{Command, CommandFactory};

use super::args::Cli;

/// The reference of the command line as Markdown: the help of every command.
#[must_use]
pub fn markdown() -> String {
    let mut text = "<!-- Generated from the command line's definition; do not edit. Update: \
                    UPDATE_DOCS=1 cargo test --test cli docs -->\n\n# Command line\n"
        .to_owned();
    let mut root = Cli::command().term_width(100);
    root.build();
    section(&mut root, &mut text);
    text
}

fn section(command: &mut Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    text.push_str(&format!(
        "\n## {name}\n\n```text\n{}\n```\n",
        command.render_long_help().to_string().trim_end()
    ));
    for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
        section(sub, text);
    }
}
