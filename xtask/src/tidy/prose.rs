//! Rules for prose: comments, strings and Markdown in plain words, and comments within the margin.

use super::Finding;
use crate::source::{Source, code_only, words};

/// Widest comment line, in characters.
const COMMENT_WIDTH_MAX: usize = 128;

/// Phrases that have a plainer form, and that form. Case and punctuation do not count.
const PHRASES: [(&str, &str); 26] = [
    ("anew", "again, or recreate"),
    ("be it", "whether"),
    ("whence", "from which"),
    ("whoever", "name the actor"),
    ("nobody", "name the actor: no thread, no caller"),
    ("who wants", "name the actor"),
    ("who waits", "the waiting thread"),
    ("who wait", "waiting threads"),
    ("who asks", "the caller"),
    ("is told", "receives, or gets the error"),
    ("are told", "receive, or get the error"),
    ("told of", "knows, or has seen"),
    ("set aside", "quarantine"),
    ("sets aside", "quarantines"),
    ("let go", "release"),
    ("lets go", "releases"),
    ("is missed", "is detected as missing"),
    ("are missed", "are detected as missing"),
    ("of which each", "each of them"),
    ("what of it", "the parts of it that"),
    ("cannot be helped", "say why"),
    ("makes up for", "compensates"),
    ("mend", "repair"),
    ("mended", "repaired"),
    ("torn end", "torn tail"),
    ("crippled", "read-only after a background failure"),
];

pub(super) fn findings(source: &Source, wrong: &mut Vec<Finding>) {
    // This file lists the phrases.
    if source.path == "xtask/src/tidy/prose.rs" {
        return;
    }
    if source.is_rust() {
        margin(source, wrong);
        phrases(&source.path, &prose_only(&source.text), wrong);
    } else if source.is_markdown() {
        phrases(&source.path, &source.text, wrong);
    }
}

/// Replaces code with blanks. Lines stay the same.
fn prose_only(text: &str) -> String {
    let code = code_only(text);
    let prose = text.bytes().zip(code.bytes()).map(|(byte, code)| match byte {
        b'\n' => b'\n',
        _ if byte == code => b' ',
        _ => byte,
    });
    String::from_utf8(prose.collect()).expect("characters are replaced completely")
}

/// Finds phrases, also across the end of a line.
fn phrases(path: &str, prose: &str, wrong: &mut Vec<Finding>) {
    let words: Vec<(usize, String)> = words(prose).map(|(line, word)| (line, word.to_lowercase())).collect();
    for (phrase, instead) in PHRASES {
        let parts: Vec<&str> = phrase.split(' ').collect();
        for found in words.windows(parts.len()) {
            let (first, last) = (found[0].0, found[parts.len() - 1].0);
            if last - first <= 1 && found.iter().map(|(_, word)| word).eq(&parts) {
                wrong.push(Finding::new(
                    path,
                    first,
                    format!("`{phrase}`: write plainly, such as {instead}"),
                ));
            }
        }
    }
}

fn margin(source: &Source, wrong: &mut Vec<Finding>) {
    for (at, line) in source.text.lines().enumerate() {
        let width = line.chars().count();
        if line.trim_start().starts_with("//") && width > COMMENT_WIDTH_MAX {
            let what =
                format!("the comment is {width} characters wide, above the limit of {COMMENT_WIDTH_MAX}");
            wrong.push(Finding::new(&source.path, at + 1, what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<usize> {
        let source = Source { path: path.into(), text: text.into() };
        let mut wrong = Vec::new();
        findings(&source, &mut wrong);
        wrong.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn phrases_are_found_in_prose_only() {
        let text =
            "// Written anew.\nlet anew = \"nobody waits\";\n// A file is set\n// aside.\nlet a = b'\\n';\n";
        assert_eq!(broken("wal/src/a.rs", text), [1, 2, 3]);
        assert_eq!(broken("README.md", "Nobody waits.\n"), [1]);
        assert_eq!(broken("README.md", "A set\n\naside.\n"), []);
    }

    #[test]
    fn comments_end_at_the_margin() {
        let line = |width: usize| format!("// {}\n", "é".repeat(width - 3));
        assert_eq!(broken("a.rs", &line(COMMENT_WIDTH_MAX)), []);
        assert_eq!(broken("a.rs", &line(COMMENT_WIDTH_MAX + 1)), [1]);
    }
}
