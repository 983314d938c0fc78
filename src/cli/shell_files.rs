//! `moorgate completions` and `moorgate man`: files that are made from the arguments of the
//! program.

use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

use anyhow::Context as _;
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{failed, say};

/// Prints the completions of a shell.
pub(super) fn completions(mut command: Command, shell: Shell) -> ExitCode {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    say(&String::from_utf8_lossy(&script))
}

/// Writes the manual pages into a folder.
pub(super) fn man(mut command: Command, folder: &Path) -> ExitCode {
    command.build();
    let written = fs::create_dir_all(folder)
        .and_then(|()| write_pages(&command, folder))
        .with_context(|| format!("{} cannot be written", folder.display()));
    written.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

/// Writes the page of a command, and those of its subcommands.
fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands() {
        write_pages(subcommand, folder)?;
    }
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render(&mut page)?;
    // clap_mangen leaves an empty date out, so that the version would count as the date.
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let version = env!("CARGO_PKG_VERSION");
    let title = format!(".TH \"{name}\" 1 \"\" \"moorgate {version}\" \"Manual of moorgate\"");
    let page = String::from_utf8_lossy(&page);
    let lines = page.lines().map(|line| if line.starts_with(".TH ") { &title } else { line });
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    fs::write(folder.join(man.get_filename()), text)
}
