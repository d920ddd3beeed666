// Runs etcd's packages. With `WAL_DIR SNAP_DIR` it verifies a directory of ours, loads the snapshot, opens and reads the log,
// and appends an entry. With `plan FILE DIR` it runs a plan on a new log, as wal/examples/plan does with ours.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
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

type operation struct {
	Op           string
	SegmentBytes int64 `json:"segment_bytes"`
	Metadata     *string
	State        raftpb.HardState
	Entries      []struct {
		Type  int32
		Term  uint64
		Index uint64
		Data  *string
	}
	Index, Term uint64
}

func bytesOf(digits *string) []byte {
	if digits == nil {
		return nil
	}
	found, err := hex.DecodeString(*digits)
	must(err)
	return found
}

func play(plan, dir string) {
	lg := zap.NewNop()
	file, err := os.Open(plan)
	must(err)
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<26)
	var w *wal.WAL
	var last walpb.Snapshot
	for lines.Scan() {
		var op operation
		must(json.Unmarshal(lines.Bytes(), &op))
		switch op.Op {
		case "create":
			wal.SegmentSizeBytes = op.SegmentBytes
			w, err = wal.Create(lg, dir, bytesOf(op.Metadata))
		case "save":
			var entries []raftpb.Entry
			for _, e := range op.Entries {
				entry := raftpb.Entry{Type: raftpb.EntryType(e.Type), Term: e.Term, Index: e.Index, Data: bytesOf(e.Data)}
				entries = append(entries, entry)
			}
			err = w.Save(op.State, entries)
		case "snapshot":
			last = walpb.Snapshot{Index: op.Index, Term: op.Term}
			err = w.SaveSnapshot(last)
		case "reopen":
			must(w.Close())
			w, err = wal.Open(lg, dir, last)
			must(err)
			_, _, _, err = w.ReadAll()
		case "close":
			err = w.Close()
		}
		must(err)
	}
	must(lines.Err())
}

func main() {
	if os.Args[1] == "plan" {
		play(os.Args[2], os.Args[3])
		return
	}
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
