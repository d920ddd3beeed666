//! `tsmith inspect`: shows the structure of files.

pub(crate) mod encoding;
mod etcd;
mod log;
mod manifest;
pub(crate) mod segment;
mod tombstone;
mod tsm;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tsmith_codecs::name::printable;

use crate::args::{ReportFormat, WalOrNone};
use crate::exit::{Outcome, Result, complain};
use crate::output::Out;
use crate::place::{Member, NoLog, Place, Skipped, to_read};
use tsmith_engine::Registry;

/// Show the structure of files: keys and blocks, log records, tombstones, manifests
///
/// Example:
///   tsmith inspect d/000000001-000000001.tsm d/wal/_00001.wal
///
/// Checksums of blocks are verified, but values are not decoded; `tsmith verify`
/// does that. A corrupt file is shown as far as it can be read, and the exit code
/// is then 1. Nothing on disk is changed. See docs/formats.md for the files, and
/// docs/json.md for the JSON report.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Inspect {
    /// Shards, engine directories, directories above shards, etcd members, or single files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    wal: WalOrNone,
    /// Format of the report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
}

/// The content of a file.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Content {
    Manifest(manifest::Content),
    Tsm(tsm::Content),
    Tombstone(tombstone::Content),
    Segment(segment::Content),
    Log(log::Content),
    #[serde(rename = "etcd-log")]
    EtcdLog(etcd::Log),
    #[serde(rename = "etcd-snapshot")]
    EtcdSnapshot(etcd::Snapshot),
}

#[derive(Serialize)]
struct Inspected {
    path: String,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize)]
struct Report {
    files: Vec<Inspected>,
    /// Shards whose log is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    no_log: Vec<NoLog>,
}

impl Inspect {
    pub(crate) fn run(self, registry: &Registry) -> Result<Outcome> {
        let (mut places, mut skipped) = (Vec::new(), Vec::new());
        let (paths, passed) = to_read(&self.paths, registry);
        skipped.extend(passed);
        for path in paths {
            let tree = self.wal.tree(path, registry)?;
            skipped.extend(tree.skipped);
            places.extend(tree.places);
        }
        let mut out = Out::stdout();
        let mut report = Report { files: Vec::new(), no_log: Vec::new() };
        let mut outcome = Outcome::Fine;
        for (_, place) in places {
            outcome = outcome.and(place.report_no_log(Outcome::Fine));
            report.no_log.extend(place.no_log().cloned());
            let (members, _held) = place.files(registry)?;
            for member in members {
                match &member {
                    Member::Unreadable(path, why) => {
                        why.complain_of(path);
                        outcome = outcome.and(why.outcome());
                    }
                    Member::Skipped(beside) | Member::Leftover(beside) => skipped.push(beside.clone()),
                    _ => {}
                }
                let (path, content) = match inspect(&member, &place, registry) {
                    Ok(Some(found)) => found,
                    Ok(None) => continue,
                    Err(why) => {
                        complain(why.text());
                        outcome = outcome.and(why.outcome());
                        continue;
                    }
                };
                outcome = outcome.and(Outcome::of(content.is_corrupt()));
                let file = Inspected { path: path.display().to_string(), content };
                match self.format {
                    ReportFormat::Json => report.files.push(file),
                    ReportFormat::Table => file.print(&mut out)?,
                }
            }
        }
        Skipped::note_all(&skipped);
        if self.format == ReportFormat::Json {
            let written = serde_json::to_writer_pretty(out.text(), &report);
            debug_assert!(written.is_ok(), "writing to a vector cannot fail");
            out.text().push(b'\n');
        }
        out.flush()?;
        Ok(outcome)
    }
}

fn inspect<'m>(
    member: &'m Member,
    place: &Place,
    registry: &Registry,
) -> Result<Option<(&'m Path, Content)>> {
    let wal = if let Place::Directory { wal, .. } = place { wal.as_deref() } else { None };
    Ok(match member {
        Member::Tsm(path) => Some((path, Content::Tsm(tsm::inspect(path, &registry.encoders().decoders())?))),
        Member::Tombstone(path) => Some((path, Content::Tombstone(tombstone::inspect(path, wal, registry)?))),
        Member::Segment(path) => Some((path, Content::Segment(segment::inspect(path)?))),
        Member::Log(path, name) => Some((path, Content::Log(log::inspect(path, name, registry)?))),
        Member::EtcdLog(path) => Some((path, Content::EtcdLog(etcd::log(path)?))),
        Member::EtcdSnapshot(path) => Some((path, Content::EtcdSnapshot(etcd::snapshot(path)?))),
        Member::Manifest(path) => Some((path, Content::Manifest(manifest::inspect(path)?))),
        Member::Leftover(_) | Member::Unreadable(..) | Member::Skipped(_) => None,
    })
}

impl Content {
    fn is_corrupt(&self) -> bool {
        match self {
            Self::Manifest(content) => content.is_corrupt(),
            Self::Tsm(content) => content.is_corrupt(),
            Self::Tombstone(content) => content.is_corrupt(),
            Self::Segment(content) => content.is_corrupt(),
            Self::Log(content) => content.is_corrupt(),
            Self::EtcdLog(content) => content.is_corrupt(),
            Self::EtcdSnapshot(content) => content.is_corrupt(),
        }
    }
}

impl Inspected {
    fn print(&self, out: &mut Out) -> Result<()> {
        let written = writeln!(out.text(), "{}", printable(&self.path));
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        match &self.content {
            Content::Manifest(content) => content.print(out),
            Content::Tsm(content) => content.print(out),
            Content::Tombstone(content) => content.print(out),
            Content::Segment(content) => content.print(out),
            Content::Log(content) => content.print(out),
            Content::EtcdLog(content) => content.print(out),
            Content::EtcdSnapshot(content) => content.print(out),
        }
    }
}
