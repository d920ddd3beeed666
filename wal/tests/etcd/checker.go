// The real readers of etcd on a directory of ours: verify, load the snapshot, open, read, append.
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/etcdserver/api/snap"
	"go.etcd.io/etcd/raft/raftpb"
	"go.etcd.io/etcd/wal"
	"go.etcd.io/etcd/wal/walpb"
	"go.uber.org/zap"
)

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func main() {
	lg := zap.NewNop()
	wal.SegmentSizeBytes = 20000
	walDir, snapDir := os.Args[1], os.Args[2]
	known, err := wal.ValidSnapshotEntries(lg, walDir)
	must(err)
	snapshot, err := snap.New(lg, snapDir).LoadNewestAvailable(known)
	must(err)
	start := walpb.Snapshot{Index: snapshot.Metadata.Index, Term: snapshot.Metadata.Term}
	must(wal.Verify(lg, walDir, start))
	must(wal.Verify(lg, walDir, walpb.Snapshot{}))
	w, err := wal.Open(lg, walDir, start)
	must(err)
	_, state, entries, err := w.ReadAll()
	must(err)
	last := entries[len(entries)-1]
	next := raftpb.Entry{Term: last.Term, Index: last.Index + 1, Data: []byte("from go")}
	must(w.Save(raftpb.HardState{Term: last.Term, Vote: 1, Commit: state.Commit}, []raftpb.Entry{next}))
	must(w.Close())
	fmt.Printf("snapshot %d entries %d commit %d appended %d\n", start.Index, len(entries), state.Commit, next.Index)
}
