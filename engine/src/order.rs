//! The order of log and cache in a write, and the receipt that proves both.

use tsmith_cache::{Admitted, Published, Storer};
use tsmith_codecs::{Batch, Position};
use tsmith_wal::{Durable, Log};

use crate::error::{Context, Result};
use crate::schema::{Claims, SecondType};

/// When a write becomes visible to readers. The cache always admits a batch first, so the log never holds a
/// batch that the cache would refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteOrder {
    /// Admit, make durable, then show: readers never see a write that a crash could undo.
    #[default]
    SyncThenPublish,
    /// Show before it is durable, as readers of InfluxDB 1.x observe.
    PublishThenSync,
}

/// A write that is in the log, as durable as the log's mode says, and visible to readers.
///
/// Only the engine can create one, from the receipts of log and cache:
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

/// A batch admitted by the cache, with its claims on new types. The claims come first in this struct, so they
/// are dropped while the gate is still open. A batch that waits for the gate then sees no claims.
pub(crate) struct Admission<'t, 'b, S: Storer> {
    pub(crate) claims: Claims<'t>,
    pub(crate) admitted: Admitted<'t, 'b, S>,
}

impl<S: Storer> Admission<'_, '_, S> {
    /// Establishes the types and then publishes the batch, so a snapshot only takes keys whose types are
    /// established.
    fn publish(self, at: Position) -> (Published, Vec<SecondType>) {
        let second_types = self.claims.establish();
        (self.admitted.publish(at), second_types)
    }
}

/// Waits only for the record at `at`. The thread that appended an earlier record handles its failure.
pub(crate) fn sync_record<L: Log + ?Sized>(log: &L, at: Position) -> tsmith_wal::Result<Durable> {
    loop {
        match log.sync(at) {
            Err(error) if matches!(error.kind(), tsmith_wal::ErrorKind::Earlier(_)) => {}
            done => return done,
        }
    }
}

/// Takes an admitted batch through log and cache. Also returns the fields that got a second type.
pub(crate) fn commit<S: Storer, L: Log + ?Sized>(
    order: WriteOrder,
    log: &L,
    batch: &Batch<'_>,
    admission: Admission<'_, '_, S>,
) -> Result<(Ack, Vec<SecondType>)> {
    const OPERATION: &str = "write";
    // This orders the write. On a failure here or below, dropping `admission` releases the reservation and
    // the claims.
    let at = log.append_write(batch).during(OPERATION)?;
    match order {
        WriteOrder::SyncThenPublish => {
            let durable = sync_record(log, at).during(OPERATION)?;
            let (published, second_types) = admission.publish(at);
            Ok((Ack { _durable: durable, _published: published }, second_types))
        }
        WriteOrder::PublishThenSync => {
            let (published, second_types) = admission.publish(at);
            let durable = sync_record(log, at).during(OPERATION)?;
            Ok((Ack { _durable: durable, _published: published }, second_types))
        }
    }
}
