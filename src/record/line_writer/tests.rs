use super::*;
use crate::record::test_disk::Disk;

/// Writes each line with this room on the disk, and returns the text on the disk.
fn written(rooms: &[&[usize]]) -> String {
    let disk = Disk::default();
    let mut writer = LineWriter::new(LogTarget::Other(Box::new(disk.clone())));
    for (number, room) in rooms.iter().enumerate() {
        disk.set_room(room);
        let failed = writer.write(format!("line {number}\n").as_bytes()).is_err();
        assert_eq!(failed, room.contains(&0), "{number}");
    }
    disk.text()
}

#[test]
fn the_first_line_after_a_failure_begins_on_a_line_of_its_own() {
    for (rooms, text) in [
        (&[&[][..], &[4, 0], &[]][..], "line 0\nline\nline 2\n"),
        // No byte of a line went through, of the first one either.
        (&[&[0], &[0], &[]], "line 2\n"),
        (&[&[], &[0], &[]], "line 0\nline 2\n"),
        // Several failures in a row, with and without the line feed between.
        (&[&[4, 0], &[0], &[0], &[]], "line\nline 3\n"),
        (&[&[4, 0], &[1, 0], &[]], "line\nline 2\n"),
        (&[&[4, 0], &[1, 2, 0], &[]], "line\nli\nline 2\n"),
        // Many short writes are no failure.
        (&[&[1, 1, 1], &[]], "line 0\nline 1\n"),
    ] {
        assert_eq!(written(rooms), text, "{rooms:?}");
    }
}

#[test]
fn the_number_of_written_bytes_is_known() {
    let disk = Disk::default();
    disk.set_room(&[3, 2, 0]);
    let mut writer = LineWriter::new(LogTarget::Other(Box::new(disk)));
    let NotWritten { written, error } = writer.write(b"one\ntwo\n").unwrap_err();
    assert_eq!((written, error.kind()), (5, io::ErrorKind::StorageFull));
}

/// An earlier process may have been killed, or the disk may have been full, within a line.
#[test]
fn a_file_that_ends_within_a_line_is_continued_on_a_new_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    for (before, after) in
        [("", "next\n"), ("whole\n", "whole\nnext\n"), ("torn", "torn\nnext\n"), ("\n", "\nnext\n")]
    {
        fs::write(&path, before).unwrap();
        let mut writer = LineWriter::new(LogTarget::append(&path, 0o600).unwrap());
        writer.write(b"next\n").ok().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), after, "{before:?}");
    }
}

#[test]
fn a_file_that_the_operator_emptied_has_no_empty_first_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, "torn").unwrap();
    let mut writer = LineWriter::new(LogTarget::append(&path, 0o600).unwrap());
    fs::write(&path, "").unwrap();
    writer.write(b"next\n").ok().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "next\n");
}

/// A pipe has no end, and must not be opened for reading.
#[test]
fn a_pipe_gets_lines_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let reader = std::thread::spawn({
        let path = path.clone();
        move || fs::read_to_string(path).unwrap()
    });
    // A pipe without a reader is an error.
    let target = std::iter::repeat_with(|| LogTarget::append(&path, 0o600)).find_map(Result::ok);
    let mut writer = LineWriter::new(target.unwrap());
    writer.write(b"one\n").ok().unwrap();
    writer.write(b"two\n").ok().unwrap();
    drop(writer);
    assert_eq!(reader.join().unwrap(), "one\ntwo\n");
}
