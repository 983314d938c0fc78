//! `moorgate hash-password`

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use zeroize::Zeroizing;

use super::{failed, say};
use crate::identity::provider::htpasswd::MAX_PASSWORD_BYTES;

/// The bcrypt cost: 2^10 rounds, which take some tens of milliseconds.
const COST: u32 = 10;

/// Prints the hash of the password on standard input. With a user, it prints a whole line of an
/// htpasswd file.
pub(super) fn hash_password(user: Option<&str>) -> ExitCode {
    match hash(user) {
        Ok(line) => say(&format!("{line}\n")),
        Err(error) => failed(&error),
    }
}

fn hash(user: Option<&str>) -> anyhow::Result<String> {
    if let Some(user) = user {
        anyhow::ensure!(
            !user.is_empty()
                && !user.starts_with('#')
                && !user.contains(':')
                && !user.chars().any(char::is_control),
            "the user name must not be empty, begin with '#', or contain a colon or a control \
             character"
        );
    }
    if std::io::stdin().is_terminal() {
        eprintln!(
            "Enter the password, then press Enter and Ctrl-D. The terminal shows the password; to \
             hide it, pipe it in."
        );
    }
    let mut password = Zeroizing::new(String::new());
    // The limit is one byte more than a line with the longest password. A longer password is
    // detected, and endless input is not read.
    std::io::stdin().take(MAX_PASSWORD_BYTES as u64 + 3).read_to_string(&mut password)?;
    let line = password.strip_suffix('\n').unwrap_or(&password);
    let line = line.strip_suffix('\r').unwrap_or(line);
    anyhow::ensure!(!line.is_empty(), "the password on standard input is empty");
    anyhow::ensure!(
        line.len() <= MAX_PASSWORD_BYTES,
        "the password is longer than 72 bytes, and bcrypt ignores the rest"
    );
    anyhow::ensure!(
        !line.chars().any(char::is_control),
        "the password holds a control character; pass only one line"
    );
    let hash = bcrypt::hash(line, COST)?;
    Ok(user.map_or_else(|| hash.clone(), |user| format!("{user}:{hash}")))
}
