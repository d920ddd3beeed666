//! The text files of the repository, and Rust code without its comments and literals.

use std::fs;
use std::path::{Path, PathBuf};

/// One text file of the repository.
pub(crate) struct Source {
    /// Relative to the root, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|ext| ext == "rs")
    }

    pub(crate) fn is_markdown(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|ext| ext == "md")
    }
}

/// Every text file of the repository, ordered by path.
pub(crate) fn sources(root: &Path) -> Vec<Source> {
    let mut out = Vec::new();
    walk(root, root, &mut out);
    out.sort_by(|a, b| a.path.cmp(&b.path));
    out
}

fn walk(root: &Path, dir: &Path, out: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo" && name != ".github";
            if !hidden && !name.starts_with("target") && name != "vectors" && name != "bench-results" {
                walk(root, &path, out);
            }
        } else if is_text(&path)
            && let Ok(text) = fs::read_to_string(&path)
        {
            out.push(Source { path: relative(root, &path), text });
        }
    }
}

fn is_text(path: &Path) -> bool {
    let by_extension = ["rs", "md", "toml", "sh", "yml", "yaml", "py"];
    let extension = path.extension().and_then(|ext| ext.to_str()).unwrap_or_default();
    by_extension.contains(&extension) || path.ends_with(".ci/run")
}

fn relative(root: &Path, path: &Path) -> String {
    let inside: PathBuf = path.strip_prefix(root).unwrap_or(path).into();
    inside.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// Replaces comments, strings and character literals with blanks. Lines and columns stay the same.
pub(crate) fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if starts_raw(bytes, at) => raw_end(bytes, at),
            b'\'' => char_end(text, at),
            _ => at,
        };
        if end == at {
            at += 1;
            continue;
        }
        out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end;
    }
    String::from_utf8(out).expect("literals and comments are replaced completely")
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |len| at + len)
}

fn comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if bytes[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string_end(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn starts_raw(bytes: &[u8], at: usize) -> bool {
    let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let prefixed = at > 0 && (bytes[at - 1] == b'b' || bytes[at - 1] == b'c');
    let before = at.checked_sub(if prefixed { 2 } else { 1 }).map(|i| &bytes[i]);
    let hashes = bytes[at + 1..].iter().take_while(|&&b| b == b'#').count();
    !before.is_some_and(in_word) && bytes.get(at + 1 + hashes) == Some(&b'"')
}

fn raw_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|&&b| b == b'#').count();
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = at + 2 + hashes;
    bytes[body..]
        .windows(close.len())
        .position(|w| w == close)
        .map_or(bytes.len(), |len| body + len + close.len())
}

/// The end of a character literal, or `at` if the quote begins a lifetime.
fn char_end(text: &str, at: usize) -> usize {
    let rest = &text[at + 1..];
    if rest.starts_with('\\') {
        return rest[2.min(rest.len())..].find('\'').map_or(at, |len| at + 1 + 2 + len + 1);
    }
    let Some(inner) = rest.chars().next() else { return at };
    let close = at + 1 + inner.len_utf8();
    if text[close..].starts_with('\'') { close + 1 } else { at }
}

/// Every identifier of a text from [`code_only`], with its line number from 1.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(at, line)| {
        let split = |c: char| !(c.is_alphanumeric() || c == '_');
        line.split(split).filter(|word| !word.is_empty()).map(move |word| (at + 1, word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_remains() {
        let text = "let a = \"un\\\"safe\"; // unsafe\n/* unsafe /* unsafe */ unsafe */ fn f<'a>(x: &'a str) {}\n\
                    let r = br##\"unsafe \"# \"##; let c = '\"'; let q = '\\''; let u = 'ü'; unsafe { attr\"unsafe\" }";
        let code = code_only(text);
        assert_eq!(code.len(), text.len());
        let found: Vec<_> = words(&code).filter(|(_, word)| *word == "unsafe").collect();
        assert_eq!(found, [(3, "unsafe")]);
        assert!(code.contains("fn f<'a>(x: &'a str)"));
    }
}
