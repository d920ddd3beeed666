//! The table of encoders by name. The option `--encoder` and the manifest of a directory choose from it.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::decoders::Decoders;
use crate::encoder::BlockEncoder;
use crate::encoder_entry::EncoderEntry;
use crate::influx::{Tsm1, Tsm1Batch};
use crate::raw::Raw;
use crate::snappy::Snappy;
#[cfg(feature = "zstd")]
use crate::zstd::Zstd;

/// The block tags for encoders of other crates. No encoder of this crate uses one.
pub const OUTSIDE_TAGS: RangeInclusive<u8> = 0x80..=0xff;

crate::registry! {
    /// An entry for each encoder of this crate.
    pub trait BlockEncoder => EncoderEntry, suite = encoder_suite;
    "tsm1" => Tsm1: "the blocks of InfluxDB 1.x: Gorilla floats, simple8b integers and times, snappy strings",
        also influx_suite, also streaming_suite;
    "tsm1-batch" => Tsm1Batch: "the same format as compactions of InfluxDB 1.7 and later write it",
        also influx_suite;
    "raw" => Raw: "times and values without compression", also exact_suite;
    "snappy" => Snappy: "raw columns compressed with snappy", also exact_suite;
    #[cfg(feature = "zstd")]
    "zstd" => Zstd: "raw columns compressed with zstd, level 3", also exact_suite;
}

/// Encoders by name. `with` adds an encoder of another crate:
///
/// ```
/// use tsmith_codecs::testing::Scrambled;
/// use tsmith_codecs::{BLOCK_VALUES_MAX, BlockDecoder, BlockEncoder, Column, Encoders, FieldType, Value};
///
/// let encoders = Encoders::standard().with::<Scrambled>("scrambled", "raw blocks backwards");
/// let mut column = Column::new(FieldType::Integer);
/// column.push(10, Value::Integer(7)).expect("one type");
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
    /// Like [`Encoders::with_entry`].
    #[must_use]
    #[track_caller]
    pub fn with<E: BlockEncoder + Default>(self, name: &'static str, summary: &'static str) -> Self {
        self.with_entry(EncoderEntry::of::<E>(name, summary))
    }

    /// Adds an encoder.
    ///
    /// # Panics
    /// Any of these is true:
    /// - another encoder has the name or owns one of the tags,
    /// - a tag is not one of [`OUTSIDE_TAGS`],
    /// - the encoder says that InfluxDB reads its blocks,
    /// - no encoder has the name that [`BlockEncoder::same_blocks_as`] returns.
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
                return Err(format!("its tags differ from those of `{}`", owner.name()));
            }
            return Ok(());
        }
        if entry.is_influx_readable() {
            return Err("InfluxDB reads only blocks of its own format: name the encoder of that format in `same_blocks_as`".into());
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

    /// Looks up an encoder by its name.
    ///
    /// # Errors
    /// No encoder has this name.
    pub fn get(&self, name: &str) -> Result<&EncoderEntry, UnknownEncoder> {
        let found = self.entries.iter().find(|entry| entry.name() == name);
        found.ok_or_else(|| UnknownEncoder { asked: name.to_owned(), known: self.names() })
    }

    /// All encoders in the order in which they were added.
    pub fn iter(&self) -> std::slice::Iter<'_, EncoderEntry> {
        self.entries.iter()
    }

    /// The names of all encoders.
    pub fn names(&self) -> Vec<&'static str> {
        self.iter().map(EncoderEntry::name).collect()
    }

    /// A decoder for the blocks of all encoders.
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
    /// A decoder for the blocks of this crate's encoders.
    pub fn standard() -> Self {
        Encoders::standard().decoders()
    }
}

/// No encoder of a table has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no encoder `{asked}`: choose one of {}", known.join(", "))]
pub struct UnknownEncoder {
    /// The unknown name.
    pub asked: String,
    /// The known names.
    pub known: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{Column, ColumnRef};
    use crate::encoder::BlockDecoder;
    use crate::error::Result;
    use crate::testing::Scrambled;

    /// Raw blocks with any tags, to test entries that a table refuses.
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

    /// Law: each tag of this crate has one owner, which reads all blocks with this tag. No tag is reserved for other
    /// crates.
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
    fn an_encoder_of_another_crate_is_added() {
        let scrambled = EncoderEntry::of::<Scrambled>("scrambled", "backwards").outside_default_matrix();
        let encoders = Encoders::standard().with_entry(scrambled);
        let entry = encoders.get("scrambled").expect("was added");
        assert_eq!(
            (entry.summary(), entry.tags(), entry.in_default_matrix()),
            ("backwards", &[0xc5][..], false)
        );
        assert!(encoders.get("tsm1").expect("is there").in_default_matrix());
        let unknown = encoders.get("lz77").expect_err("is not there");
        assert_eq!(unknown, UnknownEncoder { asked: "lz77".into(), known: encoders.names() });
    }

    #[test]
    fn conflicting_entries_are_refused() {
        let encoders = Encoders::standard().with::<Scrambled>("scrambled", "");
        let unknown = encoders.get("b").expect_err("is not there").to_string();
        for (entry, why) in [
            (entry("raw", &[0x80], None), "another encoder has this name"),
            (entry("a", &[], None), "it owns no block tag"),
            (entry("a", &[0x80, 0xc5], None), "the block tag 0xc5 belongs to `scrambled`"),
            (entry("a", &[0x10], None), "the block tag 0x10 belongs to `raw`"),
            (entry("a", &[0x80, 0x7f], None), "its block tag 0x7f is not between 0x80 and 0xff"),
            (entry("a", &[0x80], Some("raw")), "its tags differ from those of `raw`"),
            (entry("a", &[0x10], Some("b")), unknown.as_str()),
        ] {
            assert_eq!(encoders.check(&entry), Err(why.to_owned()));
        }
        let other_form = encoders.with_entry(entry("a", &[0x10], Some("raw")));
        assert_eq!(other_form.decoders().entry_of(&[0x10]).map(EncoderEntry::name), Some("raw"));
    }

    #[test]
    #[should_panic(expected = "cannot add the encoder `a`: the block tag 0x10 belongs to `raw`")]
    fn with_entry_panics_if_the_tag_has_an_owner() {
        drop(Encoders::standard().with_entry(entry("a", &[0x10], None)));
    }
}
