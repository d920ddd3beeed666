//! Values as text: line protocol, CSV, JSON lines, and a table to look at.
//!
//! A writer gets columns of one series at a time and keeps account of what its format could not say.

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
