//! Tests an encoder of another crate with the suites of this one: one file, and one line per suite.
#![cfg(feature = "testing")]

use tsmith_codecs::{
    BlockDecoder, BlockEncoder, Column, ColumnRef, Encoders, Error, FieldType, Raw, Result, Value,
};

/// Raw blocks behind a length. It implements only the required methods.
#[derive(Default)]
struct Framed {
    raw: Raw,
    plain: Vec<u8>,
}

const TAG: u8 = 0x80;

impl BlockEncoder for Framed {
    fn tags(&self) -> &'static [u8] {
        &[TAG]
    }

    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        self.plain.clear();
        self.raw.encode(column, &mut self.plain)?;
        out.push(TAG);
        out.extend_from_slice(&(self.plain.len() as u64).to_be_bytes());
        out.extend_from_slice(&self.plain);
        Ok(())
    }
}

impl BlockDecoder for Framed {
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> {
        out.reset(out.field_type());
        let (tag, rest) = block.split_first().ok_or(Error::corrupt(0, "a tag"))?;
        if *tag != TAG {
            return Err(Error::unknown_tag(*tag));
        }
        let (len, raw) = rest.split_first_chunk().ok_or(Error::corrupt(1, "a 64-bit length"))?;
        if u64::from_be_bytes(*len) != raw.len() as u64
            || !raw.first().is_some_and(|tag| Raw.tags().contains(tag))
        {
            return Err(Error::corrupt(9, "a raw block of that length"));
        }
        self.raw.decode(raw, limit, out).map_err(|error| error.shifted(9))
    }
}

tsmith_codecs::encoder_suite!(Framed);
tsmith_codecs::exact_suite!(Framed);

/// A table with the encoder reads its blocks. A table without it returns an error with the tag.
#[test]
fn a_table_reads_blocks_of_an_added_encoder() {
    let encoders = Encoders::standard().with::<Framed>("framed", "raw blocks behind a length");
    let mut column = Column::new(FieldType::Integer);
    column.push(10, Value::Integer(7)).expect("one type");
    let mut block = Vec::new();
    encoders.get("framed").expect("was added").make().encode(column.as_ref(), &mut block).expect("encodes");
    let mut back = Column::new(FieldType::Float);
    encoders.decoders().decode(&block, 1, &mut back).expect("decodes");
    assert_eq!(back, column);
    let error = Encoders::standard().decoders().decode(&block, 1, &mut back).expect_err("lacks it");
    assert_eq!(error, Error::unknown_tag(TAG));
}
