//! A server in a process of its own, with its data in the directory of a cell.

use std::ffi::OsString;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tsmith_bench::PeerResult;

use super::http::Client;

/// Longest time until a server answers, and until it ends.
const WAIT: Duration = Duration::from_mins(1);

/// Time between two looks at a server.
const POLL: Duration = Duration::from_millis(5);

/// Starts of a server. Another program may take its port first.
const STARTS_MAX: usize = 3;

/// A running server. It ends with this value, and with this process, however that ends.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pub(super) client: Client,
}

/// The path of a program.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// Why a server cannot run.
pub(super) fn missing(program: &str) -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("servers run on Linux only".into());
    }
    find(program).is_none().then(|| format!("the program {program} is not installed"))
}

/// The first line that a program prints with these arguments, without blanks at its ends.
pub(super) fn version(program: &str, arg: &str) -> String {
    let output = Command::new(program).arg(arg).stdin(Stdio::null()).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}

impl Server {
    /// Starts a program with the arguments that `args` makes of a free port, and waits until it answers at `health`. Its
    /// output goes to the file `output` in `dir`.
    pub(super) fn start(
        program: &str,
        dir: &Path,
        health: &str,
        args: impl Fn(u16) -> PeerResult<Vec<OsString>>,
    ) -> PeerResult<Self> {
        let mut failure = String::new();
        for _ in 0..STARTS_MAX {
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            let output = File::create(dir.join("output"))?;
            let mut command = command(program);
            command.args(args(port)?).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
            let child = command.spawn().map_err(|error| format!("cannot start {program}: {error}"))?;
            let mut server = Self { child, client: Client::new(port) };
            match server.wait_for(health) {
                Ok(()) => return Ok(server),
                Err(error) => failure = error.to_string(),
            }
        }
        let output = std::fs::read_to_string(dir.join("output")).unwrap_or_default();
        let last = output.lines().last().unwrap_or_default();
        Err(format!("{program} did not start: {failure}: {last}").into())
    }

    fn wait_for(&mut self, health: &str) -> PeerResult {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("it ended: {status}").into());
            }
            match self.client.get(health, &[]) {
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() > WAIT => return Err(error),
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Asks the server to end, and waits until it has written everything.
    pub(super) fn stop(mut self) -> PeerResult {
        let begun = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > WAIT {
                return Err("the server does not end".into());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command whose process the kernel kills when this process ends, also by a signal.
fn command(program: &str) -> Command {
    // From util-linux, which every Linux distribution has.
    if find("setpriv").is_some() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", program]);
        command
    } else {
        Command::new(program)
    }
}
