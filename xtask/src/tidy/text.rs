//! Rules inside one file.

use super::Finding;
use crate::source::{Source, code_only, words};

/// Where `unsafe` may stand, and how often. The maps are the fences; the engine calls one of them in one place, because
/// it holds the lock that makes the call sound; a kernel is entered in one place, behind the question whether the
/// processor has it, and may load from an array through a pointer; and a test that counts allocations has to be an allocator.
const FENCES: [(&str, usize); 10] = [
    ("codecs/src/ascending.rs", 1),
    ("codecs/src/influx/arithmetic.rs", 1),
    ("codecs/src/influx/float.rs", 3),
    ("codecs/src/influx/float/eight.rs", 1),
    ("codecs/src/influx/float/four.rs", 1),
    ("codecs/src/influx/simple8b/mixed.rs", 1),
    ("wal/src/mmap/map.rs", usize::MAX),
    ("tsm/src/map.rs", usize::MAX),
    ("engine/src/files.rs", 1),
    ("codecs/tests/allocation.rs", usize::MAX),
];

/// Lines from which on a file is named, and from which on it is refused.
const LINES_LONG: usize = 500;
const LINES_MAX: usize = 1000;

pub(super) fn findings(source: &Source, wrong: &mut Vec<Finding>, long: &mut Vec<Finding>) {
    blanks(source, wrong);
    machine_paths(source, wrong);
    if !source.is_rust() {
        return;
    }
    let code = code_only(&source.text);
    fences(source, &code, wrong);
    doors(source, &code, wrong);
    unfinished(source, &code, wrong);
    if source.path.ends_with("/format.rs") {
        picture(source, &code, wrong);
    }
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        wrong.push(Finding::new(&source.path, 0, format!("{lines} lines are too long: find the seam")));
    } else if lines > LINES_LONG {
        long.push(Finding::new(&source.path, 0, format!("{lines} lines: is there a seam?")));
    }
}

fn blanks(source: &Source, wrong: &mut Vec<Finding>) {
    for (at, line) in source.text.lines().enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            wrong.push(Finding::new(&source.path, at + 1, "ends with a blank"));
        }
    }
    if !source.text.is_empty() && !source.text.ends_with('\n') {
        wrong.push(Finding::new(&source.path, 0, "does not end with a newline"));
    }
}

fn machine_paths(source: &Source, wrong: &mut Vec<Finding>) {
    let homes = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];
    for (at, line) in source.text.lines().enumerate() {
        for home in homes {
            let begins_path = |(from, _): (usize, _)| {
                let before = line[..from].chars().next_back();
                before.is_none_or(|c| !(c.is_alphanumeric() || "_-./$}*~".contains(c)))
            };
            if line.match_indices(home).any(begins_path) {
                wrong.push(Finding::new(&source.path, at + 1, format!("names a path under {home}")));
            }
        }
    }
}

fn fences(source: &Source, code: &str, wrong: &mut Vec<Finding>) {
    let allowed = FENCES.iter().find(|(path, _)| *path == source.path).map_or(0, |(_, times)| *times);
    for (line, _) in words(code).filter(|(_, word)| *word == "unsafe").skip(allowed) {
        wrong.push(Finding::new(&source.path, line, "`unsafe` outside of its fences"));
    }
}

/// Renames and syncs have one door, `wal::fs`; clippy knows the methods, this keeps its ban from being lifted.
fn doors(source: &Source, code: &str, wrong: &mut Vec<Finding>) {
    let path = source.path.as_str();
    let is_test = path.contains("/tests/") || path.contains("/benches/");
    if path == "wal/src/fs.rs" || path.starts_with("wal/src/fs/") || is_test {
        return;
    }
    // Programs, which may read the clock. (None of the other words is let through by that.)
    let clock_only = path.starts_with("cli/") || path.starts_with("bench/") || path.contains("/examples/");
    for (at, line) in code.lines().enumerate() {
        for banned in
            ["fs::rename", "File::sync_all", "File::sync_data", "rustix::fs::fsync", "rustix::fs::fdatasync"]
        {
            if line.contains(banned) {
                wrong.push(Finding::new(path, at + 1, format!("{banned} outside of wal::fs")));
            }
        }
        if line.contains("disallowed_methods") && !clock_only {
            wrong.push(Finding::new(path, at + 1, "lifts the ban on renames, syncs and the clock"));
        }
    }
}

fn unfinished(source: &Source, code: &str, wrong: &mut Vec<Finding>) {
    for (at, line) in code.lines().enumerate() {
        for macro_call in ["todo!", "unimplemented!"] {
            if line.contains(macro_call) {
                wrong.push(Finding::new(&source.path, at + 1, format!("{macro_call} is unfinished")));
            }
        }
    }
}

/// A `format.rs` opens with its picture, and what the picture names in capitals is a constant of the file.
fn picture(source: &Source, code: &str, wrong: &mut Vec<Finding>) {
    let mut drawn = false;
    for (at, line) in source.text.lines().enumerate() {
        let Some(doc) = line.trim_start().strip_prefix("//!") else { continue };
        drawn |= doc.contains('┌') || doc.contains('│');
        for (_, name) in words(doc).filter(|(_, word)| is_constant(word)) {
            let declared = ["const ", "static "].iter().any(|kind| code.contains(&format!("{kind}{name}:")));
            if !declared {
                let what = format!("the picture names {name}, which is no constant of this file");
                wrong.push(Finding::new(&source.path, at + 1, what));
            }
        }
    }
    if !drawn {
        wrong.push(Finding::new(&source.path, 0, "opens without a picture of the format"));
    }
    if !code.contains("const _: () = assert!") {
        wrong.push(Finding::new(&source.path, 0, "asserts none of its widths at compile time"));
    }
}

fn is_constant(word: &str) -> bool {
    let capitals = word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    capitals && word.contains('_') && word.starts_with(|c: char| c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<usize> {
        let source = Source { path: path.into(), text: text.into() };
        let mut wrong = Vec::new();
        findings(&source, &mut wrong, &mut Vec::new());
        wrong.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unsafe_stays_in_its_fences() {
        let text = "// unsafe in words\nlet a = unsafe { map() };\nlet b = unsafe { map() };\n";
        assert_eq!(broken("wal/src/file.rs", text), [2, 3]);
        assert_eq!(broken("engine/src/files.rs", text), [3]);
        assert_eq!(broken("tsm/src/map.rs", text), []);
    }

    #[test]
    fn renames_have_one_door() {
        let text = "std::fs::rename(a, b)?;\n#[expect(clippy::disallowed_methods)]\n";
        assert_eq!(broken("engine/src/files.rs", text), [1, 2]);
        assert_eq!(broken("wal/src/fs/os.rs", text), []);
        assert_eq!(broken("cli/src/main.rs", text), [1]);
    }

    #[test]
    fn a_picture_names_only_constants_that_exist() {
        let text = "//! ┌ MAGIC_BYTES <4B> │ INDEX_BYTES ┐ CRC\nconst MAGIC_BYTES: usize = 4;\nconst _: () = assert!(MAGIC_BYTES == 4);\n";
        assert_eq!(broken("tsm/src/format.rs", text), [1]);
        assert_eq!(broken("tsm/src/format.rs", "//! words\n"), [0, 0]);
    }

    #[test]
    fn machine_paths_and_trailing_blanks_are_found() {
        let text = ["see ", "/wo", "rk/x\n", "target", "/wo", "rk/x \nno newline"].concat();
        assert_eq!(broken("README.md", &text), [2, 0, 1]);
    }
}
