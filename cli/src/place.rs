//! Classifies a PATH of the command line: a directory of an engine, InfluxDB or etcd, or a single file.

mod database;
mod dirs;
mod etcd;
mod kind;
mod log;
mod member;
mod names;
mod owner;
mod shard;
mod skipped;
mod tree;

pub(crate) use dirs::dirs;
pub(crate) use kind::Place;
pub(crate) use log::NoLog;
pub(crate) use member::Member;
pub(crate) use names::{has_log as has_etcd_log, list};
pub(crate) use owner::Owner;
pub(crate) use skipped::Skipped;
pub(crate) use tree::{Tree, to_read};
