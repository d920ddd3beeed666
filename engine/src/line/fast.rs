//! Parses a plain line: `measurement,tag=value field=value,field=value time`.

use memchr::{memchr, memchr3};
use tsmith_codecs::{FieldSlot, Value};

use super::number::{plain_number, plain_time};
use super::{Parser, Schema, exact};

impl<S: Schema> Parser<'_, '_, S> {
    /// Parses the line at `at` if it is plain and valid. Returns where the next line begins. `None` means
    /// that the exact parser must read the line; the point may already be begun.
    #[inline]
    pub(super) fn fast_line(&mut self, at: usize) -> Option<usize> {
        let input = self.input;
        let line = input.get(at..)?;
        let space = memchr3(b' ', b'\\', b'\n', line)?;
        let key = &line[..space];
        if line[space] != b' ' {
            return None;
        }
        if !self.builder.begin_known(key) {
            if !exact::is_plain_key(key) {
                return None;
            }
            self.builder.begin(key.into());
        }
        let end = self.fast_fields(key, at + space + 1)?;
        let (time, next) = self.fast_time(end)?;
        self.commit(key, time).ok()?;
        Some(next)
    }

    /// Parses fields from `at` up to the next blank or line end.
    #[inline]
    fn fast_fields(&mut self, key: &[u8], mut at: usize) -> Option<usize> {
        let input = self.input;
        loop {
            let rest = &input[at..];
            let expected = self.builder.expected_field().filter(|name| is_named(rest, name)).map(<[u8]>::len);
            let name_len = match expected {
                Some(len) => len,
                None => plain_name(key, rest)?,
            };
            let (value, value_len) = self.fast_value(&rest[name_len + 1..])?;
            let slot = match expected {
                Some(_) => self.builder.field_as_expected(value),
                None => self.builder.plain_field(rest[..name_len].into(), value),
            };
            if slot.ok()? == FieldSlot::New {
                self.fresh.push((rest[..name_len].into(), value.field_type()));
            }
            at += name_len + 1 + value_len;
            match input.get(at) {
                Some(b',') => at += 1,
                Some(b' ' | b'\n') | None => return Some(at),
                Some(_) => return None,
            }
        }
    }

    #[inline]
    fn fast_value<'t>(&self, text: &'t [u8]) -> Option<(Value<'t>, usize)> {
        match *text.first()? {
            b'0'..=b'9' | b'-' | b'.' => {
                plain_number(text, self.options.unsigned).or_else(|| self.long_number(text))
            }
            b'"' => {
                let inner = &text[1..];
                // The exact parser decides where a line ends if a string in it contains a line end.
                let end = memchr3(b'"', b'\\', b'\n', inner)?;
                (inner[end] == b'"').then_some((Value::String(&inner[..end]), end + 2))
            }
            _ => {
                let end = token_end(text);
                Some((Value::Boolean(exact::boolean(&text[..end])?), end))
            }
        }
    }

    #[cold]
    fn long_number(&self, text: &[u8]) -> Option<(Value<'static>, usize)> {
        let end = token_end(text);
        let value = exact::checked_number(&text[..end], self.options.unsigned).ok()?;
        Some((value, end))
    }

    /// Parses the time at the blank or line end at `at`. Returns it with the start of the next line.
    #[inline]
    fn fast_time(&self, at: usize) -> Option<(i64, usize)> {
        let rest = self.input.get(at + 1..).unwrap_or_default();
        if self.input.get(at) != Some(&b' ') {
            return Some((self.default_time, at + 1));
        }
        let (time, len) = plain_time(rest)?;
        match rest.get(len) {
            Some(b'\n') | None => Some((self.options.scale(time).ok()?, at + 1 + len + 1)),
            Some(_) => None,
        }
    }
}

/// Where the number or boolean at the start of `text` ends.
fn token_end(text: &[u8]) -> usize {
    text.iter().position(|b| matches!(b, b',' | b' ' | b'\n')).unwrap_or(text.len())
}

/// Whether `text` begins with `name=`.
#[inline]
fn is_named(text: &[u8], name: &[u8]) -> bool {
    text.len() > name.len() && text[name.len()] == b'=' && text[..name.len()] == *name
}

/// Length of the plain field name at the start of `text`.
fn plain_name(key: &[u8], text: &[u8]) -> Option<usize> {
    let len = memchr(b'=', text)?;
    let name = &text[..len];
    let plain = !name.iter().any(|b| matches!(b, b',' | b' ' | b'"' | b'\\' | b'\n' | b'\t' | 0));
    (plain && !name.is_empty() && name != b"time" && exact::fits(key, name)).then_some(len)
}
