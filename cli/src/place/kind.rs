//! What a path is.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tsmith_engine::Registry;
use tsmith_engine::files::{holds_influxdb_index, tsm_name_of};
use tsmith_engine::manifest::MANIFEST_NAME;
use tsmith_engine::view::{Held, View, hold};
use tsmith_wal::GapKind;
use tsmith_wal::fs::OsFs;

use super::log::{Found, NoLog, looked_for};
use super::member::{Member, log_members, member, skipped};
use super::names::{has_log, has_segments, is_etcd_segment, is_tsm, list};
use super::owner::engine_of_replica;
use super::shard::shard_below;
use super::{etcd, log};
use crate::exit::{Failure, Outcome, Result, complain};

/// What a path is.
#[derive(Debug)]
pub(crate) enum Place {
    /// A directory of TSM files, and that of its log if there is one. `unsure` is why the manifest does not say where that
    /// is; then the log was looked for where logs usually are. With `no_log` it is read without its log.
    Directory { data: PathBuf, wal: Option<PathBuf>, unsure: Option<String>, no_log: Option<NoLog> },
    /// A directory that could not be looked into, and why.
    Unreadable(PathBuf, Failure),
    /// A TSM file, also one that is quarantined or rescued.
    Tsm(PathBuf),
    /// Tombstones of a TSM file.
    Tombstone(PathBuf),
    /// A segment of a log.
    Segment(PathBuf),
    /// A directory of etcd's segments, or one of them.
    EtcdLog(PathBuf),
    /// A directory of etcd's snapshot files, or one of them.
    EtcdSnapshot(PathBuf),
    /// A database that a member of etcd received with a snapshot.
    EtcdDatabase(PathBuf),
}

impl Place {
    /// Finds out what `path` is; `wal` is the log's directory if the user named it.
    pub(crate) fn find(path: &Path, wal: Option<&Path>, registry: &Registry) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|error| Failure::io(path, &error))?;
        if metadata.is_dir() {
            return Self::directory(path, wal, registry);
        }
        let is_tsm = path.file_name().is_some_and(|name| name.to_str().and_then(tsm_name_of).is_some());
        match path.extension().and_then(OsStr::to_str) {
            _ if is_tsm => Ok(Self::Tsm(path.to_owned())),
            Some("tombstone") => Ok(Self::Tombstone(path.to_owned())),
            Some("wal") if etcd::is_segment(path) => Ok(Self::EtcdLog(path.to_owned())),
            Some("snap") => Ok(Self::EtcdSnapshot(path.to_owned())),
            _ if etcd::is_database(path) => Ok(Self::EtcdDatabase(path.to_owned())),
            Some("wal" | "tlog") => Ok(Self::Segment(path.to_owned())),
            _ if path.file_name().is_some_and(|name| registry.is_segment(name)) => Err(Failure::Usage(
                format!("{}: a segment of a log that is read as a whole; name its directory", path.display()),
            )),
            _ => Err(Failure::Usage(format!(
                "{}: not a directory, and not named .tsm, .tsm.bad, .tsm.rescued, .tombstone, .wal, .tlog or .snap; line protocol goes through `tsmith import`",
                path.display()
            ))),
        }
    }

    fn directory(data: &Path, wal: Option<&Path>, registry: &Registry) -> Result<Self> {
        let names = list(data)?;
        let is = |found: fn(&OsStr) -> bool| names.iter().any(|(name, _)| found(name));
        if is(is_etcd_segment) {
            return Ok(Self::EtcdLog(data.to_owned()));
        }
        if let Some(engine) = engine_of_replica(data) {
            return Err(Failure::Usage(format!(
                "{}: a replica's: its points are in {}",
                data.display(),
                engine.display()
            )));
        }
        let log_itself = names.iter().any(|(name, _)| registry.is_segment(name));
        let Found { wal, unsure, no_log } = match wal {
            Some(wal) => log::named(data, wal, registry)?,
            None if log_itself => Found { wal: Some(data.to_owned()), ..Found::default() },
            None => log::find(data)?,
        };
        let ours = is(|name| name == MANIFEST_NAME || is_tsm(name)) || holds_influxdb_index(&OsFs, data);
        let holds_log = |wal: &Path| has_segments(wal, registry);
        if ours || wal.as_deref().map_or(Ok(false), holds_log)? {
            return Ok(Self::Directory { data: data.to_owned(), wal, unsure, no_log });
        }
        if etcd::holds_snapshots(data, &names) {
            return Ok(Self::EtcdSnapshot(data.to_owned()));
        }
        match shard_below(data, 4, registry) {
            Some(shard) => Err(Failure::Usage(format!(
                "{}: not a shard, but a directory of shards: name one of them, as {}",
                data.display(),
                shard.display()
            ))),
            // Opening it says what it lacks.
            None => Ok(Self::Directory { data: data.to_owned(), wal: None, unsure, no_log: None }),
        }
    }

    /// The same without its log, as the user asks for it; `None` of a log without files.
    pub(crate) fn without_log(self) -> Option<Self> {
        match self {
            Self::Directory { data, wal, .. } if wal.as_ref() == Some(&data) => None,
            Self::Directory { data, .. } => {
                Some(Self::Directory { data, wal: None, unsure: None, no_log: None })
            }
            place => Some(place),
        }
    }

    /// Why it is read without its log, where that is not what the user asked for.
    pub(crate) fn no_log(&self) -> Option<&NoLog> {
        if let Self::Directory { no_log, .. } = self { no_log.as_ref() } else { None }
    }

    /// Refuses `wal`, which the user names, or [`Tree`] has found below that, where it is not the log of this shard.
    pub(crate) fn refuse_wrong_log(&self, named: Option<&Path>, registry: &Registry) -> Result<()> {
        match self {
            Self::Directory { data, wal, .. } if wal.as_ref() != Some(data) => {
                let wal = named.or(wal.as_deref());
                wal.map_or(Ok(()), |wal| log::named_for_writing(data, wal, registry).map(drop))
            }
            _ => Ok(()),
        }
    }

    /// Says on stderr that it is read without its log. Gives `missing` where there is no log.
    pub(crate) fn report_no_log(&self, missing: Outcome) -> Outcome {
        let Some(no_log) = self.no_log() else { return Outcome::Fine };
        complain(&format!("{}, or --no-wal to read the files alone", no_log.reason));
        if no_log.is_unread() { Outcome::Unread } else { missing }
    }

    /// The directories or files that another process would have open.
    pub(crate) fn paths(&self, registry: &Registry) -> Vec<PathBuf> {
        match self {
            Self::Directory { data, wal, .. } => [data].into_iter().chain(wal).cloned().collect(),
            Self::Unreadable(..) => Vec::new(),
            // Of tombstones nobody holds the file, and of segments only the last.
            Self::Tsm(path) | Self::Tombstone(path) | Self::Segment(path) => {
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let is_beside = |name: &OsStr| registry.is_segment(name) || is_tsm(name);
                let names = list(dir).unwrap_or_default().into_iter().map(|(name, _)| name);
                names.filter(|name| is_beside(name)).map(|name| dir.join(name)).collect()
            }
            Self::EtcdLog(path) | Self::EtcdSnapshot(path) | Self::EtcdDatabase(path) => vec![path.clone()],
        }
    }

    /// Opens what is there, for reading. Files of a directory that cannot be read are in [`View::problems`].
    pub(crate) fn view(&self, registry: &Registry) -> Result<View> {
        match self {
            Self::Directory { data, wal, no_log, .. } => {
                Ok(View::open(registry, data, wal.as_deref().filter(|_| no_log.is_none()))?)
            }
            Self::Unreadable(_, why) => Err(why.clone()),
            Self::Tsm(path) => Ok(View::open_file(path, registry.encoders().decoders())?),
            Self::Segment(path) => Ok(View::open_segment(path)?),
            Self::EtcdLog(path) | Self::EtcdSnapshot(path) | Self::EtcdDatabase(path) => {
                Err(Failure::Usage(format!(
                    "{}: etcd's entries hold no points; `tsmith inspect` and `tsmith verify` read them",
                    path.display()
                )))
            }
            Self::Tombstone(path) => Err(Failure::Usage(format!(
                "{}: tombstones hold no values; name the .tsm file, or `tsmith inspect` them",
                path.display()
            ))),
        }
    }

    /// Its files, in the order in which an engine reads them, and the lock of the directory if it has one.
    pub(crate) fn files(&self, registry: &Registry) -> Result<(Vec<Member>, Option<Held>)> {
        let held = match self {
            Self::Directory { data, .. } => hold(data)?,
            _ => None,
        };
        Ok((self.members(registry)?, held))
    }

    /// Its files, in the order in which an engine reads them.
    pub(crate) fn members(&self, registry: &Registry) -> Result<Vec<Member>> {
        let (data, wal, no_log) = match self {
            Self::Directory { data, wal, no_log, .. } => (data, wal, no_log),
            Self::Unreadable(path, why) => {
                return Ok(vec![Member::Unreadable(path.clone(), why.clone())]);
            }
            Self::Tsm(path) => return Ok(vec![Member::Tsm(path.clone())]),
            Self::Tombstone(path) => return Ok(vec![Member::Tombstone(path.clone())]),
            Self::Segment(path) => return Ok(vec![Member::Segment(path.clone())]),
            // The check of the log reports that it is missing.
            Self::EtcdLog(path) if !has_log(path) => return Ok(vec![Member::EtcdLog(path.clone())]),
            Self::EtcdLog(path) | Self::EtcdSnapshot(path) if path.is_dir() => return etcd::members(path),
            Self::EtcdDatabase(path) => return Ok(vec![etcd::database(path.clone())]),
            Self::EtcdLog(path) => return Ok(vec![Member::EtcdLog(path.clone())]),
            Self::EtcdSnapshot(path) => return Ok(vec![Member::EtcdSnapshot(path.clone())]),
        };
        let mut members = Vec::new();
        let names = list(data)?;
        members.extend(names.iter().filter_map(|(name, _)| member(data, name)));
        // A missing manifest is a problem if the log is one that only a manifest leads to.
        let has_manifest = names.iter().any(|(name, _)| name == MANIFEST_NAME);
        if wal
            .as_ref()
            .is_some_and(|wal| wal != data && !has_manifest && registry.owns(&OsFs, wal).unwrap_or(false))
        {
            members.push(Member::Manifest(data.join(MANIFEST_NAME)));
        }
        let data_files = members.len();
        match (wal, no_log) {
            (Some(wal), None) => match log_members(data, wal, registry) {
                Ok(of_log) => members.extend(of_log),
                Err(why) => members.push(Member::Unreadable(wal.clone(), why)),
            },
            // InfluxDB's data without a log may be meant so; a manifest says that there is one.
            (Some(wal), Some(no_log)) => members.push(Member::Unreadable(wal.clone(), no_log.failure())),
            (None, Some(no_log)) if no_log.is_unread() => {
                members.push(Member::Unreadable(data.clone(), no_log.failure()));
            }
            (None, _) => {}
        }
        let found = !members.is_empty() || wal.is_some() || no_log.is_some();
        if found {
            // Those of the data first, then what is beside them, then the log.
            let beside = names.iter().filter_map(|(name, _)| skipped(data, name, wal.as_deref(), registry));
            members.splice(data_files..data_files, beside.collect::<Vec<_>>());
            return Ok(members);
        }
        // The error of an engine for such a directory.
        View::open(registry, data, wal.as_deref()).map(|_| members).map_err(Failure::from)
    }

    /// Reports what a view could not read. A torn tail of a log is no problem: a crash leaves it.
    pub(crate) fn report_problems(&self, view: &View) -> Outcome {
        let mut outcome = Outcome::of(view.gaps().iter().any(|gap| gap.kind != GapKind::TornTail));
        if let Self::Directory { wal, unsure: Some(why), .. } = self {
            let looked_for = wal.as_deref().map_or_else(String::new, |wal| format!("; {}", looked_for(wal)));
            complain(&format!("{why}{looked_for}"));
            outcome = Outcome::Problems;
        }
        for problem in view.problems() {
            let failure = Failure::from(problem.clone());
            complain(failure.text());
            outcome = outcome.and(failure.outcome());
        }
        view.gaps().iter().for_each(|gap| complain(&gap.to_string()));
        view.unverified().iter().for_each(|records| complain(&records.to_string()));
        outcome
    }

    /// Whether it is of etcd, not of an engine.
    pub(super) fn is_etcd(&self) -> bool {
        matches!(self, Self::EtcdLog(_) | Self::EtcdSnapshot(_) | Self::EtcdDatabase(_))
    }

    /// Why the manifest does not say where the log is.
    pub(crate) fn unsure(&self) -> Option<&str> {
        if let Self::Directory { unsure, .. } = self { unsure.as_deref() } else { None }
    }
}
