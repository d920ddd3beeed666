//! Arguments that several verbs share.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Arg, Args, Command, ValueEnum};
use tsmith_engine::{Dirs, Registry, Setup};

use crate::exit::{Failure, Result};
use crate::holder;
use crate::place::{self, Place, Tree};

/// The parts of an engine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Parts")]
pub(crate) struct Parts {
    /// Store of values that are not yet in files [default: the directory's, else ring]
    #[arg(long, value_name = "NAME")]
    storer: Option<String>,
    /// Write-ahead log [default: the directory's, else file]
    #[arg(long, value_name = "NAME")]
    log: Option<String>,
    /// Encoder of blocks [default: the directory's, else tsm1]
    #[arg(long, value_name = "NAME")]
    encoder: Option<String>,
    /// When a write becomes visible [default: sync-then-publish]
    #[arg(long, value_name = "NAME", value_parser = option("order"))]
    order: Option<String>,
    /// When a write is durable: each, group, none or interval:100ms [default: group]
    #[arg(long, value_name = "NAME", value_parser = durability)]
    durability: Option<String>,
    #[command(flatten)]
    recovery: Recovery,
    /// Scope in which a field must keep one type [default: the directory's, else series]
    #[arg(long, value_name = "NAME", value_parser = option("types"))]
    types: Option<String>,
    /// Background compaction of files [default: on]
    #[arg(long, value_name = "NAME", value_parser = option("compaction"))]
    compaction: Option<String>,
}

impl Parts {
    /// The setup of these flags.
    pub(crate) fn setup(&self) -> Result<Setup> {
        let mut setup = Setup::default();
        let flags = [
            ("storer", &self.storer),
            ("log", &self.log),
            ("encoder", &self.encoder),
            ("order", &self.order),
            ("durability", &self.durability),
            ("recovery", &self.recovery.recovery),
            ("types", &self.types),
            ("compaction", &self.compaction),
        ];
        for (flag, value) in flags {
            if let Some(value) = value {
                setup.set(flag, value)?;
            }
        }
        Ok(setup)
    }
}

/// The mode of recovery.
#[derive(Debug, Args)]
pub(crate) struct Recovery {
    /// If the log is corrupt, fail (strict) or keep each valid record (salvage) [default: strict]
    #[arg(long, value_name = "NAME", value_parser = option("recovery"))]
    recovery: Option<String>,
}

impl Recovery {
    pub(crate) fn apply(&self, setup: &mut Setup) -> Result<()> {
        self.recovery.as_deref().map_or(Ok(()), |name| Ok(setup.set("recovery", name)?))
    }
}

/// Makes the flags `--storer`, `--log` and `--encoder` accept the names of `registry`. Help and errors list them.
pub(crate) fn with_parts(command: Command, registry: &Registry) -> Command {
    let parts = registry.names();
    let takes = |arg: Arg| {
        let names = parts.iter().find(|(part, _)| arg.get_id() == part).map(|(_, names)| names);
        match names {
            Some(names) => arg.value_parser(PossibleValuesParser::new(names.iter().map(|(name, _)| *name))),
            None => arg,
        }
    };
    command.mut_args(takes).mut_subcommands(|command| with_parts(command, registry))
}

/// Accepts the names that the engine defines for the option `flag`. Help and errors list them.
fn option(flag: &str) -> PossibleValuesParser {
    let names = Setup::flags().into_iter().find(|(name, _)| *name == flag).map(|(_, names)| names);
    PossibleValuesParser::new(names.unwrap_or_default())
}

fn durability(value: &str) -> Result<String, String> {
    let set = Setup::default().set("durability", value);
    set.map(|()| value.to_owned())
        .map_err(|_| "expected each, group, none, or an interval such as interval:100ms".to_owned())
}

/// Where the log is.
#[derive(Debug, Args)]
pub(crate) struct Wal {
    /// Directory of the log, or above several logs [default: see docs/paths.md]
    #[arg(long, value_name = "DIR")]
    pub(crate) wal: Option<PathBuf>,
}

/// Where the log is, for a verb that writes.
#[derive(Debug, Args)]
pub(crate) struct WriteTo {
    #[command(flatten)]
    wal: Wal,
    /// Write even if another process, such as influxd, has the files open
    #[arg(long)]
    force: bool,
}

impl WriteTo {
    /// The directories of the engine at `data`, which `verb` changes.
    pub(crate) fn dirs(&self, verb: &str, data: &Path, registry: &Registry) -> Result<Dirs> {
        let dirs = self.dirs_unchanged(verb, data, registry)?;
        if !self.force {
            holder::refuse_held(verb, [dirs.data.as_path(), dirs.wal.as_path()])?;
        }
        Ok(dirs)
    }

    /// What `path` is, for a dry run.
    pub(crate) fn place(&self, path: &Path, registry: &Registry) -> Result<Place> {
        Place::find(path, self.wal.wal.as_deref(), registry)
    }

    /// Does the same as [`Self::dirs`], for a dry run.
    pub(crate) fn dirs_unchanged(&self, verb: &str, data: &Path, registry: &Registry) -> Result<Dirs> {
        place::dirs(verb, data, self.wal.wal.as_deref(), registry)
    }
}

/// Where the log is, for a verb that can work without it.
#[derive(Debug, Args)]
pub(crate) struct WalOrNone {
    #[command(flatten)]
    wal: Wal,
    /// Read only the TSM files, without the values in the log
    #[arg(long, conflicts_with = "wal")]
    no_wal: bool,
}

impl WalOrNone {
    /// What `path` is.
    pub(crate) fn place(&self, path: &Path, registry: &Registry) -> Result<Place> {
        let place = Place::find(path, self.wal.wal.as_deref(), registry)?;
        if !self.no_wal {
            return Ok(place);
        }
        let why = || {
            Failure::Usage(format!("{}: this is a log, so --no-wal leaves nothing to read", path.display()))
        };
        place.without_log().ok_or_else(why)
    }

    /// What `path` is, or the shards below it.
    pub(crate) fn tree(&self, path: &Path, registry: &Registry) -> Result<Tree> {
        let tree = Tree::find(path, self.wal.wal.as_deref(), registry)?;
        Ok(if self.no_wal { tree.without_logs() } else { tree })
    }
}

/// Format of a report: text for people, or one JSON object for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    #[default]
    Table,
    Json,
}

/// Reads `4096`, `64KiB`, `64MiB`, `2GiB`, `64MB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err("expected bytes, or a number with KiB, MiB, GiB, kB, MB or GB".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a number first".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_with_and_without_a_unit() {
        assert_eq!(size("4096"), Ok(4_096));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1kB"), Ok(1_000));
        assert!(size("MiB").is_err() && size("1Mib").is_err() && size("99999999999GiB").is_err());
    }
}
