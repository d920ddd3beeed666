//! Rules inside one file.

use super::Finding;
use crate::source::{Source, code_only, words};

/// Files that may contain `unsafe`, and how often.
///
/// - File maps. The engine calls one of them, because it holds the lock that makes the call sound.
/// - SIMD kernels: a call after a check of the processor, and loads from arrays through pointers.
/// - A test that counts allocations with an allocator of its own.
const UNSAFE: [(&str, usize); 11] = [
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
    ("peers/src/encoder/alp/packed.rs", 2),
];

/// Above the first limit, a file gets a note. Above the second, it is an error.
const LINES_LONG: usize = 500;
const LINES_MAX: usize = 1000;

pub(super) fn findings(source: &Source, wrong: &mut Vec<Finding>, long: &mut Vec<Finding>) {
    blanks(source, wrong);
    machine_paths(source, wrong);
    if !source.is_rust() {
        return;
    }
    let code = code_only(&source.text);
    unsafe_outside_list(source, &code, wrong);
    banned_calls(source, &code, wrong);
    unfinished(source, &code, wrong);
    if source.path.ends_with("/format.rs") {
        picture(source, &code, wrong);
    }
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        wrong.push(Finding::new(
            &source.path,
            0,
            format!("{lines} lines, above the limit of {LINES_MAX}: split the file"),
        ));
    } else if lines > LINES_LONG {
        long.push(Finding::new(&source.path, 0, format!("{lines} lines: consider splitting the file")));
    }
}

fn blanks(source: &Source, wrong: &mut Vec<Finding>) {
    for (at, line) in source.text.lines().enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            wrong.push(Finding::new(&source.path, at + 1, "the line ends with a blank"));
        }
    }
    if !source.text.is_empty() && !source.text.ends_with('\n') {
        wrong.push(Finding::new(&source.path, 0, "the file does not end with a newline"));
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
                wrong.push(Finding::new(&source.path, at + 1, format!("contains a path under {home}")));
            }
        }
    }
}

fn unsafe_outside_list(source: &Source, code: &str, wrong: &mut Vec<Finding>) {
    let allowed = UNSAFE.iter().find(|(path, _)| *path == source.path).map_or(0, |(_, times)| *times);
    for (line, _) in words(code).filter(|(_, word)| *word == "unsafe").skip(allowed) {
        wrong.push(Finding::new(
            &source.path,
            line,
            "this file must not contain `unsafe` here; see UNSAFE in xtask/src/tidy/text.rs",
        ));
    }
}

/// Only `wal::fs` renames and syncs files. Clippy bans the methods; this check keeps the ban from being lifted.
fn banned_calls(source: &Source, code: &str, wrong: &mut Vec<Finding>) {
    let path = source.path.as_str();
    let is_test = path.contains("/tests/") || path.contains("/benches/");
    if path == "wal/src/fs.rs" || path.starts_with("wal/src/fs/") || is_test {
        return;
    }
    // Programs may lift the ban to read the clock. The calls above stay banned there.
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
            wrong.push(Finding::new(path, at + 1, "do not lift the ban on renames, syncs and the clock"));
        }
    }
}

fn unfinished(source: &Source, code: &str, wrong: &mut Vec<Finding>) {
    for (at, line) in code.lines().enumerate() {
        for macro_call in ["todo!", "unimplemented!"] {
            if line.contains(macro_call) {
                wrong.push(Finding::new(&source.path, at + 1, format!("{macro_call} marks unfinished code")));
            }
        }
    }
}

/// Checks that a `format.rs` opens with a picture, and that names in capitals there are constants of the file.
fn picture(source: &Source, code: &str, wrong: &mut Vec<Finding>) {
    let mut drawn = false;
    for (at, line) in source.text.lines().enumerate() {
        let Some(doc) = line.trim_start().strip_prefix("//!") else { continue };
        drawn |= doc.contains('┌') || doc.contains('│');
        for (_, name) in words(doc).filter(|(_, word)| is_constant(word)) {
            let declared = ["const ", "static "].iter().any(|kind| code.contains(&format!("{kind}{name}:")));
            if !declared {
                let what = format!("the picture names {name}, but this file has no such constant");
                wrong.push(Finding::new(&source.path, at + 1, what));
            }
        }
    }
    if !drawn {
        wrong.push(Finding::new(&source.path, 0, "the file does not open with a picture of the format"));
    }
    if !code.contains("const _: () = assert!") {
        wrong.push(Finding::new(&source.path, 0, "the file has no `const` assertion of a width"));
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
    fn unsafe_is_limited_to_listed_files() {
        let text = "// unsafe in words\nlet a = unsafe { map() };\nlet b = unsafe { map() };\n";
        assert_eq!(broken("wal/src/file.rs", text), [2, 3]);
        assert_eq!(broken("engine/src/files.rs", text), [3]);
        assert_eq!(broken("tsm/src/map.rs", text), []);
    }

    #[test]
    fn renames_are_limited_to_wal_fs() {
        let text = "std::fs::rename(a, b)?;\n#[expect(clippy::disallowed_methods)]\n";
        assert_eq!(broken("engine/src/files.rs", text), [1, 2]);
        assert_eq!(broken("wal/src/fs/os.rs", text), []);
        assert_eq!(broken("cli/src/main.rs", text), [1]);
    }

    #[test]
    fn picture_names_existing_constants() {
        let text = "//! ┌ MAGIC_BYTES <4B> │ INDEX_BYTES ┐ CRC\nconst MAGIC_BYTES: usize = 4;\nconst _: () = assert!(MAGIC_BYTES == 4);\n";
        assert_eq!(broken("tsm/src/format.rs", text), [1]);
        assert_eq!(broken("tsm/src/format.rs", "//! words\n"), [0, 0]);
    }

    #[test]
    fn machine_paths_and_trailing_blanks() {
        let text = ["see ", "/wo", "rk/x\n", "target", "/wo", "rk/x \nno newline"].concat();
        assert_eq!(broken("README.md", &text), [2, 0, 1]);
    }
}
