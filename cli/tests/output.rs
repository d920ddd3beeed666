//! Output files: they are complete, or they do not exist.

mod support;

use std::fs;
use std::path::Path;

use support::{Scratch, command, run, sample};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Story: Ctrl-C during an export left an incomplete file, which the next run refused to replace.
#[cfg(unix)]
#[test]
fn an_interrupted_export_leaves_no_file() {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(2000));
    let outputs = scratch.path("outputs");
    fs::create_dir(&outputs).expect("created");
    let out = outputs.join("o.lp");
    for (name, number) in [("INT", 2), ("TERM", 15)] {
        // The directory is exported many times, so the signal arrives before the end.
        let mut export = command();
        export.arg("export").arg("-o").arg(&out).args(vec![&dir; 10_000]).stderr(Stdio::piped());
        let mut child = export.spawn().expect("runs");
        while names(&outputs).is_empty() {
            assert!(child.try_wait().expect("asked").is_none(), "it ended early");
            std::thread::yield_now();
        }
        assert!(!out.exists(), "the file has its name before it is complete");
        let kill = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
        assert!(kill.expect("kill runs").success());
        let output = child.wait_with_output().expect("ends");
        assert_eq!(output.status.signal(), Some(number));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("o.lp"), "{said}");
        assert!(names(&outputs).is_empty(), "{:?}", names(&outputs));
    }
    run("export {} -o {}", &[&dir, &out]).exits(0);
    assert_eq!(names(&outputs), ["o.lp"]);
    assert_eq!(fs::read(&out).expect("written"), run("export {}", &[&dir]).exits(0).stdout);
}

/// Story: a failed export left an incomplete file and deleted the old one.
#[cfg(target_os = "linux")]
#[test]
fn a_failed_export_keeps_the_old_file() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(2000));
    let outputs = scratch.path("outputs");
    fs::create_dir(&outputs).expect("created");
    let out = outputs.join("o.lp");
    fs::write(&out, "old").expect("written");
    // A limit of the file size simulates a full disk.
    let limited = std::process::Command::new("sh")
        .arg("-c")
        .arg("trap '' XFSZ; ulimit -f 8; exec \"$0\" export \"$1\" -o \"$2\" --force")
        .arg(env!("CARGO_BIN_EXE_tsmith"))
        .args([&dir, &out])
        .output();
    support::Run::from(limited.expect("sh runs")).exits(74).says(&["o.lp: "]);
    assert_eq!(fs::read(&out).expect("still there"), b"old");
    assert_eq!(names(&outputs), ["o.lp"]);
}

#[test]
fn an_existing_file_is_kept_without_force() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", "m v=1 1\n");
    let out = scratch.file("o.lp", "old");
    for verb in ["export", "query"] {
        run(&format!("{verb} {{}} -o {{}}"), &[&dir, &out]).exits(2).says(&["o.lp", "--force"]);
        assert_eq!(fs::read(&out).expect("still there"), b"old");
    }
    run("export {} -o {} --force", &[&dir, &out]).exits(0);
    assert_eq!(fs::read(&out).expect("written"), b"m v=1 1\n");
}

/// `--force` on a link replaces the target. A device is written in place.
#[cfg(unix)]
#[test]
fn force_keeps_links_devices_and_permissions() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

    let scratch = Scratch::new();
    let dir = scratch.imported("d", "m v=1 1\n");
    let (out, link) = (scratch.file("o.lp", "old"), scratch.path("link.lp"));
    fs::set_permissions(&out, fs::Permissions::from_mode(0o640)).expect("set");
    symlink("o.lp", &link).expect("linked");
    run("export {} -o {} --force", &[&dir, &link]).exits(0);
    assert!(link.is_symlink());
    assert_eq!(fs::read(&out).expect("written"), b"m v=1 1\n");
    assert_eq!(out.metadata().expect("there").permissions().mode() & 0o777, 0o640);
    let null = Path::new("/dev/null");
    run("export {} -o {} --force", &[&dir, null]).exits(0);
    assert!(null.metadata().expect("there").file_type().is_char_device());
}

/// Story: an interrupted import left an empty file of rejected lines, and the next run failed.
#[test]
fn an_empty_rejects_file_is_reused() {
    let scratch = Scratch::new();
    let (input, dir) = (scratch.file("x.lp", "m v=1 1\nm v=\n"), scratch.path("d"));
    let rejects = scratch.file("bad.lp", "");
    run("import {} {} --rejects {}", &[&dir, &input, &rejects]).exits(1);
    assert_eq!(fs::read(&rejects).expect("written"), b"m v=\n");
    run("import {} {} --rejects {}", &[&dir, &input, &rejects]).exits(2).says(&["bad.lp", "--rejects"]);
    assert_eq!(fs::read(&rejects).expect("still there"), b"m v=\n");
}

/// Story: an empty string was written as an empty CSV field, which pandas reads as a missing value.
#[test]
fn an_empty_string_is_quoted_in_csv() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", "m,t=a s=\"\",v=1 1\nm,t=a s=\"x\" 2\n");
    for (exact, x, one) in [("", "x", "1"), (" --exact", "78", "3ff0000000000000")] {
        let csv = format!(
            "series,field,time,type,value\n\"m,t=a\",s,1,string,\"\"\n\"m,t=a\",s,2,string,{x}\n\"m,t=a\",v,1,float,{one}\n"
        );
        assert_eq!(run(&format!("export {{}} --format csv{exact}"), &[&dir]).exits(0).text(), csv);
        assert_eq!(run(&format!("query {{}} --format csv{exact}"), &[&dir]).exits(0).text(), csv);
    }
}

/// Story: a query without rows printed a header as CSV, but nothing as a table.
#[test]
fn a_query_without_rows_prints_the_header() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", "m v=1 1\n");
    let none = run("query {} --field none", &[&dir]).exits(0).text();
    assert_eq!(none, "time                            series  field  value\n");
    assert_eq!(run("query {} --limit 0", &[&dir]).exits(0).text().lines().count(), 1);
}

/// Story: if `--start` was after `--end`, `export` and `query` printed nothing. Only `delete` failed.
#[test]
fn start_after_end_is_refused() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", "m v=1 1\n");
    for verb in ["export", "query", "delete"] {
        run(&format!("{verb} {{}} --start 2 --end 1"), &[&dir]).exits(2).says(&["--start", "--end"]);
        run(&format!("{verb} {{}} --start 1 --end 1"), &[&dir]).exits(0);
    }
}
