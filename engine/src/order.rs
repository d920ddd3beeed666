//! The order of log and cache, and the receipt that proves both were done.

use tsmith_cache::{Admitted, Published, Storer};
use tsmith_codecs::{Batch, Position};
use tsmith_wal::{Durable, Log};

use crate::error::{Context, Result};
use crate::schema::{Claims, SecondType};

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

/// A batch that the cache admitted, with the claims on the types that it brings in. The claims come first, so that they
/// are dropped inside the gate: a batch that waits for the gate then finds none of them.
pub(crate) struct Admission<'t, 'b, S: Storer> {
    pub(crate) claims: Claims<'t>,
    pub(crate) admitted: Admitted<'t, 'b, S>,
}

impl<S: Storer> Admission<'_, '_, S> {
    /// Establishes the types, then shows the batch: so no snapshot takes a key whose type is not established.
    fn publish(self, at: Position) -> (Published, Vec<SecondType>) {
        let second_types = self.claims.establish();
        (self.admitted.publish(at), second_types)
    }
}

/// Waits for the record at `at` alone. Whoever appended an earlier one waits for that.
pub(crate) fn sync_record<L: Log + ?Sized>(log: &L, at: Position) -> tsmith_wal::Result<Durable> {
    loop {
        match log.sync(at) {
            Err(error) if matches!(error.kind(), tsmith_wal::ErrorKind::Earlier(_)) => {}
            done => return done,
        }
    }
}

/// Takes an admitted batch through log and cache. Gives the fields that got a second type, too.
pub(crate) fn commit<S: Storer, L: Log + ?Sized>(
    order: WriteOrder,
    log: &L,
    batch: &Batch<'_>,
    admission: Admission<'_, '_, S>,
) -> Result<(Ack, Vec<SecondType>)> {
    const OPERATION: &str = "write";
    // Orders the write; a failure here or below drops `admission`, which releases reservation and claims.
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
