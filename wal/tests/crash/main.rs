//! Power cuts and disk faults at every operation of a script, on the simulated file system, for every durable log.
//!
//! A record's payload is a function of its number, so the tests can check every recovered record. `Run::check` states what
//! must hold: the log recovers every acknowledged record and only appended ones, in order, without holes, and without the
//! truncated ones.

/// One test for each log.
macro_rules! of_every_log {
    ($($(#[$doc:meta])* fn $name:ident() $check:block)+) => {
        $($(#[$doc])* mod $name {
            use super::*;

            fn check<L: Log<Fs = SimFs>>() $check

            #[test]
            fn file() {
                check::<File>();
            }

            #[test]
            fn mmap() {
                check::<Mmap>();
            }

            #[test]
            fn native() {
                check::<Native>();
            }

            #[test]
            fn etcd() {
                check::<Etcd>();
            }
        })+
    };
}

mod faults;
mod missing_syncs;
mod openings;
mod power;
mod script;
#[path = "../support/mod.rs"]
mod support;
mod threads;
