use std::io::Write;

use super::*;
use crate::testing::Scratch;

#[test]
fn files_are_private_and_links_are_not_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let scratch = Scratch::new();
    let dir = scratch.path().join("a/b");
    OsFs.create_dir_all(&dir).expect("creates");
    let file = OsFs.create_new(&dir.join("x.tmp")).expect("creates");
    let mut writer = FileWriter::new(file);
    writer.write_all(b"content").expect("writes");
    OsFs.publish(&writer.finish().expect("finishes"), &dir.join("x.tmp"), &dir.join("x")).expect("publishes");
    assert_eq!(OsFs.read(&dir.join("x")).expect("reads"), b"content");
    let mode = |path: &Path| std::fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("x"))), (0o700, 0o600));
    symlink(dir.join("x"), dir.join("link")).expect("links");
    assert!(OsFs.open(&dir.join("link")).is_err());
    assert!(OsFs.create_new(&dir.join("x")).is_err());
    assert_eq!(OsFs.list(&dir).expect("lists"), ["link", "x"]);
}

/// Story: a repair as root replaced files of influxd by files that only root could read.
#[test]
fn a_replaced_file_keeps_its_permissions() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let scratch = Scratch::new();
    let path = scratch.path().join("x");
    for mode in [0o644, 0o640, 0o600] {
        std::fs::write(&path, b"corrupt").expect("writes");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("sets");
        let old = path.metadata().expect("is there");
        replace_corrupt_by(&OsFs, &path, b"rebuilt").expect("replaces");
        let new = path.metadata().expect("is there");
        assert_eq!((new.mode() & 0o777, new.uid(), new.gid()), (mode, old.uid(), old.gid()));
    }
}

/// Space reserved for a growing file does not change its length, and is released at the end.
#[test]
fn reserved_space_is_released() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new();
    let path = scratch.path().join("grows");
    let mut writer = FileWriter::new(OsFs.create_new(&path).expect("creates"));
    let piece = vec![7; 300_000];
    let mut seen = Vec::new();
    for n in 1..=3 {
        writer.write_all(&piece).expect("writes");
        let found = std::fs::metadata(&path).expect("is there");
        assert_eq!(found.len(), n * 300_000);
        seen.push(found.blocks() * 512);
    }
    writer.finish().expect("finishes").sync_all().expect("syncs");
    let found = std::fs::metadata(&path).expect("is there");
    assert_eq!((found.len(), found.blocks() * 512 < 2 << 20), (900_000, true), "{} blocks", found.blocks());
    assert_eq!(OsFs.read(&path).expect("reads"), piece.repeat(3));
    // If the file system supports reservations.
    if seen.last().is_some_and(|bytes| *bytes > 16 << 20) {
        assert!(seen[0] < 16 << 20, "{seen:?}");
    }
}

/// Story: a pipe with the name of a segment blocked the open forever. A link to `/dev/zero` filled the memory.
#[test]
fn only_regular_files_are_opened() {
    use std::os::unix::fs::symlink;
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path().join(name);
    let made = std::process::Command::new("mkfifo").arg(path("pipe")).status().expect("runs");
    assert!(made.success());
    symlink("/dev/zero", path("link")).expect("links");
    std::fs::create_dir(path("dir")).expect("creates");
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).expect("binds");
    let refused = |what: &str, done: io::Result<()>| {
        let error = done.expect_err(what);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{what}: {error}");
        assert!(NotRegular::is(&error), "{what}: {error}");
    };
    for path in [path("pipe"), path("link"), path("dir"), path("socket"), "/dev/zero".into()] {
        let name = path.display();
        refused(&format!("read {name}"), OsFs.read(&path).map(drop));
        refused(&format!("open {name}"), OsFs.open(&path).map(drop));
        refused(&format!("map {name}"), OsFs.read_within(&path, 9).map(drop));
        refused(&format!("share {name}"), OsFs.lock_shared(&path).map(drop));
    }
    assert_eq!(OsFs.list(scratch.path()).expect("lists"), ["dir", "link", "pipe", "socket"]);
}

#[test]
fn allocated_space_reads_as_zeros() {
    let scratch = Scratch::new();
    let file = OsFs.create_new(&scratch.path().join("x")).expect("creates");
    file.allocate(0..10_000).expect("allocates");
    let mut bytes = vec![1; 10_001];
    assert_eq!(file.read_at(&mut bytes, 0).expect("reads"), 10_000);
    assert!(bytes[..10_000].iter().all(|byte| *byte == 0));
}
