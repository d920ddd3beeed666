//! Vectors written by the real InfluxDB: from the directory that `TSMITH_VECTORS_TSM1` names, else from the copy in
//! this repository, where long lists are compressed.
#![allow(dead_code, reason = "each test uses a part of it")]

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
    zstd::decode_all(&bytes[..]).expect("a whole zstd frame")
}

/// The lines of the list `name`, each one a JSON object.
pub(crate) fn lines(name: &str) -> Vec<Value> {
    let text = String::from_utf8(vector(name)).expect("JSON is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

/// The directory the vectors are read from.
pub(crate) fn root() -> PathBuf {
    match env::var_os("TSMITH_VECTORS_TSM1") {
        Some(dir) => dir.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tsm1"),
    }
}

/// Bytes from their hex digits.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits"))
        .collect()
}

/// The hex digits of bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
