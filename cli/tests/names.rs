//! Names that are not UTF-8, contain control characters, or look like escapes.

mod support;

use support::{Run, Scratch, command, run};

/// Measurements as in line protocol, and as printed. The last two look similar: a byte, and the text of its escape.
const NAMES: &[(&[u8], &str)] = &[
    (b"my\\ m", "my\\ m"),
    (b"m\\,x", "m\\,x"),
    (b"\\\\,", "\\\\,"),
    (b"\r", "\\x0d"),
    (b"\r>", "\\x0d>"),
    (b"\x1b[31mred", "\\x1b[31mred"),
    ("\u{feff}xyz".as_bytes(), "\\xef\\xbb\\xbfxyz"),
    (b"xyz", "xyz"),
    ("日本".as_bytes(), "日本"),
    (b"\"q\"", "\"q\""),
    (b"C:\\dir\\new", "C:\\dir\\new"),
    (b"m\xff", "m\\xff"),
    (b"m\xfd", "m\\xfd"),
    (b"m\\xff", "m\\x5cxff"),
];

/// Lines with each name as measurement, tag and field. Fields are without the backslashes of line protocol.
fn text() -> Vec<u8> {
    let line = |(at, (name, _)): (usize, &(&[u8], &str))| {
        // A field name cannot have a backslash before an escaped comma.
        let field = if name.starts_with(b"\\\\") { b"f" } else { *name };
        [*name, b",t=", name, b"_ ", field, b"_=", at.to_string().as_bytes(), b" 1\n"].concat()
    };
    NAMES.iter().enumerate().flat_map(line).collect()
}

/// The field of that line, as printed.
fn plain(name: &str) -> String {
    if name.starts_with("\\\\") { "f".to_owned() } else { name.replace("\\,", ",").replace("\\ ", " ") }
}

fn has_control(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes)
        .chars()
        .any(|c| c.is_control() && c != '\n' || c == '\u{feff}' || c == '\u{fffd}')
}

/// Story: filters accepted only UTF-8, so some series could not be named, and printed names could not be used.
#[test]
fn filters_accept_printed_names() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", text());
    let table = run("query {}", &[&dir]).exits(0).text();
    let stats = run("stats {}", &[&dir]).exits(0).text();
    let deleted = run("delete {} --end 2 --dry-run", &[&dir]).exits(0).text();
    for (at, (_, shown)) in NAMES.iter().enumerate() {
        let (tag, field) = (format!("t={shown}_"), format!("{}_", plain(shown)));
        let (series, measurement) = (format!("{shown},{tag}"), format!("\n{shown} "));
        assert!(table.contains(&format!("Z  {series} ")), "{series} in\n{table}");
        assert!(table.contains(&format!("  {field} ")), "{field} in\n{table}");
        assert!(stats.contains(&measurement), "{measurement} in\n{stats}");
        let key = format!("{series}#!~#{field}");
        assert!(deleted.contains(&format!("{key}: 1 point\n")), "{key} in\n{deleted}");
        for filter in [["--measurement", shown], ["--tag", &tag], ["--field", &field]] {
            for verb in ["query", "export"] {
                let found = command().arg(verb).arg(&dir).args(["--format", "csv"]).args(filter).output();
                let found = Run::from(found.expect("runs")).exits(0);
                assert_eq!(found.stderr, "", "{filter:?}");
                let rows = found.text().split(",float,").skip(1).map(str::to_owned).collect::<Vec<_>>();
                assert_eq!(rows, [format!("{at}\n")], "{filter:?}");
            }
        }
        for filter in [["--measurement", shown], ["--tag", &tag], ["--field", &field], ["--key", &key]] {
            let found = command().arg("delete").arg(&dir).arg("--dry-run").args(filter).output();
            let found = Run::from(found.expect("runs")).exits(0).text();
            assert_eq!(found, format!("{key}: 1 point\nwould delete 1 point of 1 key\n"), "{filter:?}");
        }
        let found = command().arg("delete").arg(&dir).args(["--key", &key]).output();
        Run::from(found.expect("runs")).exits(0);
        run("import {} {}", &[&dir, &scratch.file("again.lp", text())]).exits(0);
    }
}

/// Story: arguments that were not UTF-8 caused a usage error.
#[cfg(unix)]
#[test]
fn filters_accept_raw_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let scratch = Scratch::new();
    let dir = scratch.imported("d", b"m\xff,h=\xfe\r f\xfd=1 1\nm\xfd,h=\xfc f\xff=2 1\n");
    for flags in [
        [&b"--measurement"[..], b"m\xff"],
        [b"--tag", b"h=\xfe\r"],
        [b"--field", b"f\xfd"],
        [b"--key", b"m\xff,h=\xfe\r#!~#f\xfd"],
    ] {
        let found =
            command().arg("delete").arg(&dir).arg("--dry-run").args(flags.map(OsStr::from_bytes)).output();
        let text = Run::from(found.expect("runs")).exits(0).text();
        assert_eq!(text, "m\\xff,h=\\xfe\\x0d#!~#f\\xfd: 1 point\nwould delete 1 point of 1 key\n");
    }
}

/// Story: `stats` counted two measurements as one if only their invalid UTF-8 bytes differed.
#[test]
fn stats_distinguishes_names() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", text());
    for _ in 0..2 {
        let stats = run("stats {} --format json", &[&dir]).exits(0).json();
        let measurements = stats["measurements"].as_object().expect("an object");
        assert_eq!(measurements.len(), NAMES.len(), "{measurements:?}");
        assert!(measurements.values().all(|part| part["values"] == 1), "{measurements:?}");
        // In JSON, valid UTF-8 is exact, and other bytes are escaped.
        for name in ["\r", "\u{feff}xyz", "m\\xff", "m\\xfd", "m\\x5cxff"] {
            assert!(measurements.contains_key(name), "{name:?} in {measurements:?}");
        }
        run("snapshot {}", &[&dir]).exits(0);
    }
}

/// Story: reports and errors printed control characters of names to the terminal.
#[test]
fn control_characters_are_never_printed() {
    let scratch = Scratch::new();
    let mut text = text();
    text.extend_from_slice(b"s,t=\x1b[2J f\x07=\"a\x1b[31m\r\xff\" 1\n");
    let dir = scratch.imported("d", &text);
    // Both lines are rejected: another type, and a field that does not parse.
    let bad = scratch.file("\u{1b}bad.lp", b"s,t=\x1b[2J f\x07=1 2\ns f=\x1b 3\n");
    let rejected = run("import {} {}", &[&dir, &bad]).exits(1);
    assert!(rejected.stderr.contains("\\x1bbad.lp:1: "), "{}", rejected.stderr);
    assert!(!has_control(rejected.stderr.as_bytes()), "{}", rejected.stderr);
    for _ in 0..2 {
        for line in [
            "query {}",
            "stats {}",
            "stats {} --format json",
            "inspect {}",
            "inspect {} --format json",
            "verify {}",
            "repair {} --dry-run",
            "delete {} --end 2 --dry-run",
            "query {} --measurement \u{1b}",
        ] {
            let run = run(line, &[&dir]);
            // JSON escapes control characters itself. The byte order mark is not a control character.
            let stdout = run.text().replace('\u{feff}', "");
            assert!(!has_control(stdout.as_bytes()), "{line}: {stdout}");
            assert!(!has_control(run.stderr.as_bytes()), "{line}: {}", run.stderr);
        }
        run("snapshot {}", &[&dir]).exits(0);
    }
}

/// Story: two keys could have the same text in JSON lines, because U+FFFD replaced every invalid byte.
#[test]
fn jsonl_distinguishes_keys() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", b"m\xff v=1 1\nm\xfd v=2 1\nm\\xff v=3 1\nm\r v=4 1\n");
    for exact in ["", " --exact"] {
        let run = run(&format!("export {{}} --format jsonl{exact}"), &[&dir]).exits(0);
        let keys: Vec<serde_json::Value> =
            run.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let found: Vec<_> = keys.iter().map(|key| (key["key"].as_str(), key["key_hex"].as_str())).collect();
        let expected = [
            (Some("m\r#!~#v"), None),
            (Some("m\\xff#!~#v"), None),
            (Some("m\\xfd#!~#v"), Some("6dfd23217e2376")),
            (Some("m\\xff#!~#v"), Some("6dff23217e2376")),
        ];
        assert_eq!(found, expected);
    }
}

/// Story: a misspelled filter gave an empty result without a warning.
#[test]
fn a_filter_that_matches_nothing_is_reported() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", "cpu,host=a v=1 5\n");
    for verb in ["export", "query", "delete"] {
        for flags in ["--measurement cpv", "--tag host=b --field v", "--field w", "--measurement cpu --end 4"]
        {
            let run = run(&format!("{verb} {{}} {flags}"), &[&dir]).exits(0);
            let first = flags.split(' ').next().expect("a flag");
            assert!(run.stderr.contains(first), "{verb} {flags}: {}", run.stderr);
        }
        run(&format!("{verb} {{}} --measurement b\u{1b}"), &[&dir]).exits(0).says(&["--measurement b\\x1b"]);
        assert_eq!(run(&format!("{verb} {{}} --tag rack= --end 6"), &[&dir]).exits(0).stderr, "");
        run("import {} {}", &[&dir, &scratch.file("again.lp", "cpu,host=a v=1 5\n")]).exits(0);
    }
    run("delete {} --key cpu#!~#w", &[&dir]).exits(0).says(&["--key cpu#!~#w"]);
    assert_eq!(run("query {} --limit 0 --field v", &[&dir]).exits(0).stderr, "");
}
