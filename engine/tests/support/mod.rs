//! Vectors written by InfluxDB: from the directory in `TSMITH_VECTORS_TSM1`, else from the copy in this
//! repository, where long lists are compressed.
#![allow(dead_code, reason = "each test uses some of these")]

use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::Value;

/// The file `name` of the vectors.
pub(crate) fn vector(name: &str) -> Vec<u8> {
    let root = root();
    let plain = root.join(name);
    if let Ok(bytes) = fs::read(&plain) {
        return bytes;
    }
    let packed = root.join(format!("{name}.zst"));
    let bytes = fs::read(&packed)
        .unwrap_or_else(|e| panic!("neither {} nor {}: {e}", plain.display(), packed.display()));
    zstd::decode_all(&bytes[..]).expect("a complete zstd frame")
}

/// The paths of the vectors in the directory `dir` whose names end with one of `ends`, in order.
pub(crate) fn names(dir: &str, ends: &[&str]) -> Vec<String> {
    let entries = fs::read_dir(root().join(dir)).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.expect("an entry").file_name().into_string().ok());
    let names = names.map(|name| name.strip_suffix(".zst").map_or(name.clone(), str::to_owned));
    let wanted = names.filter(|name| ends.iter().any(|end| name.ends_with(end)));
    let mut paths: Vec<String> = wanted.map(|name| format!("{dir}/{name}")).collect();
    paths.sort_unstable();
    paths
}

/// The names of the directories in the directory `dir` of the vectors, in order.
pub(crate) fn directories(dir: &str) -> Vec<String> {
    let path = root().join(dir);
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let directories = entries.map(|entry| entry.expect("an entry")).filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> =
        directories.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// The lines of the list `name`, each a JSON object.
pub(crate) fn lines(name: &str) -> Vec<Value> {
    let text = String::from_utf8(vector(name)).expect("JSON is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

/// The directory of the vectors.
pub(crate) fn root() -> PathBuf {
    match env::var_os("TSMITH_VECTORS_TSM1") {
        Some(dir) => dir.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tsm1"),
    }
}

/// Bytes from hex digits.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits"))
        .collect()
}

/// Hex digits from bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
