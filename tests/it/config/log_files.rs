//! The files of the logs: what cannot be one is a problem, and a check leaves no file behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use moorgate::config;

use super::MINIMAL;
use super::files::{htpasswd, token_keys, write, write_private};

/// Returns the problems of a config in `folder` with these lines.
fn problems(folder: &Path, lines: &str) -> String {
    let path = folder.join("moorgate.yml");
    let text =
        MINIMAL.replace("external_url", "tls: { certificate: a.crt, key: a.key }, external_url");
    fs::write(&path, format!("{text}{lines}\n")).expect("a config");
    match config::load(&path, []) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    }
}

fn new_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    super::files::pair(folder.path(), "a", -1, 365);
    write(folder.path(), "htpasswd", htpasswd());
    write_private(folder.path(), "tokens.keys", &token_keys());
    folder
}

#[test]
fn a_log_that_no_line_can_be_appended_to_is_a_problem() {
    let folder = new_folder();
    let folder = folder.path();
    fs::create_dir(folder.join("dir")).expect("a folder");
    symlink(folder.join("none/file"), folder.join("dangling")).expect("a link");
    symlink("loop", folder.join("loop")).expect("a link");
    assert!(Command::new("mkfifo").arg(folder.join("pipe")).status().expect("mkfifo").success());
    let _socket = UnixListener::bind(folder.join("socket")).expect("a socket");
    for (file, told) in [
        ("dir", "this is a folder"),
        ("dir/", "this is a folder"),
        ("dir/..", "this is a folder"),
        ("none/file", "the folder of this file does not exist; create it"),
        ("dangling", "the folder of this file does not exist; create it"),
        ("htpasswd/file", "the folder of this file is a file"),
        ("loop", "links lead in a circle"),
        ("pipe", "this is a pipe"),
        ("socket", "this is a socket"),
        ("/dev/null", "this is a device"),
        ("/dev/zero", "this is a device"),
        ("/dev/stdout", "place of the kernel"),
        ("/dev/stderr", "place of the kernel"),
        ("/proc/self/status", "place of the kernel"),
        ("/sys/audit.log", "place of the kernel"),
        ("stderr", "`stderr` is not a destination here"),
        ("Off", "`off` is not a destination here"),
        ("NONE", "`none` is not a destination here"),
        ("no", "`no` is not a destination here"),
        ("\"false\"", "`false` is not a destination here"),
        ("\"-\"", "`-` is not a destination here"),
        ("syslog", "`syslog` is not a destination here"),
        ("false", "is true or false"),
        ("True", "is true or false"),
        ("null", "has no value"),
        ("~", "has no value"),
        ("", "has no value"),
        ("\"\"", "is empty"),
        ("7", "is a number"),
        ("[off]", "is a list"),
        ("{ file: x }", "is a section of keys"),
    ] {
        for (key, right) in
            [("access", "write stdout, off or a file"), ("audit", "write off or a file")]
        {
            let found = problems(folder, &format!("log:\n  {key}: {file}"));
            assert_eq!(found.lines().count(), 1, "{key}: {file}: {found}");
            assert!(
                found.contains(&format!("`log.{key}`")) && found.contains(told),
                "{key}: {file}: {found}"
            );
            assert!(found.contains(right), "{key}: {file}: {found}");
        }
    }
    for word in ["Stdout", "STDOUT"] {
        let access = problems(folder, &format!("log: {{ access: {word} }}"));
        assert!(access.contains("`stdout` is not a destination here"), "{access}");
        let audit = problems(folder, &format!("log: {{ audit: {word} }}"));
        assert!(audit.contains("the audit log cannot go to stdout"), "{audit}");
    }
    for right in ["access: stdout, audit: off", "access: new.log, audit: ./none", "access: off"] {
        assert_eq!(problems(folder, &format!("log: {{ {right} }}")), "", "{right}");
    }
    let names = fs::read_dir(folder).expect("a folder").count();
    assert_eq!(names, 10, "a check leaves no file behind");
}

#[test]
fn a_log_in_another_file_of_the_config_is_a_problem() {
    let folder = new_folder();
    let folder = folder.path();
    fs::create_dir(folder.join("dir")).expect("a folder");
    symlink("tokens.keys", folder.join("link")).expect("a link");
    symlink(".", folder.join("here")).expect("a link");
    fs::hard_link(folder.join("a.key"), folder.join("hard")).expect("a link");
    let keys = "tokens: { key_file: tokens.keys }\n";
    let absolute = folder.join("a.crt").display().to_string();
    for (file, other) in [
        ("a.crt", "the file of `http.tls.certificate`"),
        (&*absolute, "the file of `http.tls.certificate`"),
        ("./a.key", "the file of `http.tls.key`"),
        ("hard", "the file of `http.tls.key`"),
        ("dir/../tokens.keys", "the file of `tokens.key_file`"),
        ("link", "the file of `tokens.key_file`"),
        ("here/tokens.keys", "the file of `tokens.key_file`"),
        ("moorgate.yml", "the config file"),
        ("here/./moorgate.yml", "the config file"),
    ] {
        for key in ["access", "audit"] {
            let found = problems(folder, &format!("{keys}log: {{ {key}: {file} }}"));
            assert!(found.contains(&format!("`log.{key}`: this is also {other}; ")), "{found}");
            assert_eq!(found.lines().count(), 1, "{found}");
        }
    }
}

#[test]
fn both_logs_in_one_file_are_a_problem() {
    let folder = new_folder();
    let folder = folder.path();
    fs::create_dir(folder.join("dir")).expect("a folder");
    symlink("new", folder.join("to-new")).expect("a link");
    write(folder, "old", "");
    fs::hard_link(folder.join("old"), folder.join("hard")).expect("a link");
    for (access, audit) in [
        ("new", "new"),
        ("new", "./new"),
        ("dir/../new", "new"),
        ("to-new", "new"),
        ("new", "to-new"),
        ("old", "hard"),
    ] {
        let found = problems(folder, &format!("log: {{ access: {access}, audit: {audit} }}"));
        assert!(found.contains("`log.audit`: the access log already goes to this file"), "{found}");
    }
    assert_eq!(problems(folder, "log: { access: old, audit: new }"), "");
}

/// Root may write everywhere, so the check runs as another user.
#[test]
fn a_log_that_the_user_may_not_write_is_a_problem() {
    let folder = new_folder();
    let folder = folder.path();
    let mode = |path: &str, mode| {
        fs::set_permissions(folder.join(path), fs::Permissions::from_mode(mode)).expect("a mode");
    };
    write(folder, "old.log", "");
    fs::create_dir(folder.join("closed")).expect("a folder");
    fs::create_dir(folder.join("open")).expect("a folder");
    for (path, bits) in
        [("old.log", 0o444), ("closed", 0o555), ("open", 0o777), ("a.key", 0o644), ("", 0o755)]
    {
        mode(path, bits);
    }
    for (file, told) in [
        ("old.log", "this user cannot append to this file"),
        ("closed/new.log", "this user cannot create it"),
        ("open/new.log", ""),
    ] {
        for (key, right) in
            [("access", "write stdout, off or a file"), ("audit", "write off or a file")]
        {
            let loaded = problems(folder, &format!("log: {{ {key}: {file} }}"));
            let config = folder.join("moorgate.yml");
            let command = |name: &str| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_moorgate"));
                command.arg(name).arg("--config").arg(&config);
                command
            };
            let mut check = command("check-config");
            let output = if fs::metadata("/proc/self").is_ok_and(|it| is_root(&it)) {
                assert_eq!(loaded, "", "root may write everywhere");
                check.uid(65_534).gid(65_534).output().expect("a binary that all users may run")
            } else {
                check.output().expect("the binary")
            };
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            if told.is_empty() {
                assert_eq!(output.status.code(), Some(0), "{key}: {file}: {errors}");
                assert!(!folder.join(file).exists(), "a check creates no file");
            } else {
                assert_eq!(output.status.code(), Some(78), "{key}: {file}: {errors}");
                assert!(errors.contains(told) && errors.contains(right), "{errors}");
                // This command writes no log.
                let mut print = command("print-config");
                if fs::metadata("/proc/self").is_ok_and(|it| is_root(&it)) {
                    print.uid(65_534).gid(65_534);
                }
                let output = print.output().expect("the binary");
                let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), Some(0), "{key}: {file}: {warnings}");
                assert!(warnings.contains(told), "{warnings}");
            }
        }
    }
    mode("closed", 0o755);
}

fn is_root(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(metadata) == 0
}
