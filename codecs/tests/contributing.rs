//! The example of CONTRIBUTING.md, compiled and judged by the suites.
//!
//! It once named a macro and a file that did not exist, because nobody had run it. Now its file is
//! `contributing/delta.rs`, its lines are those below, and the text must be the same.
#![cfg(feature = "testing")]

use std::fs;

// The names that the example takes from the root of the crate.
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
fn the_text_is_what_was_judged() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read = |path: &str| fs::read_to_string(format!("{root}/{path}")).expect(path);
    let text = read("CONTRIBUTING.md");
    assert!(
        text.contains(&format!("```rust\n{}```\n", read("codecs/tests/contributing/delta.rs"))),
        "CONTRIBUTING.md and codecs/tests/contributing/delta.rs differ"
    );
    let judged = read("codecs/tests/contributing.rs");
    for line in [
        "mod delta;",
        "pub use delta::Delta;",
        "use crate::delta::Delta;",
        "\"delta\" => Delta: \"integers as differences, everything else raw\", also exact_suite;",
    ] {
        let has = |text: &str| text.lines().any(|other| other.trim() == line);
        assert!(has(&text) && has(&judged), "`{line}` is in one of both only");
    }
}

#[test]
fn the_registry_knows_it() {
    let [delta] = &encoders::standard()[..] else { panic!("one line, one entry") };
    assert_eq!((delta.name(), delta.tags()), ("delta", &[0x13][..]));
    for entry in &Encoders::standard() {
        assert!(!entry.tags().contains(&0x13), "{} has the tag of the example", entry.name());
    }
}
