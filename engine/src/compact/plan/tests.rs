use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

fn file(generation: u64, sequence: u64, bytes: u64) -> FileFacts {
    let name = FileName { generation, sequence };
    FileFacts { name, bytes, tombstoned: false, full_blocks: true, busy: false, corrupt: false }
}

/// Generations 1, 2, ... with these levels, all of the same size.
fn levels(levels: &[u64]) -> Vec<FileFacts> {
    (1..).zip(levels).map(|(generation, &level)| file(generation, level, MIB)).collect()
}

/// The generations of each plan.
fn planned(plans: &[Plan]) -> Vec<Vec<u64>> {
    plans.iter().map(|plan| plan.files.iter().map(|name| name.generation).collect()).collect()
}

#[test]
fn a_level_waits_for_enough_generations() {
    assert_eq!(plans(&levels(&[1; 7]), false), []);
    let eight = plans(&levels(&[1; 8]), false);
    assert_eq!(planned(&eight), [(1..=8).collect::<Vec<_>>()]);
    assert_eq!((eight[0].kind, eight[0].mode), (PlanKind::Level(1), MergeMode::Full));
    let mixed = plans(&levels(&[3, 3, 3, 3, 2, 2, 2, 2, 1, 1]), false);
    assert_eq!(planned(&mixed), [vec![5, 6, 7, 8], vec![1, 2, 3, 4]]);
    assert_eq!((mixed[1].kind, mixed[1].mode), (PlanKind::Level(3), MergeMode::Fast));
    let tail = plans(&levels(&[4, 4, 4, 4, 1]), false);
    assert_eq!((planned(&tail), tail[0].kind), (vec![vec![1, 2, 3, 4]], PlanKind::Tail));
}

#[test]
fn files_of_one_generation_go_together() {
    let mut files = levels(&[1; 8]);
    files.insert(3, file(3, 2, MIB));
    let names: Vec<FileName> = files.iter().map(|file| file.name).collect();
    let plans = plans(&files, false);
    assert_eq!(plans.len(), 1);
    assert_eq!(plans[0].files, names);
}

#[test]
fn tombstones_alone_justify_a_merge() {
    let mut files = levels(&[4, 3, 1, 1]);
    files[2].tombstoned = true;
    assert_eq!(planned(&plans(&files, false)), [[3, 4]]);
    let mut alone = levels(&[4]);
    alone[0].tombstoned = true;
    for cold in [false, true] {
        assert_eq!(planned(&plans(&alone, cold)), [[1]]);
    }
}

#[test]
fn a_cold_shard_becomes_one_generation() {
    assert_eq!(planned(&plans(&levels(&[4, 2, 1]), true)), [[1, 2, 3]]);
    assert_eq!(plans(&levels(&[4]), true), [], "nothing is left to do");
}

#[test]
fn everything_merges_the_whole_shard() {
    let all = everything(&levels(&[4, 2, 1]), MergeMode::Fast);
    assert_eq!((planned(&all), all[0].mode), (vec![vec![1, 2, 3]], MergeMode::Fast));
    assert_eq!(planned(&everything(&levels(&[4]), MergeMode::Full)), [[1]]);
}

/// Story: InfluxDB's planner ignores generations in use and treats the ones around them as neighbours. The
/// merged file gets the younger name, so its older points replace newer ones of the generation between.
#[test]
fn nothing_is_merged_across_a_generation_in_use() {
    let mut files = levels(&[1; 16]);
    files[4].busy = true;
    assert_eq!(planned(&plans(&files, false)), [(6..=13).collect::<Vec<_>>()]);
    files[9].corrupt = true;
    assert_eq!(plans(&files, false), []);
    assert_eq!(
        planned(&everything(&files, MergeMode::Full)),
        [(1..=9).collect(), (11..=16).collect::<Vec<_>>()]
    );
}

/// Story: InfluxDB's full plan skips a generation above 2 GiB and merges the ones around it. The order of
/// points is lost in the same way.
#[test]
fn no_merge_across_a_skipped_generation() {
    let mut files = levels(&[4, 4, 4, 4, 4]);
    files[2].bytes = FILE_BYTES_MAX + 1;
    assert_eq!(planned(&plans(&files, true)), [[1, 2], [4, 5]]);
    files[2].full_blocks = false;
    assert_eq!(planned(&plans(&files, true)), [[1, 2, 3, 4, 5]], "a merge makes it shorter");
}

/// Story: InfluxDB's planner plans no merge of a level while any file of that level is in use. One slow merge
/// delays all others of its level.
#[test]
fn a_slow_merge_holds_up_no_other() {
    let mut files = levels(&[1; 16]);
    files[..8].iter_mut().for_each(|file| file.busy = true);
    assert_eq!(planned(&plans(&files, false)), [(9..=16).collect::<Vec<_>>()]);
}

/// Story: a restore or an interrupted merge leaves a few snapshots before a generation of a higher level.
/// They never become enough for their level, so InfluxDB leaves them until the shard is cold.
#[test]
fn orphans_join_the_level_behind_them() {
    assert_eq!(planned(&plans(&levels(&[1, 1, 1, 2, 1]), false)), [[1, 2, 3, 4]]);
    assert_eq!(planned(&plans(&levels(&[3, 1, 2, 4, 1]), false)), [[1, 2, 3, 4]]);
}

/// Story: a generation of several files was planned again and again, because each merge wrote as many files
/// as it read.
#[test]
fn one_generation_is_not_merged_with_itself() {
    let files: Vec<FileFacts> = (5..9).map(|sequence| file(7, sequence, FILE_BYTES_MAX)).collect();
    for cold in [false, true] {
        assert_eq!(plans(&files, cold), []);
    }
}

#[test]
fn a_large_file_is_not_rewritten_for_small_ones() {
    let sizes = [1000, 10, 10, 10, 10].map(|size| size * MIB);
    let files: Vec<_> = (1..).zip(sizes).map(|(generation, bytes)| file(generation, 4, bytes)).collect();
    assert_eq!(planned(&plans(&files, false)), [[2, 3, 4, 5]]);
    assert_eq!(plans(&files[..4], false), []);
    // No two neighbours are of similar size, but there are many.
    let sizes = [100, 49, 24, 12, 60].map(|size| size * MIB);
    let files: Vec<_> = (1..).zip(sizes).map(|(generation, bytes)| file(generation, 4, bytes)).collect();
    let optimize = plans(&files, false);
    assert_eq!((planned(&optimize), optimize[0].kind), (vec![vec![1, 2, 3, 4, 5]], PlanKind::Optimize));
}

/// A file and the first and last snapshot whose points it holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    facts: FileFacts,
    snapshots: (u64, u64),
}

/// A shard without content.
#[derive(Debug, Default)]
struct Shard {
    files: Vec<Held>,
    running: Vec<Plan>,
    last: u64,
}

#[derive(Clone, Debug)]
enum Event {
    Snapshot { mib: u64, full_blocks: bool },
    Delete(u32),
    Start { which: usize, cold: bool },
    Finish { which: usize, percent: u64, deleted: bool },
    Abort(usize),
    Corruption(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (1u64..3000, any::<bool>()).prop_map(|(mib, full_blocks)| Event::Snapshot { mib, full_blocks }),
        1 => any::<u32>().prop_map(Event::Delete),
        3 => (0usize..4, prop::bool::weighted(0.1)).prop_map(|(which, cold)| Event::Start { which, cold }),
        2 => (0usize..4, 0u64..=100, prop::bool::weighted(0.1))
            .prop_map(|(which, percent, deleted)| Event::Finish { which, percent, deleted }),
        1 => (0usize..4).prop_map(Event::Abort),
        1 => (0usize..200).prop_map(Event::Corruption),
    ]
}

impl Shard {
    fn facts(&self) -> Vec<FileFacts> {
        self.files.iter().map(|held| held.facts).collect()
    }

    /// The plans, after checking the laws of each one.
    fn plans(&self, cold: bool) -> Vec<Plan> {
        let plans = plans(&self.facts(), cold);
        let mut seen = std::collections::BTreeSet::new();
        for plan in &plans {
            assert!(plan.files.iter().all(|name| seen.insert(*name)), "a file is taken twice");
            let indexes: Vec<usize> = plan.files.iter().map(|name| self.place(*name)).collect();
            assert!(indexes.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a gap in {plan:?}");
            let members = &self.files[indexes[0]..=indexes[indexes.len() - 1]];
            assert!(members.iter().all(|held| !held.facts.busy && !held.facts.corrupt), "in use: {plan:?}");
            let is_edge = |edge: Option<&Held>, name: FileName| {
                edge.is_none_or(|held| held.facts.name.generation != name.generation)
            };
            assert!(is_edge(indexes[0].checked_sub(1).map(|at| &self.files[at]), plan.files[0]));
            assert!(is_edge(
                self.files.get(indexes[indexes.len() - 1] + 1),
                plan.files[plan.files.len() - 1]
            ));
            let generations = plan.files.chunk_by(|a, b| a.generation == b.generation).count();
            assert!(generations > 1 || members.iter().any(|held| held.facts.tombstoned), "useless: {plan:?}");
        }
        plans
    }

    fn place(&self, name: FileName) -> usize {
        self.files.iter().position(|held| held.facts.name == name).expect("a file of the shard")
    }

    fn start(&mut self, plan: Plan) {
        for name in &plan.files {
            let at = self.place(*name);
            self.files[at].facts.busy = true;
        }
        self.running.push(plan);
    }

    fn finish(&mut self, which: usize, percent: u64, deleted: bool) {
        if which >= self.running.len() {
            return;
        }
        let plan = self.running.remove(which);
        let at = self.place(plan.files[0]);
        let inputs: Vec<Held> = self.files.drain(at..at + plan.files.len()).collect();
        let last = inputs[inputs.len() - 1].facts.name.generation;
        let sequence = inputs.iter().map(|held| held.facts.name.sequence).max().expect("inputs") + 1;
        let mut left = inputs.iter().map(|held| held.facts.bytes).sum::<u64>() * percent / 100;
        let full_blocks = plan.mode == MergeMode::Full || inputs.iter().all(|held| held.facts.full_blocks);
        let snapshots = (inputs[0].snapshots.0, inputs[inputs.len() - 1].snapshots.1);
        let mut outputs = Vec::new();
        while left > 0 {
            let bytes = left.min(FILE_BYTES_MAX + 1);
            left -= bytes;
            let name = FileName { generation: last, sequence: sequence + outputs.len() as u64 };
            let facts =
                FileFacts { name, bytes, tombstoned: deleted, full_blocks, busy: false, corrupt: false };
            outputs.push(Held { facts, snapshots });
        }
        self.files.splice(at..at, outputs);
    }

    fn abort(&mut self, which: usize) {
        if which < self.running.len() {
            for name in self.running.remove(which).files {
                let at = self.place(name);
                self.files[at].facts.busy = false;
            }
        }
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Snapshot { mib, full_blocks } => {
                self.last += 1;
                let facts = FileFacts { full_blocks, ..file(self.last, 1, mib * MIB) };
                self.files.push(Held { facts, snapshots: (self.last, self.last) });
            }
            Event::Delete(seed) => {
                for (at, held) in self.files.iter_mut().enumerate() {
                    held.facts.tombstoned |= seed.rotate_left(at as u32) % 5 == 0;
                }
            }
            Event::Start { which, cold } => {
                let mut plans = self.plans(cold);
                if which < plans.len() {
                    self.start(plans.swap_remove(which));
                }
            }
            Event::Finish { which, percent, deleted } => self.finish(which, percent, deleted),
            Event::Abort(which) => self.abort(which),
            Event::Corruption(which) => {
                if let Some(held) = self.files.get_mut(which) {
                    held.facts.corrupt = true;
                }
            }
        }
        self.check_order();
    }

    /// The file with the newer name holds the newer points.
    fn check_order(&self) {
        for pair in self.files.windows(2) {
            assert!(pair[0].facts.name < pair[1].facts.name, "{pair:?}");
            let same = pair[0].facts.name.generation == pair[1].facts.name.generation;
            assert!(same || pair[0].snapshots.1 < pair[1].snapshots.0, "{pair:?}");
        }
    }

    /// Carries out plans until nothing is due. Returns the largest number of generations between two walls.
    fn rest(&mut self, cold: bool) -> usize {
        while !self.running.is_empty() {
            self.finish(0, 90, false);
        }
        let generations = |files: &[Held]| {
            files.chunk_by(|a, b| a.facts.name.generation == b.facts.name.generation).count()
        };
        // Each merge leaves fewer generations, or fewer with deleted points.
        let tombstoned = self.files.iter().filter(|held| held.facts.tombstoned).count();
        let mut merges = generations(&self.files) + tombstoned;
        loop {
            let plans = self.plans(cold);
            if plans.is_empty() {
                break;
            }
            for plan in plans {
                merges = merges.checked_sub(1).expect("planning ends");
                self.start(plan);
                self.finish(0, 90, false);
                self.check_order();
            }
        }
        let files = self.facts();
        let walls = super::generations(&files);
        walls.split(|generation| generation.wall).map(<[_]>::len).max().unwrap_or(0)
    }
}

proptest! {
    /// The laws of the planner: no file is taken twice, newer points stay in newer files, planning ends, and
    /// no run of small files stays.
    #[test]
    fn planning_ends_after_any_history(events in prop::collection::vec(event(), 1..200)) {
        let mut shard = Shard::default();
        for event in &events {
            shard.apply(event);
        }
        // At most seven generations of level 1 and three each of levels 2 and 3. Of level 4 each is larger
        // than all later ones together, except for the last three. The smallest has 1 MiB.
        let sizes = shard.files.iter().map(|held| held.facts.bytes).sum::<u64>() / MIB + 1;
        let most = 7 + 3 + 3 + 3 + sizes.ilog2() as usize + 2;
        let there = shard.rest(false);
        prop_assert!(there <= most, "{there} generations are left, of at most {most}");
        prop_assert!(shard.rest(true) <= 1, "a cold shard has one generation between walls");
    }
}
