//! Flags that name parts of the registry.

use clap::builder::{PossibleValuesParser, ValueParser};
use clap::{Arg, Command};
use tsmith_engine::{Parts, Registry};

use crate::program::Bench;

/// Makes the flags `--storer`, `--log`, `--encoder` and `--reference` take the names of the registry, and `--store` those of
/// the stores. Help and errors list these names.
pub(crate) fn with_parts(command: Command, bench: &Bench) -> Command {
    let registry = &bench.registry;
    let parts_of = registry.names();
    let takes = |arg: Arg| {
        let flag = arg.get_id().as_str();
        if flag == "reference" {
            return arg.value_parser(parts(registry));
        }
        if flag == "store" {
            let names: Vec<&str> = bench.stores.iter().map(|store| store.name()).collect();
            return arg.hide(names.is_empty()).value_parser(PossibleValuesParser::new(names));
        }
        let names = parts_of.iter().find(|(part, _)| *part == flag).map(|(_, names)| names);
        match names {
            Some(names) => arg.value_parser(PossibleValuesParser::new(names.iter().map(|(name, _)| *name))),
            None => arg,
        }
    };
    command.mut_args(takes).mut_subcommands(|command| with_parts(command, bench))
}

/// Parses parts such as `ring/file/tsm1`.
fn parts(registry: &Registry) -> ValueParser {
    let registry = registry.clone();
    let parse = move |text: &str| {
        let parts: Parts = text.parse()?;
        let missing: Vec<_> = registry.missing(&parts).iter().map(|error| error.kind().to_string()).collect();
        if !missing.is_empty() {
            return Err(missing.join("; ").into());
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(parts)
    };
    ValueParser::new(parse)
}
