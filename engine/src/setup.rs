//! Parts and options by name, as on a command line.

use std::time::Duration;

use tsmith_wal::fs::OsFs;
use tsmith_wal::{Durability, RecoveryMode};

use crate::driver::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::{Dirs, FieldTyping, Manifest, Options, Parts, Registry, WriteOrder};

/// Parts and options of an engine, each set by the name of its flag.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The storer's name. `None` keeps the one in the manifest, or uses the default.
    pub storer: Option<String>,
    /// The log's name; `None` as for the storer.
    pub log: Option<String>,
    /// The encoder's name; `None` as for the storer.
    pub encoder: Option<String>,
    /// All other options.
    pub options: Options,
}

const ORDERS: &[(&str, WriteOrder)] =
    &[("sync-then-publish", WriteOrder::SyncThenPublish), ("publish-then-sync", WriteOrder::PublishThenSync)];

const DURABILITIES: &[(&str, Durability)] =
    &[("each", Durability::Each), ("group", Durability::Group), ("none", Durability::None)];

const RECOVERIES: &[(&str, RecoveryMode)] =
    &[("strict", RecoveryMode::Strict), ("salvage", RecoveryMode::Salvage)];

const SWITCHES: &[(&str, bool)] = &[("on", true), ("off", false)];

impl Setup {
    /// The option flags and their values. `durability` also accepts `interval:DURATION`, for example
    /// `interval:100ms`. The flags `storer`, `log` and `encoder` take names of a [`Registry`].
    pub fn flags() -> Vec<(&'static str, Vec<&'static str>)> {
        fn names<T>(list: &[(&'static str, T)]) -> Vec<&'static str> {
            list.iter().map(|(name, _)| *name).collect()
        }
        vec![
            ("order", names(ORDERS)),
            ("durability", names(DURABILITIES)),
            ("recovery", names(RECOVERIES)),
            ("types", names(FieldTyping::NAMES)),
            ("compaction", names(SWITCHES)),
        ]
    }

    /// Sets the option of `flag`, given without dashes.
    ///
    /// # Errors
    /// An unknown flag or value. The error lists the known ones. Names of parts are checked when the engine
    /// is opened.
    pub fn set(&mut self, flag: &str, value: &str) -> Result<()> {
        match flag {
            "storer" => self.storer = Some(value.to_owned()),
            "log" => self.log = Some(value.to_owned()),
            "encoder" => self.encoder = Some(value.to_owned()),
            _ => return self.set_option(flag, value),
        }
        Ok(())
    }

    fn set_option(&mut self, flag: &str, value: &str) -> Result<()> {
        let all = Self::flags();
        let Some((flag, known)) = all.into_iter().find(|(name, _)| *name == flag) else {
            let options = Self::flags().into_iter().map(|(name, _)| name);
            return Err(unknown(
                "option",
                flag,
                ["storer", "log", "encoder"].into_iter().chain(options).collect(),
            ));
        };
        let interval = value.strip_prefix("interval:").and_then(parse_duration);
        if let (Some(interval), "durability") = (interval, flag) {
            self.options.log.durability = Durability::Interval(interval);
            return Ok(());
        }
        if !known.contains(&value) {
            return Err(unknown(flag, value, known));
        }
        match flag {
            "order" => self.options.order = named(ORDERS, value),
            "durability" => self.options.log.durability = named(DURABILITIES, value),
            "recovery" => self.options.log.recovery = named(RECOVERIES, value),
            "compaction" => self.options.compact = named(SWITCHES, value),
            _ => self.options.typing = FieldTyping::from_name(value),
        }
        Ok(())
    }

    /// The parts for opening `dirs`: those set here, else those of the manifest, else the defaults.
    fn parts_for(&self, dirs: &Dirs) -> Result<Parts> {
        let base = Manifest::read(&OsFs, &dirs.data)?.map(|manifest| manifest.parts).unwrap_or_default();
        Ok(Parts {
            storer: self.storer.clone().unwrap_or(base.storer),
            log: self.log.clone().unwrap_or(base.log),
            encoder: self.encoder.clone().unwrap_or(base.encoder),
        })
    }

    /// Opens the engine of `dirs` with parts of `registry`.
    pub fn open(&self, registry: &Registry, dirs: Dirs) -> Result<Box<dyn Driver>> {
        registry.open(&self.parts_for(&dirs)?, dirs, self.options.clone())
    }
}

/// Parses `100ms`, `5s`, `10m` or `2h`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

fn named<T: Copy>(list: &[(&str, T)], name: &str) -> T {
    list.iter().find(|(known, _)| *known == name).map_or(list[0].1, |(_, value)| *value)
}

fn unknown(part: &'static str, asked: &str, known: Vec<&'static str>) -> Error {
    Error::new("read options", ErrorKind::UnknownPart { part, asked: asked.to_owned(), known })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_value_is_accepted() {
        for (flag, names) in Setup::flags() {
            for name in names {
                Setup::default().set(flag, name).unwrap_or_else(|error| panic!("{error}"));
            }
        }
        let mut setup = Setup::default();
        setup.set("durability", "interval:100ms").expect("an interval");
        assert_eq!(setup.options.log.durability, Durability::Interval(Duration::from_millis(100)));
        let error = setup.set("order", "random").expect_err("no such order");
        let ErrorKind::UnknownPart { part: "order", asked, known } = error.kind() else { panic!("{error}") };
        assert!(asked == "random" && known.contains(&"sync-then-publish"), "{error}");
    }
}
