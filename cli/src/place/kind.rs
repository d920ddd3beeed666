//! Classifies a path.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tsmith_engine::Registry;
use tsmith_engine::files::{holds_influxdb_index, tsm_name_of};
use tsmith_engine::manifest::MANIFEST_NAME;
use tsmith_engine::view::{Held, View, hold};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{GapKind, is_segment_extension};

use super::log::{Found, NoLog, assumed};
use super::member::{Member, log_members, member, skipped};
use super::names::{has_log, has_segments, is_etcd_segment, is_tsm, list};
use super::owner::{Owner, engine_of_replica};
use super::shard::shard_below;
use super::{etcd, log};
use crate::exit::{Failure, Outcome, Result, complain};

/// What a path is.
#[derive(Debug)]
pub(crate) enum Place {
    /// A directory of TSM files, and the directory of its log if there is one. If the manifest cannot name the log, `unsure`
    /// says why, and the log is searched in the usual places. With `no_log`, the directory is read without its log.
    Directory { data: PathBuf, wal: Option<PathBuf>, unsure: Option<String>, no_log: Option<NoLog> },
    /// A directory that could not be listed, and why.
    Unreadable(PathBuf, Failure),
    /// A TSM file. It may be quarantined or rescued.
    Tsm(PathBuf),
    /// Tombstones of a TSM file.
    Tombstone(PathBuf),
    /// A segment of a log.
    Segment(PathBuf),
    /// A directory of etcd segments, or a single one.
    EtcdLog(PathBuf),
    /// A directory of etcd snapshot files, or a single one.
    EtcdSnapshot(PathBuf),
    /// A database of an etcd member.
    EtcdDatabase(PathBuf),
}

impl Place {
    /// Classifies `path`. `wal` is the directory of the log if the user named it.
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
            Some(extension) if is_segment_extension(OsStr::new(extension)) => {
                Ok(Self::Segment(path.to_owned()))
            }
            _ if path.file_name().is_some_and(|name| registry.is_segment(name)) => {
                Err(Failure::Usage(format!(
                    "{}: a segment of a log that cannot be read alone; pass its directory",
                    path.display()
                )))
            }
            _ => Err(Failure::Usage(format!(
                "{}: neither a directory nor a TSM, tombstone, log segment or snapshot file; to read line protocol, use \
                 `tsmith import`",
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
                "{}: the directory of a replica; pass its engine, {}",
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
                "{}: not a shard, but a directory of shards: pass one of them, such as {}",
                data.display(),
                shard.display()
            ))),
            // Opening it reports what is missing.
            None => Ok(Self::Directory { data: data.to_owned(), wal: None, unsure, no_log: None }),
        }
    }

    /// The same place without its log, for `--no-wal`; `None` if it is only a log.
    pub(crate) fn without_log(self) -> Option<Self> {
        match self {
            Self::Directory { data, wal, .. } if wal.as_ref() == Some(&data) => None,
            Self::Directory { data, .. } => {
                Some(Self::Directory { data, wal: None, unsure: None, no_log: None })
            }
            place => Some(place),
        }
    }

    /// Why the place is read without its log, unless the user asked for that.
    pub(crate) fn no_log(&self) -> Option<&NoLog> {
        if let Self::Directory { no_log, .. } = self { no_log.as_ref() } else { None }
    }

    /// Checks that the log that the user named, or that [`Tree`] found below the named directory, belongs to this shard.
    pub(crate) fn refuse_wrong_log(&self, named: Option<&Path>, registry: &Registry) -> Result<()> {
        match self {
            Self::Directory { data, wal, .. } if wal.as_ref() != Some(data) => {
                let wal = named.or(wal.as_deref());
                wal.map_or(Ok(()), |wal| log::named_for_writing(data, wal, registry).map(drop))
            }
            _ => Ok(()),
        }
    }

    /// Reports on stderr that the place is read without its log. The outcome of a missing log is `missing`.
    pub(crate) fn report_no_log(&self, missing: Outcome) -> Outcome {
        let Some(no_log) = self.no_log() else { return Outcome::Fine };
        complain(&format!("{}, or --no-wal to read only the files", no_log.reason));
        if no_log.is_unread() { Outcome::Unread } else { missing }
    }

    /// The log that a repair cannot find. A log that the manifest names, or that cannot be read, is one of
    /// [`Self::members`].
    pub(crate) fn unrepaired_log(&self) -> Option<NoLog> {
        match self {
            Self::Directory { wal: None, no_log: Some(no_log), .. } => no_log.unrepaired(),
            _ => None,
        }
    }

    /// The directories or files that another process would have open.
    pub(crate) fn paths(&self, registry: &Registry) -> Vec<PathBuf> {
        match self {
            Self::Directory { data, wal, .. } => [data].into_iter().chain(wal).cloned().collect(),
            Self::Unreadable(..) => Vec::new(),
            // No process keeps tombstones open, and only the last segment is kept open. So the files beside are checked.
            Self::Tsm(path) | Self::Tombstone(path) | Self::Segment(path) => {
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let is_beside = |name: &OsStr| registry.is_segment(name) || is_tsm(name);
                let names = list(dir).unwrap_or_default().into_iter().map(|(name, _)| name);
                names.filter(|name| is_beside(name)).map(|name| dir.join(name)).collect()
            }
            Self::EtcdLog(path) | Self::EtcdSnapshot(path) | Self::EtcdDatabase(path) => vec![path.clone()],
        }
    }

    /// Opens the place for reading. Files that cannot be read are listed in [`View::problems`].
    pub(crate) fn view(&self, registry: &Registry) -> Result<View> {
        match self {
            Self::Directory { data, .. } if Owner::of(data) == Some(Owner::Member) => Err(no_points(data)),
            Self::Directory { data, wal, no_log, .. } => {
                Ok(View::open(registry, data, wal.as_deref().filter(|_| no_log.is_none()))?)
            }
            Self::Unreadable(_, why) => Err(why.clone()),
            Self::Tsm(path) => Ok(View::open_file(path, registry.encoders().decoders())?),
            Self::Segment(path) => Ok(View::open_segment(path)?),
            Self::EtcdLog(path) | Self::EtcdSnapshot(path) | Self::EtcdDatabase(path) => Err(no_points(path)),
            Self::Tombstone(path) => Err(Failure::Usage(format!(
                "{}: tombstones contain no values; pass the TSM file, or use `tsmith inspect`",
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
        // A missing manifest is a problem if the log is of a kind that only Tsmith reads.
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
            // A manifest says that there is a log. Without one, InfluxDB's data may intentionally have no log.
            (Some(wal), Some(no_log)) => members.push(Member::Unreadable(wal.clone(), no_log.failure())),
            (None, Some(no_log)) if no_log.is_unread() => {
                members.push(Member::Unreadable(data.clone(), no_log.failure()));
            }
            (None, _) => {}
        }
        let found = !members.is_empty() || wal.is_some() || no_log.is_some();
        if found {
            // The data files first, then the files that are not read, then the log.
            let beside = names.iter().filter_map(|(name, _)| skipped(data, name, wal.as_deref(), registry));
            members.splice(data_files..data_files, beside.collect::<Vec<_>>());
            return Ok(members);
        }
        // Opening an engine reports what is missing.
        View::open(registry, data, wal.as_deref()).map(|_| members).map_err(Failure::from)
    }

    /// Reports what a view could not read. A torn tail does not count as a problem, because a crash leaves it.
    pub(crate) fn report_problems(&self, view: &View) -> Outcome {
        let mut outcome = Outcome::of(view.gaps().iter().any(|gap| gap.kind != GapKind::TornTail));
        if let Self::Directory { wal, unsure: Some(why), .. } = self {
            let assumed = wal.as_deref().map_or_else(String::new, |wal| format!("; {}", assumed(wal)));
            complain(&format!("{why}{assumed}"));
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

    /// Whether it belongs to etcd, not to an engine.
    pub(super) fn is_etcd(&self) -> bool {
        matches!(self, Self::EtcdLog(_) | Self::EtcdSnapshot(_) | Self::EtcdDatabase(_))
    }

    /// Why the manifest does not name the log.
    pub(crate) fn unsure(&self) -> Option<&str> {
        if let Self::Directory { unsure, .. } = self { unsure.as_deref() } else { None }
    }
}

fn no_points(of_member: &Path) -> Failure {
    let path = of_member.display();
    Failure::Usage(format!("{path}: etcd entries contain no points; use `tsmith inspect` or `tsmith verify`"))
}
