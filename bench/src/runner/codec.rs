//! `codec`: encodes and decodes blocks. Figures are nanoseconds of thread time for each value.
//!
//! The encoder `raw` copies and gives the floor. `tsm1` and `tsm1-batch` are timed twice, as in the Go driver. `"impl":
//! "tsmith"` is the encoding of one column: values or times. `"tsmith-block"` is a block with regular times, as snapshots
//! write it and cursors read it. Other encoders have only blocks.

use std::path::PathBuf;
use std::time::Duration;

use tsmith_codecs::influx::{Form, boolean, float, integer, string, time};
use tsmith_codecs::{BlockDecoder, BlockEncoder, Column, DynEncoder, FieldType, Values, ValuesRef};
use tsmith_engine::Registry;

use crate::error::Result;
use crate::inputs::{EPOCH, STEP, Shape, columns, read_columns};
use crate::json_line::JsonLine;
use crate::measure::best;

/// Values of one block.
const BLOCK_VALUES: usize = 1000;

/// Encodes and decodes every column in blocks of 1000 values.
///
/// Example: tsmith-bench codec --encoder tsm1,zstd
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of TSCOL1 files [default: generated columns].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Encoders to time.
    #[arg(long, value_delimiter = ',', default_value = "tsm1")]
    encoder: Vec<String>,
    /// Values per generated column.
    #[arg(long, default_value_t = 256_000)]
    n: usize,
    /// Number of repetitions; the fastest counts.
    #[arg(long, default_value_t = 9)]
    reps: usize,
    /// Minimum length of one repetition.
    #[arg(long, default_value = "10ms", value_parser = crate::duration::duration)]
    min: Duration,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Result {
    let shapes = args.dir.as_ref().map_or_else(|| Ok(columns(args.n)), |dir| read_columns(dir))?;
    for shape in &shapes {
        for encoder in &args.encoder {
            let form = match encoder.as_str() {
                "tsm1" => Some(Form::Streaming),
                "tsm1-batch" => Some(Form::Batch),
                _ => None,
            };
            if let Some(form) = form {
                let mut values = Bare::new(shape, form);
                report(args, shape, encoder, "tsmith", &mut values)?;
            }
            let entry = registry.find_encoder(encoder)?;
            report(args, shape, encoder, "tsmith-block", &mut Blocks::new(shape, entry.make()))?;
        }
    }
    Ok(())
}

/// Encodes and decodes block `at` of a column.
trait Codec {
    fn blocks(&self) -> usize;
    fn encode(&mut self, at: usize, out: &mut Vec<u8>) -> Result;
    /// Returns the number of values.
    fn decode(&mut self, block: &[u8]) -> Result<usize>;
}

fn report(args: &Args, shape: &Shape, encoder: &str, implementation: &str, codec: &mut impl Codec) -> Result {
    let mut encoded = vec![Vec::new(); codec.blocks()];
    for (at, block) in encoded.iter_mut().enumerate() {
        codec.encode(at, block)?;
        let count = codec.decode(block)?;
        assert_eq!(
            count, BLOCK_VALUES,
            "{}: block {at} decodes to as many values as it was given",
            shape.name
        );
    }
    let mut out = Vec::new();
    let encode_ns = best(args.reps, args.min, || {
        for at in 0..encoded.len() {
            out.clear();
            codec.encode(at, &mut out).expect("was encoded before");
        }
    });
    let decode_ns = best(args.reps, args.min, || {
        for block in &encoded {
            codec.decode(block).expect("was decoded before");
        }
    });
    let values = (encoded.len() * BLOCK_VALUES) as f64;
    let bytes: usize = encoded.iter().map(Vec::len).sum();
    JsonLine::of("codec", implementation)
        .with("column", shape.name.as_str())
        .with("encoder", encoder)
        .with("encode_ns", encode_ns / values)
        .with("decode_ns", decode_ns / values)
        .with("bytes_per_value", bytes as f64 / values)
        .with("encode_Mvals", values / encode_ns * 1000.0)
        .with("decode_Mvals", values / decode_ns * 1000.0)
        .print();
    Ok(())
}

/// Blocks of an encoder: values at regular times, or times with a constant value.
struct Blocks {
    encoder: DynEncoder,
    column: Column,
    out: Column,
}

impl Blocks {
    fn new(shape: &Shape, encoder: DynEncoder) -> Self {
        let len = shape.values.len();
        let (times, values) = match &shape.values {
            Values::Integer(times) if shape.is_time => (times.clone(), Values::Integer(vec![7; len])),
            values => ((0..len as i64).map(|at| EPOCH + at * STEP).collect(), values.clone()),
        };
        let column = Column::from_parts(times, values).expect("as many times as values");
        Self { encoder, column, out: Column::new(FieldType::Float) }
    }
}

impl Codec for Blocks {
    fn blocks(&self) -> usize {
        self.column.len() / BLOCK_VALUES
    }

    fn encode(&mut self, at: usize, out: &mut Vec<u8>) -> Result {
        let block = self.column.as_ref().slice(at * BLOCK_VALUES..(at + 1) * BLOCK_VALUES);
        Ok(self.encoder.encode(block, out)?)
    }

    fn decode(&mut self, block: &[u8]) -> Result<usize> {
        self.encoder.decode(block, BLOCK_VALUES, &mut self.out)?;
        Ok(self.out.len())
    }
}

/// The encodings of tsm1 for one column, without the block around them.
struct Bare<'a> {
    shape: &'a Shape,
    form: Form,
    words: Vec<u64>,
    strings: string::Scratch,
    out: Values,
}

impl<'a> Bare<'a> {
    fn new(shape: &'a Shape, form: Form) -> Self {
        let out = Values::new(shape.values.field_type());
        Self { shape, form, words: Vec::new(), strings: string::Scratch::default(), out }
    }
}

impl Codec for Bare<'_> {
    fn blocks(&self) -> usize {
        self.shape.values.len() / BLOCK_VALUES
    }

    fn encode(&mut self, at: usize, out: &mut Vec<u8>) -> Result {
        let range = at * BLOCK_VALUES..(at + 1) * BLOCK_VALUES;
        match self.shape.values.as_ref().slice(range) {
            ValuesRef::Integer(times) if self.shape.is_time => {
                time::encode(self.form, times, &mut self.words, out);
            }
            ValuesRef::Float(values) => float::encode(values, out)?,
            ValuesRef::Integer(values) => integer::encode(self.form, values, &mut self.words, out),
            ValuesRef::Unsigned(values) => {
                integer::encode_unsigned(self.form, values, &mut self.words, out);
            }
            ValuesRef::Boolean(values) => boolean::encode(self.form, values, out),
            ValuesRef::String(values) => string::encode(values, &mut self.strings, out)?,
        }
        Ok(())
    }

    fn decode(&mut self, block: &[u8]) -> Result<usize> {
        match &mut self.out {
            Values::Integer(times) if self.shape.is_time => time::decode(block, BLOCK_VALUES, times)?,
            Values::Float(values) => float::decode(block, BLOCK_VALUES, values)?,
            Values::Integer(values) => integer::decode(block, BLOCK_VALUES, values)?,
            Values::Unsigned(values) => integer::decode_unsigned(block, BLOCK_VALUES, values)?,
            Values::Boolean(values) => boolean::decode(block, BLOCK_VALUES, values)?,
            Values::String(values) => string::decode(block, BLOCK_VALUES, &mut self.strings, values)?,
        }
        Ok(self.out.len())
    }
}
