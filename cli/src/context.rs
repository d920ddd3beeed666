//! Dumps: to which database and retention policy their lines belong.
//!
//! `influx_inspect export` writes dumps, and `influx -import` reads them. The section after `# DDL` contains statements of
//! `InfluxQL`. The comments `# CONTEXT-DATABASE:` and `# CONTEXT-RETENTION-POLICY:` name the place of the points that follow.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::exit::{Failure, Result};

/// Comments that begin a dump.
const MARKS: [&[u8]; 4] = [b"# INFLUXDB EXPORT", b"# DDL", b"# DML", b"# CONTEXT-"];

/// The policy of points for which the dump names only a database. `influx -import` writes them to the default policy.
const DEFAULT_RETENTION: &str = "autogen";

/// How many places an error lists.
const SHOWN_MAX: usize = 5;

/// Words that begin a statement.
const STATEMENTS: [&str; 8] = ["CREATE", "ALTER", "DROP", "GRANT", "REVOKE", "SET", "KILL", "DELETE"];

/// A database and one of its retention policies. Both are empty if no comment names a place.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Context {
    database: String,
    retention: String,
}

impl Context {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Its directory below `dir`, with the names that InfluxDB uses.
    pub(crate) fn below(&self, dir: &Path) -> Result<PathBuf> {
        for name in [&self.database, &self.retention] {
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
                return Err(Failure::Usage(format!("{self}: \"{name}\" cannot be the name of a directory")));
            }
        }
        Ok(dir.join(&self.database).join(&self.retention))
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database \"{}\" retention \"{}\"", self.database, self.retention)
    }
}

/// The place and the kind of the lines of a section of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    /// The place of its points.
    pub(crate) context: Context,
    /// Whether it contains statements, not points.
    pub(crate) is_ddl: bool,
}

impl Section {
    /// The new section, if `line` begins one.
    pub(crate) fn change(&self, line: &[u8]) -> Option<Self> {
        if line.first() != Some(&b'#') {
            // A line that is no statement ends the statements, so that no point is lost if `# DML` is missing.
            return (self.is_ddl && !is_blank(line) && !is_statement(line))
                .then(|| Self { context: self.context.clone(), is_ddl: false });
        }
        let mut next = self.clone();
        let named = |mark: &[u8]| {
            let name = line.strip_prefix(mark)?.trim_ascii();
            Some(String::from_utf8_lossy(name).into_owned())
        };
        if let Some(database) = named(b"# CONTEXT-DATABASE:") {
            // The policy does not change, as in `influx -import`.
            next.context.database = database;
            next.is_ddl = false;
        } else if let Some(retention) = named(b"# CONTEXT-RETENTION-POLICY:") {
            next.context.retention = retention;
            next.is_ddl = false;
        } else if line.starts_with(b"# DDL") {
            next.is_ddl = true;
        } else if line.starts_with(b"# DML") {
            next.is_ddl = false;
        }
        let Context { database, retention } = &mut next.context;
        if !database.is_empty() && retention.is_empty() {
            DEFAULT_RETENTION.clone_into(retention);
        }
        (next != *self).then_some(next)
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

fn is_statement(line: &[u8]) -> bool {
    let word = line.trim_ascii_start().split(u8::is_ascii_whitespace).next().unwrap_or_default();
    STATEMENTS.iter().any(|statement| word.eq_ignore_ascii_case(statement.as_bytes()))
}

/// Whether a text that begins with `head` is a dump.
pub(crate) fn is_dump(head: &[u8]) -> bool {
    head.split(|b| *b == b'\n').any(|line| MARKS.iter().any(|mark| line.starts_with(mark)))
}

/// How many lines of `text` are neither blank nor a comment.
pub(crate) fn content_lines(text: &[u8]) -> u64 {
    text.split(|b| *b == b'\n').filter(|line| !is_blank(line) && !line.starts_with(b"#")).count() as u64
}

/// Which points an import takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    pub(crate) database: Option<String>,
    pub(crate) retention: Option<String>,
}

impl Choice {
    /// Takes the points of one place.
    pub(crate) fn of(context: &Context) -> Self {
        Self { database: Some(context.database.clone()), retention: Some(context.retention.clone()) }
    }

    /// Whether it takes the points of `context`. Points without a place are always taken.
    pub(crate) fn takes(&self, context: &Context) -> bool {
        let fits = |asked: &Option<String>, name: &String| asked.as_ref().is_none_or(|asked| asked == name);
        context.is_none()
            || fits(&self.database, &context.database) && fits(&self.retention, &context.retention)
    }

    /// Whether it can match more than one place.
    pub(crate) fn is_open(&self) -> bool {
        self.database.is_none() || self.retention.is_none()
    }

    /// Whether it takes the points of all places.
    pub(crate) fn is_all(&self) -> bool {
        self.database.is_none() && self.retention.is_none()
    }

    /// The flags that specify the choice.
    fn flags(&self) -> String {
        let flag = |name, value: &Option<String>| value.as_ref().map(|value| format!("--{name} {value}"));
        let flags = [flag("database", &self.database), flag("retention", &self.retention)];
        flags.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// The places of points.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    /// Places that the choice takes.
    pub(crate) taken: BTreeSet<Context>,
    /// The other places.
    left: BTreeSet<Context>,
}

impl Contexts {
    /// Adds the place of a text, if the text contains points.
    pub(crate) fn add(&mut self, section: &Section, choice: &Choice, text: &[u8]) {
        let context = &section.context;
        let places = if choice.takes(context) { &mut self.taken } else { &mut self.left };
        if !section.is_ddl && !places.contains(context) && content_lines(text) > 0 {
            places.insert(context.clone());
        }
    }

    /// Adds the places of another input.
    pub(crate) fn extend(&mut self, other: Self) {
        self.taken.extend(other.taken);
        self.left.extend(other.left);
    }

    /// Whether the choice takes a place that the input names.
    pub(crate) fn is_matched(&self) -> bool {
        self.taken.iter().any(|context| !context.is_none())
    }

    /// The error that `choice` takes none of the places that the input names.
    pub(crate) fn unmatched(&self, choice: &Choice) -> Option<String> {
        if self.left.is_empty() || self.is_matched() {
            return None;
        }
        let shown: Vec<_> = self.left.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
        let more = match self.left.len() - shown.len() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        Some(format!(
            "{}: the input has no such points; it has points of {}{more}",
            choice.flags(),
            shown.join(", ")
        ))
    }

    /// Refuses the points of two places: one directory would mix them.
    pub(crate) fn refuse_many(&self, file: &str) -> Result<()> {
        let mut named = self.taken.iter().filter(|context| !context.is_none());
        let (Some(one), Some(two)) = (named.next(), named.next()) else { return Ok(()) };
        let more = match named.count() {
            0 => String::new(),
            more => format!(", and of {more} more"),
        };
        Err(Failure::Usage(format!(
            "{file}: points of {one}, and of {two}{more}: choose one with --database and --retention, or import each into its \
             own directory with --by-database"
        )))
    }

    /// Refuses points without a place.
    pub(crate) fn refuse_none(&self) -> Result<()> {
        if self.taken.iter().any(|context| context.database.is_empty()) {
            return Err(Failure::Usage(
                "--by-database: the input has points before the first `# CONTEXT-DATABASE:`; import it without this flag"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_statements_begin_sections() {
        let mut section = Section::default();
        let mut seen = Vec::new();
        for line in [
            "# DDL\n",
            "CREATE DATABASE a\n",
            "\n",
            "# DML\n",
            "# CONTEXT-DATABASE: a b \n",
            "# CONTEXT-RETENTION-POLICY:r\r\n",
            "m v=1\n",
            "# CONTEXT-DATABASE:c\n",
            "# note\n",
            "# DDL\n",
            "drop database x\n",
            "m v=1\n",
            "# CONTEXT-RETENTION-POLICY:\n",
        ] {
            if let Some(next) = section.change(line.as_bytes()) {
                section = next;
            }
            let Context { database, retention } = &section.context;
            seen.push(format!("{database}.{retention}{}", if section.is_ddl { " ddl" } else { "" }));
        }
        let expected = [
            ". ddl",
            ". ddl",
            ". ddl",
            ".",
            "a b.autogen",
            "a b.r",
            "a b.r",
            "c.r",
            "c.r",
            "c.r ddl",
            "c.r ddl",
            "c.r",
            "c.autogen",
        ];
        assert_eq!(seen, expected);
    }
}
