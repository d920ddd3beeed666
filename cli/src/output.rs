//! Writes values as text: line protocol, CSV, JSON lines, or a table.
//!
//! A writer gets columns of one series at a time. It counts the values that its format cannot represent.

mod csv;
mod file;
mod jsonl;
mod lost;
mod lp;
mod out;
mod rows;
mod table;
mod text;

pub(crate) use out::{Destination, Out};
pub(crate) use rows::{Format, Rows};
pub(crate) use text::{Field, count, shown};
