//! Writes the man pages of `tsmith` and its completions for bash, fish and zsh.
//!
//! ```text
//! cargo run -p tsmith --example manual -- DIR
//! ```

use std::path::PathBuf;
use std::{fs, io};

use clap_complete::Shell;
use tsmith_engine::Registry;

fn main() -> io::Result<()> {
    let dir = std::env::args_os().nth(1).map(PathBuf::from);
    let dir = dir.ok_or_else(|| io::Error::other("usage: manual DIR"))?;
    let command = tsmith::command(&Registry::standard());
    let (man, completions) = (dir.join("man"), dir.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut command.clone(), "tsmith", &completions)?;
    }
    clap_mangen::generate_to(command, man)
}
