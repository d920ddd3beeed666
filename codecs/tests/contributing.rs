//! Compiles the example of CONTRIBUTING.md and runs the test suites on it.
//!
//! Story: the example named a macro and a file that did not exist. Now its code is in `contributing/delta.rs`, its
//! lines are below, and CONTRIBUTING.md must contain the same text.
#![cfg(feature = "testing")]

use std::fs;

// The names that the example imports from the root of the crate.
use tsmith_codecs::{
    BlockDecoder, BlockEncoder, Column, ColumnRef, Encoders, Error, Raw, Result, Values, ValuesRef, testing,
};

#[path = "contributing/delta.rs"]
mod delta;

pub use delta::Delta;

mod encoders {
    use tsmith_codecs::EncoderEntry;

    use crate::delta::Delta;

    tsmith_codecs::registry! {
        /// The one encoder of the example.
        pub trait BlockEncoder => EncoderEntry, suite = encoder_suite;
        "delta" => Delta: "integers as differences, everything else raw", also exact_suite;
    }
}

#[test]
fn contributing_has_the_tested_text() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read = |path: &str| fs::read_to_string(format!("{root}/{path}")).expect(path);
    let text = read("CONTRIBUTING.md");
    assert!(
        text.contains(&format!("```rust\n{}```\n", read("codecs/tests/contributing/delta.rs"))),
        "CONTRIBUTING.md does not contain the text of codecs/tests/contributing/delta.rs"
    );
    let judged = read("codecs/tests/contributing.rs");
    for line in [
        "mod delta;",
        "pub use delta::Delta;",
        "use crate::delta::Delta;",
        "\"delta\" => Delta: \"integers as differences, everything else raw\", also exact_suite;",
    ] {
        let has = |text: &str| text.lines().any(|other| other.trim() == line);
        assert!(has(&text) && has(&judged), "only one of both texts contains `{line}`");
    }
}

#[test]
fn the_registry_knows_it() {
    let [delta] = &encoders::standard()[..] else { panic!("one line, one entry") };
    assert_eq!((delta.name(), delta.tags()), ("delta", &[0x13][..]));
    for entry in &Encoders::standard() {
        assert!(!entry.tags().contains(&0x13), "{} uses the tag of the example", entry.name());
    }
}
