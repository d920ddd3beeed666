//! After a kill during an import, all acknowledged lines exist.

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use support::{Scratch, command, points, run};

/// After `kill -9` with several writers, the directory verifies. The export contains every acknowledged line, and only
/// lines of the input.
#[test]
fn acknowledged_lines_survive_a_kill() {
    for (lines_acknowledged, snapshots) in [(3_000, false), (20_000, false), (60_000, true)] {
        let scratch = Scratch::new();
        let line = |i: u64| format!("m,h={} v={i}i,s=\"n{i}\" {i}\n", i % 50);
        let input = scratch.file("x.lp", (0..400_000).map(line).collect::<String>());
        let dir = scratch.path("d");
        let mut import = command();
        import.arg("import").arg(&dir).arg(&input).stderr(Stdio::piped());
        import.args(["--writers", "4", "--batch", "100", "--progress", "always"]);
        if snapshots {
            import.args(["--cache", "4MiB"]);
        }
        let mut child = import.spawn().expect("runs");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut acknowledged = 0;
        let mut text = String::new();
        let mut killed = false;
        while stderr.read_line(&mut text).expect("readable") > 0 {
            if let Some(count) = text.trim().strip_prefix("acknowledged ") {
                acknowledged = count.parse::<u64>().expect("a number");
            }
            if acknowledged >= lines_acknowledged && !killed {
                child.kill().expect("killed");
                killed = true;
            }
            text.clear();
        }
        assert!(!child.wait().expect("ends").success(), "it ended before it was killed");

        run("verify {}", &[&dir]).exits(0);
        let exported = run("export {}", &[&dir]).exits(0).stdout;
        let mut found = vec![0_u8; 400_000];
        for (key, column) in points(&exported) {
            for (at, &time) in column.times().iter().enumerate() {
                let value = column.values().as_ref().get(at);
                let expected = tsmith_engine::Value::Integer(time);
                let note = format!("n{time}");
                let good = value == expected || value == tsmith_engine::Value::String(note.as_bytes());
                assert!(good, "{}: {value:?} at {time}", String::from_utf8_lossy(&key));
                found[usize::try_from(time).expect("a line")] += 1;
            }
        }
        let lost = found[..acknowledged as usize].iter().position(|&fields| fields != 2);
        assert_eq!(lost, None, "of {acknowledged} acknowledged lines");
        // The directory can be opened and written again.
        run("import {} {}", &[&dir, &input]).exits(0);
        assert_eq!(run("stats {} --format json", &[&dir]).exits(0).json()["values"], 800_000);
    }
}
