//! The man page of each verb, compared with the copies in `tests/manual`.
//!
//! `TSMITH_REWRITE=1 cargo test -p tsmith --test manual` rewrites the copies.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tsmith_engine::Registry;

/// Name and content of every file in `dir`.
fn pages(dir: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("lists the directory"));
    let page = |path: PathBuf| fs::read_to_string(path).expect("reads a page").replace("\r\n", "\n");
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), page(entry.path()))).collect()
}

#[test]
fn man_pages_match_their_copies() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("creates a directory");
    clap_mangen::generate_to(tsmith::command(&Registry::standard()), dir.path()).expect("writes the pages");
    let made = pages(dir.path());
    let copies = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manual");
    if std::env::var_os("TSMITH_REWRITE").is_some() {
        drop(fs::remove_dir_all(&copies));
        fs::create_dir_all(&copies).expect("creates the directory");
        for (name, page) in &made {
            fs::write(copies.join(name), page).expect("writes a copy");
        }
        return;
    }
    let kept = pages(&copies);
    assert_eq!(made.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>(), "one page for each verb");
    for (name, page) in &made {
        let copy = &kept[name];
        let line = page.lines().zip(copy.lines()).position(|(made, kept)| made != kept);
        let place = line.map_or_else(|| "its end".into(), |line| format!("line {}", line + 1));
        assert!(
            page == copy,
            "{name} differs from its copy at {place}; TSMITH_REWRITE=1 rewrites the copies"
        );
    }
}
