//! Engines opened by the names of their parts: one type for all tests.
#![allow(dead_code, reason = "each test uses some of these")]

use tsmith_engine::{Dirs, DynEngine, Options, Parts, Registry, Result};
use tsmith_wal::fs::{Fs, OsFs};

/// Opens an engine with InfluxDB's parts.
pub(crate) fn open(dirs: Dirs, options: Options) -> Result<DynEngine> {
    Registry::standard().open_on(OsFs, &Parts::default(), dirs, options)
}

/// The same on another file system.
pub(crate) fn open_on<F: Fs>(fs: F, dirs: Dirs, options: Options) -> Result<DynEngine<F>> {
    open_parts(fs, "ring/file/tsm1", dirs, options)
}

/// Opens an engine with the parts of these names.
pub(crate) fn open_parts<F: Fs>(fs: F, names: &str, dirs: Dirs, options: Options) -> Result<DynEngine<F>> {
    let names = names.parse().expect("three names");
    Registry::standard_on(&fs).open_on(fs, &names, dirs, options)
}
