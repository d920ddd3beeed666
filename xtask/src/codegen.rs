//! `cargo xtask codegen`: writes the table of parts in README.md from the `registry!` lines.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
Writes the table of parts in README.md from the registry! lines of codecs, cache and wal.

usage: cargo xtask codegen [--check]
example: cargo xtask codegen --check

  --check   writes nothing; exits with 1 if the table is out of date";

const BEGIN: &str = "<!-- parts:begin -->";
const END: &str = "<!-- parts:end -->";

/// The crates with a registry and its file, in the order of the write path.
const REGISTRIES: [(&str, &str); 3] =
    [("cache", "cache/src/storers.rs"), ("wal", "wal/src/logs.rs"), ("codecs", "codecs/src/encoders.rs")];

pub(crate) fn main(root: &Path, args: &[String]) -> ExitCode {
    if crate::asks_help(args) {
        return crate::help(HELP);
    }
    let done = match args {
        [] => write(root),
        [flag] if flag == "--check" => check(root),
        _ => return crate::usage("codegen takes only --check"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask codegen: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Returns an error if README.md is out of date.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let (old, new) = before_and_after(root)?;
    if old == new { Ok(()) } else { Err("README.md is out of date: run `cargo xtask codegen`".into()) }
}

fn write(root: &Path) -> Result<(), String> {
    let (old, new) = before_and_after(root)?;
    if old != new {
        fs::write(root.join("README.md"), new).map_err(|e| format!("README.md: {e}"))?;
        eprintln!("README.md: written");
    }
    Ok(())
}

fn before_and_after(root: &Path) -> Result<(String, String), String> {
    let read = |path: &str| fs::read_to_string(root.join(path)).map_err(|e| format!("{path}: {e}"));
    let mut registries = Vec::new();
    for (name, path) in REGISTRIES {
        let found = registries_of(name, &read(path)?).map_err(|e| format!("{path}: {e}"))?;
        registries.extend(found);
    }
    let old = read("README.md")?;
    let new = replace(&old, &table(&registries))
        .ok_or(format!("README.md has no line `{BEGIN}` before `{END}`"))?;
    Ok((old, new))
}

/// One `registry!` of a crate.
struct Registry {
    owner: &'static str,
    seam: String,
    parts: Vec<Part>,
}

struct Part {
    name: String,
    implementer: String,
    summary: String,
}

fn registries_of(owner: &'static str, text: &str) -> Result<Vec<Registry>, String> {
    let mut out: Vec<Registry> = Vec::new();
    let mut inside = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let begins = line.ends_with("registry! {") && !line.starts_with("//");
        if begins {
            inside = true;
        } else if inside && line == "}" {
            inside = false;
        } else if let Some(rest) = line.strip_prefix("pub trait ").filter(|_| inside) {
            let seam = rest.split(' ').next().unwrap_or_default().to_owned();
            out.push(Registry { owner, seam, parts: Vec::new() });
        } else if inside && line.starts_with('"') {
            let part =
                part_of(line).ok_or(format!("line {}: expected `\"name\" => Type: \"summary\";`", at + 1))?;
            out.last_mut().ok_or(format!("line {}: a part before its trait", at + 1))?.parts.push(part);
        }
    }
    if out.is_empty() {
        return Err("no registry! was found".into());
    }
    Ok(out)
}

/// Reads `"name" => Type: "summary"`, and `, also more;` or nothing after it.
fn part_of(line: &str) -> Option<Part> {
    let (name, rest) = line.strip_prefix('"')?.split_once('"')?;
    let (implementer, rest) = rest.trim().strip_prefix("=>")?.split_once(':')?;
    let (summary, rest) = rest.trim().strip_prefix('"')?.split_once('"')?;
    let ends = rest.starts_with([';', ',']);
    ends.then(|| Part { name: name.into(), implementer: implementer.trim().into(), summary: summary.into() })
}

fn table(registries: &[Registry]) -> String {
    let mut out = String::from("| trait | name | type | what it is |\n|---|---|---|---|\n");
    for registry in registries {
        for (at, part) in registry.parts.iter().enumerate() {
            let seam =
                if at == 0 { format!("`{}::{}`", registry.owner, registry.seam) } else { String::new() };
            let summary = part.summary.replace('|', "\\|");
            let _ = writeln!(out, "| {seam} | `{}` | `{}` | {summary} |", part.name, part.implementer);
        }
    }
    out
}

fn replace(readme: &str, table: &str) -> Option<String> {
    let (head, rest) = readme.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    Some(format!("{head}{BEGIN}\n{table}{END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readme_is_up_to_date() {
        check(crate::root()).expect("run `cargo xtask codegen`");
    }

    #[test]
    fn registry_becomes_rows() {
        let text = "tsmith_codecs::registry! {\n    /// Every log.\n    pub trait Log => LogEntry, suite = log_suite;\n    \
                    \"file\" => FileLog: \"segments\", also durable_suite;\n    \"null\" => NullLog: \"the floor\";\n}\n";
        let registries = registries_of("wal", text).expect("well formed");
        let table = table(&registries);
        assert!(table.contains(
            "| `wal::Log` | `file` | `FileLog` | segments |\n|  | `null` | `NullLog` | the floor |\n"
        ));
        let readme = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(replace(&readme, "new\n").expect("has markers"), format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(replace("no markers", ""), None);
    }
}
