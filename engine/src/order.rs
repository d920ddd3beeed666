//! The order of log and cache, and the receipt that proves both were done.

use tsmith_cache::{Admitted, Published, Storer};
use tsmith_codecs::Batch;
use tsmith_wal::{Durable, Log};

use crate::error::{Context, Result};

/// When a write becomes visible to readers. Admission always comes first, so the log never holds what the cache would
/// refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteOrder {
    /// The cache admits, the log makes durable, the cache shows: nobody reads what a crash could take back.
    #[default]
    SyncThenPublish,
    /// Visible before durable: what readers of InfluxDB 1.x observe.
    PublishThenSync,
}

/// A write that is in the log, by the log's durability, and visible to readers.
///
/// Only the engine can make one, from the receipts of both:
///
/// ```compile_fail
/// fn forge(durable: tsmith_wal::Durable, published: tsmith_cache::Published) -> tsmith_engine::Ack {
///     tsmith_engine::Ack { _durable: durable, _published: published }
/// }
/// ```
#[derive(Debug)]
#[must_use = "a write without its receipt was not acknowledged"]
pub struct Ack {
    _durable: Durable,
    _published: Published,
}

/// Takes an admitted batch through log and cache.
pub(crate) fn commit<S: Storer, L: Log>(
    order: WriteOrder,
    log: &L,
    batch: &Batch<'_>,
    admitted: Admitted<'_, '_, S>,
) -> Result<Ack> {
    const OPERATION: &str = "write";
    // Orders the write; a failure here or below drops `admitted`, which gives the room back.
    let at = log.append_write(batch).during(OPERATION)?;
    match order {
        WriteOrder::SyncThenPublish => {
            let durable = log.sync(at).during(OPERATION)?;
            Ok(Ack { _durable: durable, _published: admitted.publish(at) })
        }
        WriteOrder::PublishThenSync => {
            let published = admitted.publish(at);
            Ok(Ack { _durable: log.sync(at).during(OPERATION)?, _published: published })
        }
    }
}
