//! Flags that name parts of the registry.

use clap::builder::{PossibleValuesParser, ValueParser};
use clap::{Arg, Command};
use tsmith_engine::{Parts, Registry};

/// The same command, whose flags `--storer`, `--log`, `--encoder` and `--reference` take the names of `registry`. Help and
/// errors list them.
pub(crate) fn with_parts(command: Command, registry: &Registry) -> Command {
    let takes = |arg: Arg| match arg.get_id().as_str() {
        "storer" => arg.value_parser(one_of(registry.storers().iter().map(|entry| entry.name()))),
        "log" => arg.value_parser(one_of(registry.logs().iter().map(|entry| entry.name()))),
        "encoder" => arg.value_parser(one_of(registry.encoders().iter().map(|entry| entry.name()))),
        "reference" => arg.value_parser(parts(registry)),
        _ => arg,
    };
    command.mut_args(takes).mut_subcommands(|command| with_parts(command, registry))
}

fn one_of(names: impl Iterator<Item = &'static str>) -> PossibleValuesParser {
    PossibleValuesParser::new(names.collect::<Vec<_>>())
}

/// `ring/file/tsm1`.
fn parts(registry: &Registry) -> ValueParser {
    let registry = registry.clone();
    let parse = move |text: &str| {
        let parts: Parts = text.parse()?;
        registry.check(&parts).map_err(|error| error.kind().to_string())?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(parts)
    };
    ValueParser::new(parse)
}
