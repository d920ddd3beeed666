//! The encoding of a block, as far as its bytes show it.

use tsmith_codecs::{Decoders, EncoderEntry, FieldType, influx};

/// The encoder of a block, and the forms of its times and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Encoding {
    /// The encoder, as in `--encoder`; `unknown` if no encoder uses the first byte.
    pub(crate) encoder: &'static str,
    /// The form of the times, if the encoder has several.
    pub(crate) times: &'static str,
    /// The form of the values, if the encoder has several.
    pub(crate) values: &'static str,
}

impl Encoding {
    /// The encoding of a block.
    pub(crate) fn of(block: &[u8], decoders: &Decoders) -> Self {
        let encoder = decoders.entry_of(block).map_or("unknown", EncoderEntry::name);
        let (times, values) = if encoder == "tsm1" { tsm1(block).unwrap_or(("?", "?")) } else { ("-", "-") };
        Self { encoder, times, values }
    }
}

/// `tsm1 constant gorilla`.
impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.encoder, self.times, self.values)
    }
}

/// The forms of an InfluxDB block. Times and values each have theirs in the upper half of their first byte.
fn tsm1(block: &[u8]) -> Option<(&'static str, &'static str)> {
    let (&tag, rest) = block.split_first()?;
    let length_bytes = rest.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let length = rest
        .iter()
        .take(length_bytes.min(9))
        .rev()
        .fold(0_usize, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
    let (times, values) = rest.get(length_bytes..)?.split_at_checked(length)?;
    let form = |part: &[u8]| match part.first().map(|byte| byte >> 4) {
        Some(0) => "raw",
        Some(1) => "packed",
        Some(2) => "constant",
        _ => "?",
    };
    let values = match influx::field_type(tag)? {
        FieldType::Float => "gorilla",
        FieldType::Integer | FieldType::Unsigned => form(values),
        FieldType::Boolean => "bits",
        FieldType::String => "snappy",
    };
    Some((form(times), values))
}

#[cfg(test)]
mod tests {
    use tsmith_codecs::{BlockEncoder, Column, Raw, Tsm1, Value};

    use super::*;

    #[test]
    fn the_encoding_of_a_block_is_recognized() {
        let mut column = Column::new(FieldType::Integer);
        for (at, time) in [0, 10, 20, 31].into_iter().enumerate() {
            column.push(time, Value::Integer(at as i64 * 7)).expect("one type");
        }
        let (mut block, decoders) = (Vec::new(), Decoders::standard());
        Tsm1::default().encode(column.as_ref(), &mut block).expect("encodes");
        assert_eq!(Encoding::of(&block, &decoders).to_string(), "tsm1 packed constant");
        block.clear();
        Raw.encode(column.as_ref(), &mut block).expect("encodes");
        assert_eq!(Encoding::of(&block, &decoders).to_string(), "raw - -");
        assert_eq!(Encoding::of(&[0xee], &decoders).encoder, "unknown");
        assert_eq!(Encoding::of(&[0, 0x80], &decoders).to_string(), "tsm1 ? ?");
    }
}
