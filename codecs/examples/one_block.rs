//! Encodes one column with every encoder of this crate, prints the sizes, and checks that each decodes to the same
//! column.
//!
//! ```text
//! cargo run -p tsmith-codecs --example one_block
//! ```

use tsmith_codecs::{
    BLOCK_VALUES_MAX, BlockDecoder, BlockEncoder, Column, Encoders, FieldType, Result, Value,
};

fn main() -> Result<()> {
    // One day of a thermometer: one reading per minute, rounded to a tenth of a degree.
    let mut column = Column::new(FieldType::Float);
    for minute in 0..1440i64 {
        let tenths = (f64::sin(minute as f64 / 229.0) * 80.0).round() + 150.0;
        column.push(minute * 60_000_000_000, Value::Float(tenths / 10.0)).expect("one type");
    }

    let encoders = Encoders::standard();
    let mut decoder = encoders.decoders();
    for entry in &encoders {
        let (name, what, mut block) = (entry.name(), entry.summary(), Vec::new());
        entry.make().encode(column.as_ref(), &mut block)?;
        let mut back = Column::new(FieldType::Float);
        decoder.decode(&block, BLOCK_VALUES_MAX, &mut back)?;
        assert_eq!(back, column);
        let per_value = block.len() as f64 / column.len() as f64;
        println!("{name:>8}  {:6} bytes  {per_value:5.2} a point   {what}", block.len());
    }
    Ok(())
}
