//! Helpers for the tests against etcd: its vectors, and directories as lists of files.

#![allow(dead_code, reason = "each test uses its part")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// The vectors in the directory `TSMITH_VECTORS_ETCD`, or else in the copy in the repository.
pub(crate) struct Vectors {
    root: PathBuf,
    _unpacked: Option<TempDir>,
}

impl Vectors {
    pub(crate) fn get() -> Self {
        if let Some(root) = std::env::var_os("TSMITH_VECTORS_ETCD") {
            return Self { root: root.into(), _unpacked: None };
        }
        let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/etcd.tar.zst");
        let tar = zstd::decode_all(&*fs::read(packed).expect("the vectors")).expect("zstd");
        let unpacked = TempDir::new().expect("a directory");
        untar(&tar, unpacked.path());
        Self { root: unpacked.path().to_path_buf(), _unpacked: Some(unpacked) }
    }

    /// The cases of a kind, by name.
    pub(crate) fn cases(&self, kind: &str) -> Vec<PathBuf> {
        let dirs = fs::read_dir(self.root.join(kind)).expect("cases");
        let mut dirs: Vec<_> =
            dirs.map(|dir| dir.expect("an entry").path()).filter(|at| at.is_dir()).collect();
        dirs.sort();
        dirs
    }

    /// The plans of operations. The list of resulting files is beside each plan.
    pub(crate) fn plans(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.root.join("plans")).expect("plans");
        let mut plans: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
        plans.retain(|path| path.extension() == Some("jsonl".as_ref()));
        plans.sort();
        plans
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// The regular files and directories of a tar archive in the old format with short names.
fn untar(mut tar: &[u8], to: &Path) {
    while let Some((head, rest)) = tar.split_at_checked(512).filter(|(head, _)| head[0] != 0) {
        let text = |from: usize, len: usize| {
            let field = &head[from..from + len];
            let end = field.iter().position(|&byte| byte == 0).unwrap_or(len);
            std::str::from_utf8(&field[..end]).expect("text").trim()
        };
        let path = to.join(text(345, 155)).join(text(0, 100));
        let len = usize::from_str_radix(text(124, 12), 8).expect("octal");
        if head[156] == b'5' {
            fs::create_dir_all(&path).expect("a directory");
        } else {
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(&path, &rest[..len]).expect("a file");
        }
        tar = &rest[len.next_multiple_of(512)..];
    }
}

pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in the form of the vectors: in full up to `limit` bytes, above it as length and hash.
pub(crate) fn brief(bytes: Option<&[u8]>, limit: usize) -> Value {
    match bytes {
        None => Value::Null,
        Some(bytes) if bytes.len() <= limit => hex(bytes).into(),
        Some(bytes) => serde_json::json!({ "len": bytes.len(), "sha256": sha256(bytes) }),
    }
}

/// The files of a directory: name, size, hash.
pub(crate) fn tree(dir: &Path) -> Vec<(String, u64, String)> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let bytes = fs::read(&path).expect("a file");
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, bytes.len() as u64, sha256(&bytes))
        })
        .collect();
    files.sort();
    files
}

/// The list of files in a line of the vectors, in the form of `tree`.
pub(crate) fn listed(files: &Value) -> Vec<(String, u64, String)> {
    let file = |file: &Value| {
        let text = |name: &str| file[name].as_str().expect("text").to_owned();
        (text("name"), file["size"].as_u64().expect("a size"), text("sha256"))
    };
    let mut files: Vec<_> = files.as_array().map_or(&[][..], Vec::as_slice).iter().map(file).collect();
    files.sort();
    files
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    let Ok(entries) = fs::read_dir(from) else { return };
    for entry in entries {
        let path = entry.expect("an entry").path();
        fs::write(to.join(path.file_name().expect("a name")), fs::read(&path).expect("reads"))
            .expect("writes");
    }
}
