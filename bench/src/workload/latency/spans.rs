//! When the engine took snapshots and compacted, from its spans of the crate `tracing`.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::error::Result;

/// Begin and end of background work, in seconds from the first measured call.
pub(crate) type Span = (f64, f64);

/// The spans of the engine since the recording began.
#[derive(Debug, Default)]
pub(crate) struct Spans(Mutex<Vec<Work>>);

/// One piece of background work.
#[derive(Debug)]
struct Work {
    name: &'static str,
    begun: Instant,
    /// `None` while it runs.
    ended: Option<Instant>,
}

impl Spans {
    /// Records the spans of this process from now on. A process can do it once.
    pub(crate) fn record() -> Result<Arc<Self>> {
        let spans = Arc::new(Self::default());
        tracing::subscriber::set_global_default(Recorder(Arc::clone(&spans)))?;
        Ok(spans)
    }

    /// The work of this name that ran between `from` and `length` later, in seconds after `from`.
    pub(super) fn within(&self, name: &str, from: Instant, length: Duration) -> Vec<Span> {
        let length = length.as_secs_f64();
        let seconds = |at: Instant| at.saturating_duration_since(from).as_secs_f64().min(length);
        let works = self.0.lock().expect("no thread panicked");
        let spans = works.iter().filter(|work| work.name == name);
        let spans = spans.map(|work| (seconds(work.begun), work.ended.map_or(length, seconds)));
        spans.filter(|(begun, ended)| begun < ended).collect()
    }
}

struct Recorder(Arc<Spans>);

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("tsmith_engine")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut works = self.0.0.lock().expect("no thread panicked");
        works.push(Work { name: span.metadata().name(), begun: Instant::now(), ended: None });
        Id::from_u64(works.len() as u64)
    }

    /// The engine does not clone its spans, so this is called once for each.
    fn try_close(&self, id: Id) -> bool {
        let mut works = self.0.0.lock().expect("no thread panicked");
        works[id.into_u64() as usize - 1].ended = Some(Instant::now());
        true
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_cut_to_the_window() {
        let begun = Instant::now();
        let at = |ms: i64| begun + Duration::from_millis((1000 + ms) as u64);
        let from = at(0);
        let work = |name, begun, ended: Option<i64>| Work { name, begun: at(begun), ended: ended.map(at) };
        let spans = Spans(Mutex::new(vec![
            work("snapshot", -200, Some(-100)),
            work("snapshot", -50, Some(250)),
            work("compaction", 300, Some(400)),
            work("snapshot", 500, None),
            work("snapshot", 1100, None),
        ]));
        let found = spans.within("snapshot", from, Duration::from_secs(1));
        assert_eq!(found, [(0.0, 0.25), (0.5, 1.0)]);
        assert_eq!(spans.within("compaction", from, Duration::from_secs(1)), [(0.3, 0.4)]);
    }
}
