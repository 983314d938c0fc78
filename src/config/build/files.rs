//! Reads the files that the configuration names. Each file is read once, its size is limited, and
//! each problem is reported at the place of the key.

use std::io;
use std::path::Path;

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{Build, NamedFiles};
use crate::config::named_file::{FileVersion, MAX_BYTES, read_bounded};
use crate::config::problem::{Place, Problem, shown};

impl Build<'_> {
    /// Returns the content of a file that a key names; `None` if it cannot be read, which is then
    /// reported.
    pub(super) fn read(&mut self, key: &str, file: &str) -> Option<Zeroizing<Vec<u8>>> {
        let path = self.folder.join(file);
        let content = read_bounded(&path, MAX_BYTES).map(Zeroizing::new);
        self.files.push(FileVersion::new(key, path, content.as_deref().map(Vec::as_slice).ok()));
        match content {
            Ok(content) => Some(content),
            Err(error) if self.named_files == NamedFiles::Elsewhere && is_elsewhere(&error) => {
                self.warn(
                    key,
                    "this file is not here, so its content and what depends on it are not checked; \
                     check the config again on the gate's machine",
                );
                None
            }
            Err(error) => {
                self.problem(key, self.unreadable(file, &error));
                None
            }
        }
    }

    /// Returns the content of a file that a key names as text, which must be UTF-8.
    pub(super) fn read_text(&mut self, key: &str, file: &str) -> Option<Zeroizing<String>> {
        let content = self.read(key, file)?;
        match str::from_utf8(&content) {
            Ok(text) => Some(Zeroizing::new(text.to_owned())),
            Err(_) => {
                self.problem(
                    key,
                    format!("`{}` is not UTF-8 text; save the file as UTF-8", shown(file)),
                );
                None
            }
        }
    }

    /// Reads a secret: one line of text, without its newline.
    pub(super) fn secret(&mut self, key: &str, file: &str) -> Option<SecretString> {
        let text = self.read_text(key, file)?;
        self.warn_if_others_read(key, file);
        let line = text
            .strip_suffix('\n')
            .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        let wrong = match line {
            "" => "is empty",
            _ if line.contains(char::is_control) => {
                "contains more than one line or a control character"
            }
            _ => return Some(SecretString::from(line)),
        };
        self.problem(key, format!("`{}` {wrong}; write the secret in one line", shown(file)));
        None
    }

    /// Warns if every user of the machine may read a file with a secret. Only the gate's own user,
    /// and perhaps a group, should be able to.
    pub(super) fn warn_if_others_read(&mut self, key: &str, file: &str) {
        if others_may_read(&self.folder.join(file)) {
            let message = format!(
                "every user of this machine may read `{0}`; run chmod o-r {0}",
                shown(file)
            );
            self.warn(key, message);
        }
    }

    /// Reports a problem inside a file that a key names.
    pub(super) fn problem_within(
        &mut self,
        file: &str,
        line: usize,
        column: usize,
        message: impl Into<String>,
    ) {
        let place = Place::File { file: self.folder.join(shown(file)).into(), line, column };
        self.problems.push(Problem::new(place, message));
    }

    /// Returns the message about a file that cannot be read. The value of the key is not quoted,
    /// because an operator may have written the secret there in place of the name of its file.
    fn unreadable(&self, file: &str, error: &io::Error) -> String {
        let what = match error.kind() {
            io::ErrorKind::NotFound => match self.folder.join(file).parent() {
                Some(folder) if !folder.as_os_str().is_empty() && !folder.exists() => {
                    "the folder of this file does not exist".to_owned()
                }
                _ => "this file does not exist".to_owned(),
            },
            io::ErrorKind::PermissionDenied => "this user may not read this file".to_owned(),
            io::ErrorKind::IsADirectory => "this is a folder".to_owned(),
            io::ErrorKind::FileTooLarge => "this file is larger than 16 MiB".to_owned(),
            io::ErrorKind::NotSeekable => "this is a pipe".to_owned(),
            io::ErrorKind::InvalidFilename => {
                let length = file.chars().count();
                format!("the value has {length} characters, which is too long for a file name")
            }
            _ => format!("this file cannot be read ({error})"),
        };
        let path =
            if file.starts_with('/') { "" } else { ", with a path relative to the config file" };
        format!(
            "{what}; name a readable file{path}, and not its content (the value is not shown, \
             because it may be a secret)"
        )
    }
}

/// Returns whether an error can mean that the file is on another machine.
fn is_elsewhere(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

#[cfg(unix)]
fn others_may_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn others_may_read(_: &Path) -> bool {
    false
}
