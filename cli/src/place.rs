//! What a PATH on the command line is: an engine's or InfluxDB's directory, or one file of it.

mod etcd;
mod log;
mod tree;

pub(crate) use etcd::{Owner, has_log as has_etcd_log};
pub(crate) use log::NoLog;
pub(crate) use tree::{Skipped, Tree};

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tsmith_engine::files::{FileName, holds_influxdb_index, is_misnamed, tsm_name_of};
use tsmith_engine::manifest::MANIFEST_NAME;
use tsmith_engine::view::{Held, View, hold};
use tsmith_engine::{Dirs, ErrorKind};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{GapKind, is_segment};

use crate::exit::{Failure, Outcome, Result, complain};
use log::{Found, has_segments, looked_for};

/// What a path is.
#[derive(Debug)]
pub(crate) enum Place {
    /// A directory of TSM files, and that of its log if there is one. `unsure` is why the manifest does not tell where that
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
    pub(crate) fn find(path: &Path, wal: Option<&Path>) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|error| Failure::io(path, &error))?;
        if metadata.is_dir() {
            return Self::directory(path, wal);
        }
        let is_tsm = path.file_name().is_some_and(|name| name.to_str().and_then(tsm_name_of).is_some());
        match path.extension().and_then(OsStr::to_str) {
            _ if is_tsm => Ok(Self::Tsm(path.to_owned())),
            Some("tombstone") => Ok(Self::Tombstone(path.to_owned())),
            Some("wal") if etcd::is_segment(path) => Ok(Self::EtcdLog(path.to_owned())),
            Some("snap") => Ok(Self::EtcdSnapshot(path.to_owned())),
            _ if etcd::is_database(path) => Ok(Self::EtcdDatabase(path.to_owned())),
            Some("wal" | "tlog") => Ok(Self::Segment(path.to_owned())),
            _ => Err(Failure::Usage(format!(
                "{}: not a directory, and not named .tsm, .tsm.bad, .tsm.rescued, .tombstone, .wal, .tlog or .snap; line protocol goes through `tsmith import`",
                path.display()
            ))),
        }
    }

    fn directory(data: &Path, wal: Option<&Path>) -> Result<Self> {
        let names = list(data)?;
        let is = |found: fn(&OsStr) -> bool| names.iter().any(|(name, _)| found(name));
        if is(is_etcd_segment) {
            return Ok(Self::EtcdLog(data.to_owned()));
        }
        if let Some(engine) = etcd::engine_of_replica(data) {
            return Err(Failure::Usage(format!(
                "{}: a replica's: its points are in {}",
                data.display(),
                engine.display()
            )));
        }
        let log_itself = is(is_segment);
        let Found { wal, unsure, no_log } = match wal {
            Some(wal) => log::named(data, wal)?,
            None if log_itself => Found { wal: Some(data.to_owned()), ..Found::default() },
            None => log::find(data)?,
        };
        let ours = is(|name| name == MANIFEST_NAME || is_tsm(name)) || holds_influxdb_index(&OsFs, data);
        if ours || wal.as_deref().map_or(Ok(false), has_segments)? {
            return Ok(Self::Directory { data: data.to_owned(), wal, unsure, no_log });
        }
        if etcd::holds_snapshots(data, &names) {
            return Ok(Self::EtcdSnapshot(data.to_owned()));
        }
        match shard_below(data, 4) {
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
    pub(crate) fn refuse_wrong_log(&self, named: Option<&Path>) -> Result<()> {
        match self {
            Self::Directory { data, wal, .. } if wal.as_ref() != Some(data) => {
                let wal = named.or(wal.as_deref());
                wal.map_or(Ok(()), |wal| log::named_for_writing(data, wal).map(drop))
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
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Directory { data, wal, .. } => [data].into_iter().chain(wal).cloned().collect(),
            Self::Unreadable(..) => Vec::new(),
            // Of tombstones nobody holds the file, and of segments only the last.
            Self::Tsm(path) | Self::Tombstone(path) | Self::Segment(path) => {
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let is_beside = |name: &OsStr| is_segment(name) || is_tsm(name);
                let names = list(dir).unwrap_or_default().into_iter().map(|(name, _)| name);
                names.filter(|name| is_beside(name)).map(|name| dir.join(name)).collect()
            }
            Self::EtcdLog(path) | Self::EtcdSnapshot(path) | Self::EtcdDatabase(path) => vec![path.clone()],
        }
    }

    /// Opens what is there, for reading. Files of a directory that cannot be read are in [`View::problems`].
    pub(crate) fn view(&self) -> Result<View> {
        match self {
            Self::Directory { data, wal, no_log, .. } => {
                Ok(View::open(data, wal.as_deref().filter(|_| no_log.is_none()))?)
            }
            Self::Unreadable(_, why) => Err(why.clone()),
            Self::Tsm(path) => Ok(View::open_file(path)?),
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
    pub(crate) fn files(&self) -> Result<(Vec<Member>, Option<Held>)> {
        let held = match self {
            Self::Directory { data, .. } => hold(data)?,
            _ => None,
        };
        Ok((self.members()?, held))
    }

    /// Its files, in the order in which an engine reads them.
    pub(crate) fn members(&self) -> Result<Vec<Member>> {
        let (data, wal, no_log) = match self {
            Self::Directory { data, wal, no_log, .. } => (data, wal, no_log),
            Self::Unreadable(path, why) => {
                return Ok(vec![Member::Unreadable(path.clone(), why.clone())]);
            }
            Self::Tsm(path) => return Ok(vec![Member::Tsm(path.clone())]),
            Self::Tombstone(path) => return Ok(vec![Member::Tombstone(path.clone())]),
            Self::Segment(path) => return Ok(vec![Member::Segment(path.clone())]),
            // One that is missed is told by who looks at it.
            Self::EtcdLog(path) if !etcd::has_log(path) => return Ok(vec![Member::EtcdLog(path.clone())]),
            Self::EtcdLog(path) | Self::EtcdSnapshot(path) if path.is_dir() => return etcd::members(path),
            Self::EtcdDatabase(path) => return Ok(vec![etcd::database(path.clone())]),
            Self::EtcdLog(path) => return Ok(vec![Member::EtcdLog(path.clone())]),
            Self::EtcdSnapshot(path) => return Ok(vec![Member::EtcdSnapshot(path.clone())]),
        };
        let mut members = Vec::new();
        let names = list(data)?;
        members.extend(names.iter().filter_map(|(name, _)| member(data, name)));
        // It is missed where the log is one that only a manifest leads to.
        let has_manifest = names.iter().any(|(name, _)| name == MANIFEST_NAME);
        if wal.as_ref().is_some_and(|wal| wal != data && !has_manifest && needs_manifest(wal)) {
            members.push(Member::Manifest(data.join(MANIFEST_NAME)));
        }
        let data_files = members.len();
        match (wal, no_log) {
            (Some(wal), None) => match log_members(data, wal) {
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
            let beside = names.iter().filter_map(|(name, _)| skipped(data, name, wal.as_deref()));
            members.splice(data_files..data_files, beside.collect::<Vec<_>>());
            return Ok(members);
        }
        // The error of an engine for such a directory.
        View::open(data, wal.as_deref()).map(|_| members).map_err(Failure::from)
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
    fn is_etcd(&self) -> bool {
        matches!(self, Self::EtcdLog(_) | Self::EtcdSnapshot(_) | Self::EtcdDatabase(_))
    }

    /// Why the manifest does not tell where the log is.
    pub(crate) fn unsure(&self) -> Option<&str> {
        if let Self::Directory { unsure, .. } = self { unsure.as_deref() } else { None }
    }
}

/// A file of a directory.
#[derive(Debug)]
pub(crate) enum Member {
    /// The manifest.
    Manifest(PathBuf),
    /// A TSM file.
    Tsm(PathBuf),
    /// Tombstones of a TSM file.
    Tombstone(PathBuf),
    /// A segment of the log.
    Segment(PathBuf),
    /// A log in etcd's segments: its directory, or one of them.
    EtcdLog(PathBuf),
    /// A snapshot file of etcd.
    EtcdSnapshot(PathBuf),
    /// What a crash left, or a repair set aside: no engine reads it.
    Leftover(Skipped),
    /// What is there, and nobody reads for its points.
    Skipped(Skipped),
    /// What has the name of one of these, or should be there, and no engine can open; and why.
    Unreadable(PathBuf, Failure),
}

/// The files of the log in `wal`.
fn log_members(data: &Path, wal: &Path) -> Result<Vec<Member>> {
    let names = list(wal)?;
    if names.iter().any(|(name, _)| is_etcd_segment(name)) {
        return Ok(vec![Member::EtcdLog(wal.to_owned())]);
    }
    let segments =
        tsmith_wal::segment_names(&OsFs, wal).map_err(|error| Failure::Io(error.to_string()))?.into_iter();
    let mut members: Vec<_> = segments.map(|name| regular(wal.join(name), Member::Segment)).collect();
    if wal != data {
        members.extend(names.iter().filter_map(|(name, _)| beside_segments(wal, name)));
    }
    Ok(members)
}

/// The member at `path`, if that is a regular file. Others are not opened: a FIFO would never end.
fn regular(path: PathBuf, member: fn(PathBuf) -> Member) -> Member {
    let why = match fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => "a directory, not a file",
        Ok(found) if found.is_symlink() => "a link, which an engine does not follow",
        Ok(found) if !found.is_file() => "not a regular file",
        // Reading it says what is wrong.
        Ok(_) | Err(_) => return member(path),
    };
    Member::Unreadable(path, Failure::Problem(why.to_owned()))
}

fn member(data: &Path, name: &OsStr) -> Option<Member> {
    let path = data.join(name);
    let text = name.to_str()?;
    let is_tsm = |name: &str| FileName::parse(name).is_some();
    let is_tombstone =
        |name: &str| name.strip_suffix(".tombstone").is_some_and(|stem| is_tsm(&format!("{stem}.tsm")));
    if text == MANIFEST_NAME {
        return Some(regular(path, Member::Manifest));
    }
    if is_tsm(text) {
        return Some(regular(path, Member::Tsm));
    }
    if is_tombstone(text) {
        return Some(regular(path, Member::Tombstone));
    }
    if is_misnamed(text) {
        return Some(Member::Unreadable(path, Failure::Problem(ErrorKind::MisnamedTsm.to_string())));
    }
    let stem = stem_of_aside(text)?;
    let is_ours = is_tsm(stem) || is_tombstone(stem) || stem == MANIFEST_NAME;
    is_ours.then(|| leftover(path))
}

fn leftover(path: PathBuf) -> Member {
    let is_begun = path.extension() == Some(OsStr::new("tmp"));
    let reason = if is_begun { "begun, and left by a crash" } else { "set aside as damaged" };
    Member::Leftover(Skipped { path, reason })
}

/// What is in the directory of a log besides segments. Segments to come, and locks, say nothing to a user.
fn beside_segments(wal: &Path, name: &OsStr) -> Option<Member> {
    let path = wal.join(name);
    if is_segment_aside(name) {
        return Some(leftover(path));
    }
    if is_segment(name) || path.extension() == Some(OsStr::new("free")) {
        return None;
    }
    let reason = tree::not_read(wal, name)?;
    Some(Member::Skipped(Skipped { path, reason }))
}

fn is_segment_aside(name: &OsStr) -> bool {
    name.to_str().and_then(stem_of_aside).is_some_and(|stem| is_segment(OsStr::new(stem)))
}

/// Whether only a log leaves a file of this name, which is no segment.
fn is_log_leftover(name: &OsStr) -> bool {
    let is_free = Path::new(name).extension() == Some(OsStr::new("free"));
    name == "wal.lock" || is_free || is_segment_aside(name) || etcd::is_segment_to_come(name)
}

/// The name of the file that was set aside as `name`, or begun; the second one of a name is `.2.bad`.
fn stem_of_aside(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".tmp").or_else(|| name.strip_suffix(".bad"))?;
    let numbered = stem.rsplit_once('.').filter(|(_, digits)| digits.parse::<u32>().is_ok());
    Some(numbered.map_or(stem, |(stem, _)| stem))
}

/// What is in `data` besides its members.
fn skipped(data: &Path, name: &OsStr, wal: Option<&Path>) -> Option<Member> {
    let in_log = wal == Some(data) && (is_segment(name) || is_etcd_segment(name));
    if in_log || wal == Some(&data.join(name)) || member(data, name).is_some() {
        return None;
    }
    let reason = tree::not_read(data, name)?;
    Some(Member::Skipped(Skipped { path: data.join(name), reason }))
}

/// Whether `dir` is a shard's or an engine's directory, or that of a log or of etcd's snapshots: one that
/// [`Place::find`] takes as such, and not a member of etcd, which is above two of them.
fn is_shard(dir: &Path, wal: Option<&Path>) -> Result<bool> {
    let names = list(dir)?;
    let ours = |name: &OsStr| {
        is_segment(name)
            || is_etcd_segment(name)
            || matches!(
                member(dir, name),
                Some(
                    Member::Manifest(_)
                        | Member::Tsm(_)
                        | Member::Tombstone(_)
                        | Member::Leftover(_)
                        | Member::Unreadable(..)
                )
            )
    };
    let holds_index = || holds_influxdb_index(&OsFs, dir);
    if names.iter().any(|(name, _)| ours(name)) || holds_index() || etcd::holds_snapshots(dir, &names) {
        return Ok(true);
    }
    let log = match wal {
        Some(wal) => Some(wal.to_owned()),
        // A member's, unless an engine's whose manifest is gone.
        None if etcd::has_log(&dir.join("wal")) => return Ok(is_etcd_log(&dir.join("wal"))),
        None => log::find(dir)?.wal,
    };
    log.map_or(Ok(false), |log| has_segments(&log))
}

/// The directories of the engine at `data`, for `verb`, which writes to one shard.
pub(crate) fn dirs(verb: &str, data: &Path, wal: Option<&Path>) -> Result<Dirs> {
    for dir in [Some(data), wal].into_iter().flatten() {
        if let Some(owner) = Owner::of(dir) {
            return Err(owner.refuse(verb, dir));
        }
        if let Some(dangling) = Failure::dangling(dir) {
            return Err(dangling);
        }
    }
    if data.is_dir() {
        Tree::refuse_above(verb, data, wal)?;
    }
    let wal = match wal {
        Some(wal) => Some(log::named_for_writing(data, wal)?),
        None => log::find_for_writing(data)?,
    };
    Ok(wal.map_or_else(|| Dirs::under(data), |wal| Dirs { data: data.to_owned(), wal }))
}

/// The names in a directory, sorted, and whether each is a directory.
pub(crate) fn list(dir: &Path) -> Result<Vec<(std::ffi::OsString, bool)>> {
    let failed = |error: io::Error| Failure::io(dir, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        names.push((entry.file_name(), entry.file_type().map_err(failed)?.is_dir()));
    }
    names.sort();
    Ok(names)
}

fn holds_files(dir: &Path) -> bool {
    list(dir).is_ok_and(|names| names.iter().any(|(name, _)| is_tsm(name)))
}

fn is_tsm(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| FileName::parse(name).is_some())
}

/// Whether only a manifest leads to a log of this kind.
fn needs_manifest(wal: &Path) -> bool {
    let is_native =
        |name: &OsStr| is_segment(name) && Path::new(name).extension() == Some(OsStr::new("tlog"));
    list(wal).is_ok_and(|names| names.iter().any(|(name, _)| is_native(name))) || is_etcd_log(wal)
}

/// Whether an engine of ours has its log there, in segments of etcd's.
fn is_etcd_log(wal: &Path) -> bool {
    tsmith_wal::etcd::is_log(&OsFs, wal)
}

fn is_etcd_segment(name: &OsStr) -> bool {
    tsmith_wal::etcd::SegmentName::parse(name).is_some()
}

/// A directory below `dir` that holds TSM files or segments.
fn shard_below(dir: &Path, depth: usize) -> Option<PathBuf> {
    if depth == 0 {
        return None;
    }
    list(dir).ok()?.into_iter().filter(|(_, is_dir)| *is_dir).find_map(|(name, _)| {
        let below = dir.join(name);
        let holds = list(&below).ok()?.iter().any(|(name, _)| is_segment(name) || is_tsm(name));
        if holds { Some(below) } else { shard_below(&below, depth - 1) }
    })
}
