//! Builds the destinations of the logs, and checks whether lines can be appended to their files.
//!
//! No file is created or opened here, because a check of the configuration must not leave files
//! behind, and because opening a pipe would wait for its reader. No message quotes the value of a
//! key: an operator may have written a secret there.

use std::fs::{self, FileType};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, access, major, minor};

use super::{Build, LogFiles};
use crate::config::problem::Place;
use crate::config::raw;
use crate::config::ready::{AccessLogTarget, Log};

const ACCESS: &str = "log.access";
const AUDIT: &str = "log.audit";

/// Words that operators write for a destination that is not a file, in lower case. They are not
/// taken for the names of files, because the log would then be where no one looks for it.
const WORDS: [&str; 22] = [
    "stdout", "stderr", "off", "-", "none", "null", "nil", "no", "yes", "on", "true", "false", "~",
    "disabled", "disable", "enabled", "enable", "never", "syslog", "journald", "journal",
    "console",
];

/// The most symbolic links that are followed from a file that does not exist, as in Linux.
const MAX_LINKS: usize = 40;

/// The device number of /dev/full, the only device that may be the file of a log. Writing to it
/// fails as on a full disk, so that operators can see what the gate then does. Lines that go to
/// any other device are lost.
const DEV_FULL: (u32, u32) = (1, 7);

/// The file of a log.
struct LogFile {
    /// The path without `.`, `..` and symbolic links.
    path: PathBuf,
    /// The device and the inode, if the file exists.
    inode: Option<(u64, u64)>,
}

impl Build<'_> {
    /// Builds the destinations of the logs. All other files must have been read, because no log may
    /// be appended to one of them.
    pub(super) fn log(&mut self, raw: &raw::LogSection) -> Log {
        let access = match raw.access.as_str() {
            "stdout" | "off" => None,
            file => self.log_file(ACCESS, file, "write stdout, off or a file"),
        };
        let audit = match raw.audit.as_str() {
            "off" => None,
            file if file.eq_ignore_ascii_case("stdout") => {
                let message = "the audit log cannot go to stdout, because each write to the \
                               registry waits until its line is in a file; write off or a file";
                self.problem(AUDIT, message);
                None
            }
            file => self.log_file(AUDIT, file, "write off or a file"),
        };
        if let (Some(access), Some(audit)) = (&access, &audit)
            && access.is_same(audit)
        {
            let message = "the access log already goes to this file; write another file or off";
            self.problem(AUDIT, message);
        }
        Log {
            level: match raw.level {
                raw::LogLevel::Error => tracing::Level::ERROR,
                raw::LogLevel::Warn => tracing::Level::WARN,
                raw::LogLevel::Info => tracing::Level::INFO,
                raw::LogLevel::Debug => tracing::Level::DEBUG,
                raw::LogLevel::Trace => tracing::Level::TRACE,
            },
            format: raw.format,
            access: match raw.access.as_str() {
                "stdout" => AccessLogTarget::Stdout,
                "off" => AccessLogTarget::Off,
                file => AccessLogTarget::File(self.folder.join(file)),
            },
            audit: match raw.audit.as_str() {
                "off" => None,
                file => Some(self.folder.join(file)),
            },
        }
    }

    /// Returns the file of a log; `None` if no log can be appended to it, which is then reported.
    fn log_file(&mut self, key: &str, file: &str, right: &str) -> Option<LogFile> {
        if let Some(word) = WORDS.iter().find(|word| file.trim().eq_ignore_ascii_case(word)) {
            let message = format!(
                "`{word}` is not a destination here; {right} (a file of this name: ./{word})"
            );
            self.problem(key, message);
            return None;
        }
        let checked =
            LogFile::find(&self.folder.join(file)).and_then(|file| file.check().map(|()| file));
        match checked {
            Err(wrong) if self.is_open(file) => {
                self.warn(key, format!("{wrong}; its lines still go to the earlier file; {right}"));
                None
            }
            Err(wrong) if matches!(self.log_files, LogFiles::Unneeded) => {
                self.warn(key, format!("{wrong}; {right}"));
                None
            }
            Err(wrong) => {
                self.problem(key, format!("{wrong}; {right}"));
                None
            }
            Ok(found) => match self.other_use(&found) {
                None => Some(found),
                Some(other) => {
                    self.problem(key, format!("this is also {other}; {right} of its own"));
                    None
                }
            },
        }
    }

    /// Returns whether a running gate has the file open.
    fn is_open(&self, file: &str) -> bool {
        match self.log_files {
            LogFiles::Open(open) => open.contains(&self.folder.join(file)),
            LogFiles::Needed | LogFiles::Unneeded => false,
        }
    }

    /// Returns what else the configuration uses a file for.
    fn other_use(&self, file: &LogFile) -> Option<String> {
        if let Place::File { file: config, .. } = self.start
            && file.is_at(config)
        {
            return Some("the config file".to_owned());
        }
        let other = self.files.iter().find(|other| file.is_at(&other.path))?;
        Some(format!("the file of `{}`", other.key))
    }
}

impl LogFile {
    /// Follows symbolic links to the file, which need not exist yet. The error says why no file can
    /// be there.
    fn find(path: &Path) -> Result<Self, String> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            match path.components().next_back() {
                Some(Component::Normal(_)) if !ends_with_slash(&path) => {}
                _ => return Err("this is a folder".to_owned()),
            }
            let name = path.file_name().unwrap_or_default();
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            let folder = folder.canonicalize().map_err(|error| unusable_folder(&error))?;
            let found = folder.join(name);
            match found.symlink_metadata() {
                // Links of /proc lead to open files that may have no path.
                Ok(_) if folder.starts_with("/proc") => {
                    return Ok(Self { path: found, inode: None });
                }
                Ok(metadata) if metadata.is_symlink() => {
                    let target = fs::read_link(&found).map_err(|error| unusable(&error))?;
                    path = folder.join(target);
                }
                Ok(metadata) => {
                    let inode = Some((metadata.dev(), metadata.ino()));
                    return Ok(Self { path: found, inode });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Self { path: found, inode: None });
                }
                Err(error) => return Err(unusable(&error)),
            }
        }
        Err("its symbolic links lead in a circle".to_owned())
    }

    /// Checks whether lines can be appended to the file, or whether it can be created.
    fn check(&self) -> Result<(), String> {
        if self.path.starts_with("/proc") || self.path.starts_with("/sys") {
            return Err("this is a place of the kernel and not a file".to_owned());
        }
        let Ok(metadata) = self.path.metadata() else {
            let folder = self.path.parent().unwrap_or(Path::new("/"));
            return access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
                format!(
                    "this file does not exist, and this user cannot create it ({error}); let the \
                     user write to its folder, or create the file for the user"
                )
            });
        };
        let kind = metadata.file_type();
        if let Some(other) = not_a_file(kind, metadata.rdev()) {
            return Err(other.to_owned());
        }
        access(&self.path, Access::WRITE_OK).map_err(|error| {
            format!("this user cannot append to this file ({error}); let the user write to it")
        })
    }

    /// Returns whether the file is the one at a path.
    fn is_at(&self, path: &Path) -> bool {
        Self::find(path).is_ok_and(|other| self.is_same(&other))
    }

    fn is_same(&self, other: &Self) -> bool {
        self.path == other.path || (self.inode.is_some() && self.inode == other.inode)
    }
}

/// Returns what a path is if lines cannot be kept there.
fn not_a_file(kind: FileType, device: u64) -> Option<&'static str> {
    if kind.is_dir() {
        Some("this is a folder")
    } else if kind.is_fifo() {
        Some("this is a pipe, and lines would wait for its reader")
    } else if kind.is_socket() {
        Some("this is a socket and not a file")
    } else if kind.is_block_device()
        || (kind.is_char_device() && (major(device), minor(device)) != DEV_FULL)
    {
        Some("this is a device, which keeps no lines")
    } else {
        None
    }
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

fn unusable_folder(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "the folder of this file does not exist; create it".to_owned(),
        io::ErrorKind::NotADirectory => unusable(error),
        _ => format!("the folder of this file cannot be used ({error})"),
    }
}

fn unusable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::InvalidFilename => "the name of this file is too long".to_owned(),
        io::ErrorKind::NotADirectory => "the folder of this file is a file".to_owned(),
        _ => format!("this file cannot be used ({error})"),
    }
}
