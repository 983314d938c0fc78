//! `moorgate hash-password`

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use anyhow::Context as _;
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
    // The limit is one byte more than a line with the longest password. A longer password is
    // detected, and endless input is not read. The full capacity is allocated at once, because a
    // vector that grows leaves copies in memory that are not zeroed.
    let mut input = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD_BYTES + 3));
    std::io::stdin()
        .take(MAX_PASSWORD_BYTES as u64 + 3)
        .read_to_end(&mut input)
        .context("standard input cannot be read")?;
    let hash = bcrypt::hash(password(&input)?, COST)?;
    Ok(user.map_or_else(|| hash.clone(), |user| format!("{user}:{hash}")))
}

/// Returns the password in the start of standard input. Its length is checked before its encoding,
/// because the limit may have cut the input within a character.
fn password(input: &[u8]) -> anyhow::Result<&str> {
    let line = input.strip_suffix(b"\n").unwrap_or(input);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    anyhow::ensure!(!line.is_empty(), "the password on standard input is empty; pass one line");
    anyhow::ensure!(
        line.len() <= MAX_PASSWORD_BYTES,
        "the password is longer than 72 bytes, and bcrypt ignores the rest; pass a shorter one"
    );
    let line = std::str::from_utf8(line)
        .map_err(|_| anyhow::anyhow!("the password is not UTF-8 text; pass it as UTF-8"))?;
    anyhow::ensure!(
        !line.chars().any(char::is_control),
        "the password contains a control character; pass only one line"
    );
    Ok(line)
}
