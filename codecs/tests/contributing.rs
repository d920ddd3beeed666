//! The example of CONTRIBUTING.md, compiled and judged by the suites.
//!
//! It once named a macro that was not there and a file that nobody has: nobody had run it. Now its file is
//! `contributing/delta.rs`, its lines are those below, and the text must be the same.
#![cfg(feature = "testing")]

use std::fs;

// The names that the example takes from the root of the crate.
use tsmith_codecs::{BlockEncoder, Column, ColumnRef, Error, Raw, Result, Values, ValuesRef, testing};

#[path = "contributing/delta.rs"]
mod delta;

pub use delta::Delta;

tsmith_codecs::registry! {
    /// The one encoder of the example.
    pub trait BlockEncoder => with_encoder, EncoderVisitor, ENCODERS, suite = encoder_suite;
    "delta" => Delta: "integers as differences, everything else raw", also exact_suite;
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
        "\"delta\" => Delta: \"integers as differences, everything else raw\", also exact_suite;",
    ] {
        let has = |text: &str| text.lines().any(|other| other.trim() == line);
        assert!(has(&text) && has(&judged), "`{line}` is in one of both only");
    }
}

#[test]
fn the_registry_knows_it() {
    struct Tag;
    impl EncoderVisitor for Tag {
        type Out = &'static [u8];
        fn visit<E: BlockEncoder>(self) -> Self::Out {
            E::TAGS
        }
    }
    assert_eq!(ENCODERS.len(), 1);
    assert_eq!(with_encoder("delta", Tag), Some(&[0x13][..]));
    for (name, _) in tsmith_codecs::ENCODERS {
        let tags = tsmith_codecs::with_encoder(name, TagOf).expect("is in the list");
        assert!(!tags.contains(&0x13), "{name} has the tag of the example");
    }
    struct TagOf;
    impl tsmith_codecs::EncoderVisitor for TagOf {
        type Out = &'static [u8];
        fn visit<E: BlockEncoder>(self) -> Self::Out {
            E::TAGS
        }
    }
}
