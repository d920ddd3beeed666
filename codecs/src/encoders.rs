//! The table of named encoders, as a value: what `--encoder` and a directory's manifest choose from.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::decoders::Decoders;
use crate::encoder::BlockEncoder;
use crate::encoder_entry::EncoderEntry;
use crate::influx::{Tsm1, Tsm1Batch};
use crate::raw::Raw;
use crate::snappy::Snappy;
use crate::zstd::Zstd;

/// The block tags of encoders from other crates. No encoder of this crate uses one.
pub const OUTSIDE_TAGS: RangeInclusive<u8> = 0x80..=0xff;

crate::registry! {
    /// An entry for each encoder of this crate.
    pub trait BlockEncoder => EncoderEntry, suite = encoder_suite;
    "tsm1" => Tsm1: "InfluxDB 1.x blocks to the byte: Gorilla floats, simple8b integers and times, snappy strings",
        also influx_suite, also streaming_suite;
    "tsm1-batch" => Tsm1Batch: "the same blocks in the form that compactions of InfluxDB 1.7 and later write",
        also influx_suite;
    "raw" => Raw: "times and values as they are: the floor", also exact_suite;
    "snappy" => Snappy: "raw columns through snappy", also exact_suite;
    "zstd" => Zstd: "raw columns through zstd level 3", also exact_suite;
}

/// Encoders by name. An encoder of another crate is added by one call:
///
/// ```
/// use tsmith_codecs::testing::Scrambled;
/// use tsmith_codecs::{BLOCK_VALUES_MAX, BlockDecoder, BlockEncoder, Column, Encoders, FieldType, Value};
///
/// let encoders = Encoders::standard().with::<Scrambled>("scrambled", "raw blocks backwards");
/// let mut column = Column::new(FieldType::Integer);
/// assert!(column.push(10, Value::Integer(7)));
///
/// let (mut decoders, mut back) = (encoders.decoders(), Column::new(FieldType::Float));
/// for entry in &encoders {
///     let mut block = Vec::new();
///     entry.make().encode(column.as_ref(), &mut block)?;
///     decoders.decode(&block, BLOCK_VALUES_MAX, &mut back)?;
///     assert_eq!(back, column, "{}", entry.name());
/// }
/// # Ok::<(), tsmith_codecs::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Encoders {
    entries: Arc<Vec<EncoderEntry>>,
}

impl Encoders {
    /// The encoders of this crate.
    pub fn standard() -> Self {
        Self { entries: Arc::new(standard()) }
    }

    /// Adds the encoder that `E::default()` makes.
    ///
    /// # Panics
    /// As [`Encoders::with_entry`].
    #[must_use]
    #[track_caller]
    pub fn with<E: BlockEncoder + Default>(self, name: &'static str, summary: &'static str) -> Self {
        self.with_entry(EncoderEntry::of::<E>(name, summary))
    }

    /// Adds an encoder.
    ///
    /// # Panics
    /// An encoder has this name already or owns one of its tags, a tag is not one of [`OUTSIDE_TAGS`], it
    /// says that InfluxDB reads them, or no encoder has
    /// the name that [`BlockEncoder::same_blocks_as`] gives.
    #[must_use]
    #[track_caller]
    pub fn with_entry(mut self, entry: EncoderEntry) -> Self {
        if let Err(why) = self.check(&entry) {
            panic!("cannot add the encoder `{}`: {why}", entry.name());
        }
        Arc::make_mut(&mut self.entries).push(entry);
        self
    }

    /// Why this entry cannot be added.
    fn check(&self, entry: &EncoderEntry) -> Result<(), String> {
        if self.entries.iter().any(|other| other.name() == entry.name()) {
            return Err("another encoder has this name".into());
        }
        if entry.tags().is_empty() {
            return Err("it owns no block tag".into());
        }
        if let Some(owner) = entry.same_blocks_as() {
            let owner = self.get(owner).map_err(|unknown| unknown.to_string())?;
            if owner.tags() != entry.tags() || owner.is_influx_readable() != entry.is_influx_readable() {
                return Err(format!("its blocks are not those of `{}`", owner.name()));
            }
            return Ok(());
        }
        if entry.is_influx_readable() {
            return Err("InfluxDB reads no block tags but its own: an encoder of its blocks names the one that it equals".into());
        }
        for &tag in entry.tags() {
            if let Some(owner) = self.entries.iter().find(|other| other.tags().contains(&tag)) {
                return Err(format!("the block tag {tag:#04x} belongs to `{}`", owner.name()));
            }
            if !OUTSIDE_TAGS.contains(&tag) {
                let (first, last) = OUTSIDE_TAGS.into_inner();
                return Err(format!("its block tag {tag:#04x} is not between {first:#04x} and {last:#04x}"));
            }
        }
        Ok(())
    }

    /// The encoder called `name`.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn get(&self, name: &str) -> Result<&EncoderEntry, UnknownEncoder> {
        let found = self.entries.iter().find(|entry| entry.name() == name);
        found.ok_or_else(|| UnknownEncoder { asked: name.to_owned(), known: self.names() })
    }

    /// All of them, in the order in which they were added.
    pub fn iter(&self) -> std::slice::Iter<'_, EncoderEntry> {
        self.entries.iter()
    }

    /// Their names.
    pub fn names(&self) -> Vec<&'static str> {
        self.iter().map(EncoderEntry::name).collect()
    }

    /// The decoder of all their blocks.
    pub fn decoders(&self) -> Decoders {
        Decoders::of(Arc::clone(&self.entries))
    }
}

impl<'e> IntoIterator for &'e Encoders {
    type Item = &'e EncoderEntry;
    type IntoIter = std::slice::Iter<'e, EncoderEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Decoders {
    /// The decoder of the blocks of this crate's encoders.
    pub fn standard() -> Self {
        Encoders::standard().decoders()
    }
}

/// No encoder of a table has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no encoder is called `{asked}`; there are: {}", known.join(", "))]
pub struct UnknownEncoder {
    /// The name that was asked for.
    pub asked: String,
    /// The names there are.
    pub known: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{Column, ColumnRef};
    use crate::encoder::BlockDecoder;
    use crate::error::Result;
    use crate::testing::Scrambled;

    /// Raw blocks under any tags, for entries that a table refuses.
    struct Tagged {
        raw: Raw,
        tags: &'static [u8],
        same_as: Option<&'static str>,
    }

    impl BlockDecoder for Tagged {
        fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> {
            self.raw.decode(block, limit, out)
        }
    }

    impl BlockEncoder for Tagged {
        fn tags(&self) -> &'static [u8] {
            self.tags
        }
        fn same_blocks_as(&self) -> Option<&'static str> {
            self.same_as
        }
        fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()> {
            self.raw.encode(column, out)
        }
    }

    fn entry(name: &'static str, tags: &'static [u8], same_as: Option<&'static str>) -> EncoderEntry {
        EncoderEntry::new(name, "", move || Box::new(Tagged { raw: Raw, tags, same_as }))
    }

    /// Law: each tag of this crate has one owner, which reads all blocks with it, and none is reserved for other crates.
    #[test]
    fn standard_tags_have_one_owner() {
        let mut checked = Encoders { entries: Arc::default() };
        for entry in &Encoders::standard() {
            for &tag in entry.tags() {
                assert!(!OUTSIDE_TAGS.contains(&tag), "{tag:#04x} of {} is reserved", entry.name());
                let owner = checked.iter().find(|other| other.tags().contains(&tag));
                assert_eq!(owner.map(EncoderEntry::name), entry.same_blocks_as(), "{tag:#04x}");
            }
            Arc::make_mut(&mut checked.entries).push(entry.clone());
        }
    }

    #[test]
    fn an_outside_encoder_is_an_entry() {
        let scrambled = EncoderEntry::of::<Scrambled>("scrambled", "backwards").outside_default_matrix();
        let encoders = Encoders::standard().with_entry(scrambled);
        let entry = encoders.get("scrambled").expect("was added");
        assert_eq!(
            (entry.summary(), entry.tags(), entry.in_default_matrix()),
            ("backwards", &[0xc5][..], false)
        );
        assert!(encoders.get("tsm1").expect("is there").in_default_matrix());
        let unknown = encoders.get("lz77").expect_err("is not there").to_string();
        assert_eq!(
            unknown,
            "no encoder is called `lz77`; there are: tsm1, tsm1-batch, raw, snappy, zstd, scrambled"
        );
    }

    #[test]
    fn entries_that_clash_are_refused() {
        let encoders = Encoders::standard().with::<Scrambled>("scrambled", "");
        for (entry, why) in [
            (entry("raw", &[0x80], None), "another encoder has this name"),
            (entry("a", &[], None), "it owns no block tag"),
            (entry("a", &[0x80, 0xc5], None), "the block tag 0xc5 belongs to `scrambled`"),
            (entry("a", &[0x10], None), "the block tag 0x10 belongs to `raw`"),
            (entry("a", &[0x80, 0x7f], None), "its block tag 0x7f is not between 0x80 and 0xff"),
            (entry("a", &[0x80], Some("raw")), "its blocks are not those of `raw`"),
            (
                entry("a", &[0x10], Some("b")),
                "no encoder is called `b`; there are: tsm1, tsm1-batch, raw, snappy, zstd, scrambled",
            ),
        ] {
            assert_eq!(encoders.check(&entry), Err(why.to_owned()));
        }
        let other_form = encoders.with_entry(entry("a", &[0x10], Some("raw")));
        assert_eq!(other_form.decoders().entry_of(&[0x10]).map(EncoderEntry::name), Some("raw"));
    }

    #[test]
    #[should_panic(expected = "cannot add the encoder `a`: the block tag 0x10 belongs to `raw`")]
    fn a_tag_with_an_owner_is_refused() {
        drop(Encoders::standard().with_entry(entry("a", &[0x10], None)));
    }
}
