//! Converts between raft's messages and etcd's records.

use raft::eraftpb::{self, EntryType};
use tsmith_wal::etcd;

pub(super) fn entry_to(entry: &eraftpb::Entry) -> etcd::Entry {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => etcd::EntryKind::NORMAL,
        EntryType::EntryConfChange => etcd::EntryKind::CONF_CHANGE,
        EntryType::EntryConfChangeV2 => etcd::EntryKind::CONF_CHANGE_V2,
    };
    let data = (!entry.data.is_empty()).then(|| entry.data.clone());
    etcd::Entry { kind, term: entry.term, index: entry.index, data }
}

pub(super) fn entry_from(entry: &etcd::Entry) -> eraftpb::Entry {
    let mut out = eraftpb::Entry::default();
    out.set_entry_type(match entry.kind {
        etcd::EntryKind::CONF_CHANGE => EntryType::EntryConfChange,
        etcd::EntryKind::CONF_CHANGE_V2 => EntryType::EntryConfChangeV2,
        _ => EntryType::EntryNormal,
    });
    out.term = entry.term;
    out.index = entry.index;
    out.data = entry.data.clone().unwrap_or_default();
    out
}

pub(super) fn snapshot_from(snapshot: &eraftpb::Snapshot) -> etcd::Snapshot {
    let metadata = snapshot.get_metadata();
    let voters = metadata.get_conf_state().voters.clone();
    etcd::Snapshot {
        data: Some(snapshot.data.clone()),
        conf_state: etcd::ConfState { voters, ..Default::default() },
        index: metadata.index,
        term: metadata.term,
    }
}

pub(super) fn snapshot_to(snapshot: &etcd::Snapshot) -> eraftpb::Snapshot {
    let data = snapshot.data.clone().unwrap_or_default();
    let mut out = eraftpb::Snapshot { data, ..Default::default() };
    let metadata = out.mut_metadata();
    metadata.index = snapshot.index;
    metadata.term = snapshot.term;
    metadata.mut_conf_state().voters.clone_from(&snapshot.conf_state.voters);
    out
}
