//! What a PATH on the command line is: an engine's or InfluxDB's directory, or one file of it.

mod etcd;
mod tree;

pub(crate) use etcd::{Owner, has_log as has_etcd_log};
pub(crate) use tree::{Skipped, Tree};

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tsmith_engine::files::{FileName, is_misnamed};
use tsmith_engine::manifest::{MANIFEST_NAME, replaced};
use tsmith_engine::view::{Held, View, hold};
use tsmith_engine::{Dirs, ErrorKind, Manifest};
use tsmith_wal::fs::OsFs;
use tsmith_wal::is_segment;

use crate::exit::{Failure, Result, complain};

/// What a path is.
#[derive(Debug)]
pub(crate) enum Place {
    /// A directory of TSM files, and that of its log if there is one. `unsure` is why the manifest does not tell where that
    /// is; then the log was looked for where logs usually are.
    Directory { data: PathBuf, wal: Option<PathBuf>, unsure: Option<String> },
    /// A directory that could not be looked into, and why.
    Unreadable(PathBuf, String),
    /// A TSM file.
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
        match path.extension().and_then(OsStr::to_str) {
            Some("tsm") => Ok(Self::Tsm(path.to_owned())),
            Some("tombstone") => Ok(Self::Tombstone(path.to_owned())),
            Some("wal") if etcd::is_segment(path) => Ok(Self::EtcdLog(path.to_owned())),
            Some("snap") => Ok(Self::EtcdSnapshot(path.to_owned())),
            _ if etcd::is_database(path) => Ok(Self::EtcdDatabase(path.to_owned())),
            Some("wal" | "tlog") => Ok(Self::Segment(path.to_owned())),
            _ => Err(Failure::Usage(format!(
                "{}: not a directory, and not named .tsm, .tombstone, .wal, .tlog or .snap; line protocol goes through `tsmith import`",
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
        let (wal, unsure) = match wal {
            Some(wal) if wal.is_dir() => (Some(wal.to_owned()), None),
            Some(wal) => return Err(Failure::missing(wal)),
            None if log_itself => (Some(data.to_owned()), None),
            None => find_log(data)?,
        };
        let ours = is(|name| {
            name == MANIFEST_NAME || name.to_str().is_some_and(|name| FileName::parse(name).is_some())
        });
        if ours || wal.as_deref().is_some_and(has_segments) {
            return Ok(Self::Directory { data: data.to_owned(), wal, unsure });
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
            None => Ok(Self::Directory { data: data.to_owned(), wal: None, unsure }),
        }
    }

    /// Opens what is there, for reading. Files of a directory that cannot be read are in [`View::problems`].
    pub(crate) fn view(&self) -> Result<View> {
        match self {
            Self::Directory { data, wal, .. } => Ok(View::open(data, wal.as_deref())?),
            Self::Unreadable(_, why) => Err(Failure::Io(why.clone())),
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
        let (data, wal) = match self {
            Self::Directory { data, wal, .. } => (data, wal),
            Self::Unreadable(path, why) => {
                return Ok(vec![Member::Unreadable(path.clone(), why.clone().into())]);
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
        if let Some(wal) = wal.as_ref().filter(|wal| wal.is_dir()) {
            if list(wal)?.iter().any(|(name, _)| is_etcd_segment(name)) {
                members.push(Member::EtcdLog(wal.clone()));
            } else {
                let segments =
                    tsmith_wal::segment_names(&OsFs, wal).map_err(|error| Failure::Io(error.to_string()))?;
                members.extend(segments.into_iter().map(|name| regular(wal.join(name), Member::Segment)));
                if wal != data {
                    members.extend(list(wal)?.iter().filter_map(|(name, _)| beside_segments(wal, name)));
                }
            }
        } else if let Some(wal) = wal {
            // `find` took it from the manifest: one that the user named is there.
            members.push(Member::Unreadable(
                wal.clone(),
                "the manifest has the log here, and it is gone".into(),
            ));
        }
        let found = !members.is_empty() || wal.is_some();
        if found {
            // Those of the data first, then what is beside them, then the log.
            let beside = names.iter().filter_map(|(name, _)| skipped(data, name, wal.as_deref()));
            members.splice(data_files..data_files, beside.collect::<Vec<_>>());
            return Ok(members);
        }
        // The error of an engine for such a directory.
        View::open(data, wal.as_deref()).map(|_| members).map_err(Failure::from)
    }

    /// Reports what a view could not read. True when something is damaged: the torn end of a log is not, a crash
    /// leaves it.
    pub(crate) fn report_problems(&self, view: &View) -> bool {
        if let Self::Directory { wal, unsure: Some(why), .. } = self {
            complain(&format!("{why}; {}", looked_for(wal.as_deref())));
        }
        for problem in view.problems() {
            complain(Failure::from(problem.clone()).text());
        }
        view.torn().iter().for_each(|torn| complain(&torn.to_string()));
        let damaged = view.torn().iter().any(|torn| torn.valid_after);
        damaged || !view.problems().is_empty() || self.unsure().is_some()
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
    Unreadable(PathBuf, Cow<'static, str>),
}

/// The member at `path`, if that is a regular file. Others are not opened: a FIFO would never end.
fn regular(path: PathBuf, member: fn(PathBuf) -> Member) -> Member {
    match fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => Member::Unreadable(path, "a directory, not a file".into()),
        Ok(found) if found.is_symlink() => {
            Member::Unreadable(path, "a link, which an engine does not follow".into())
        }
        Ok(found) if !found.is_file() => Member::Unreadable(path, "not a regular file".into()),
        // Reading it says what is wrong.
        Ok(_) | Err(_) => member(path),
    }
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
        return Some(Member::Unreadable(path, ErrorKind::MisnamedTsm.to_string().into()));
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
    let is_aside = name.to_str().and_then(stem_of_aside).is_some_and(|stem| is_segment(OsStr::new(stem)));
    if is_aside {
        return Some(leftover(path));
    }
    if is_segment(name) || path.extension() == Some(OsStr::new("free")) {
        return None;
    }
    let reason = tree::not_read(wal, name)?;
    Some(Member::Skipped(Skipped { path, reason }))
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
    if names.iter().any(|(name, _)| ours(name)) || etcd::holds_snapshots(dir, &names) {
        return Ok(true);
    }
    let log = match wal {
        Some(wal) => Some(wal.to_owned()),
        // A member's, unless an engine's whose manifest is gone.
        None if etcd::has_log(&dir.join("wal")) => return Ok(is_etcd_log(&dir.join("wal"))),
        None => find_log(dir)?.0,
    };
    Ok(log.is_some_and(|log| has_segments(&log)))
}

/// The directories of the engine at `data`, for `verb`, which writes to one shard.
pub(crate) fn dirs(verb: &str, data: &Path, wal: Option<&Path>) -> Result<Dirs> {
    for dir in [Some(data), wal].into_iter().flatten() {
        if let Some(owner) = Owner::of(dir) {
            return Err(owner.refuse(verb, dir));
        }
    }
    if data.is_dir() {
        Tree::refuse_above(verb, data, wal)?;
    }
    let wal = match wal {
        Some(wal) => Some(absolute(wal)?),
        None => match find_log(data)? {
            (None, Some(why)) => return Err(Failure::Problem(why)),
            (Some(wal), Some(why)) => {
                return Err(Failure::Problem(format!("{why}; it may be {}", wal.display())));
            }
            // Files without a manifest are InfluxDB's, which has no log inside.
            (None, None) if holds_files(data) => beside(&absolute(data)?),
            (wal, None) => wal,
        },
    };
    Ok(wal.map_or_else(|| Dirs::under(data), |wal| Dirs { data: data.to_owned(), wal }))
}

/// Where the log of `data` is: as the manifest says, else inside, else where InfluxDB has it; and why the manifest does not
/// say, if there is one.
fn find_log(data: &Path) -> Result<(Option<PathBuf>, Option<String>)> {
    let read = Manifest::read(&OsFs, data);
    let unsure = match read.and_then(|found| found.map(|it| it.wal_directory(&OsFs, data)).transpose()) {
        Ok(Some(wal)) => return Ok((Some(wal), None)),
        Ok(None) => None,
        Err(error) => Some(Failure::from(error).text().to_owned()),
    };
    let inside = data.join("wal");
    let found =
        if inside.is_dir() { Some(inside) } else { beside(&absolute(data)?).filter(|wal| wal.is_dir()) };
    Ok((found, unsure))
}

/// What was done about a log of which the manifest tells nothing.
fn looked_for(wal: Option<&Path>) -> String {
    match wal {
        Some(wal) => format!("its log is taken to be in {}; --wal names another", wal.display()),
        None => "no log was found, --wal names one".to_owned(),
    }
}

/// Where InfluxDB has the log of this directory, or the logs of those below it.
fn beside(data: &Path) -> Option<PathBuf> {
    replaced(data, "data", "wal")
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Failure::io(path, &error))
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
    let is_file = |name: &OsStr| name.to_str().is_some_and(|name| FileName::parse(name).is_some());
    list(dir).is_ok_and(|names| names.iter().any(|(name, _)| is_file(name)))
}

fn has_segments(dir: &Path) -> bool {
    list(dir).is_ok_and(|names| names.iter().any(|(name, _)| is_segment(name)))
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
        let holds = list(&below).ok()?.iter().any(|(name, _)| {
            is_segment(name) || name.to_str().is_some_and(|name| FileName::parse(name).is_some())
        });
        if holds { Some(below) } else { shard_below(&below, depth - 1) }
    })
}
