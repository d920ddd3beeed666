//! Power cuts, disk faults and full disks at every operation of a script, on the simulated file system; for every log
//! that keeps what it confirmed.
//!
//! A record's payload is a function of its number, so that whatever comes back can be checked. What must hold is said
//! in `Run::check`: every acknowledged record is there, nothing else than what was appended, in order, no holes, and a
//! forgotten front is gone from the front on.

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
