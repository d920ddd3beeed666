//! The layout of `--help`: purpose, example, explanation, usage, then each option on one line.

use clap::Command;

const TEMPLATE: &str = "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

/// Moves the long description of `command` and its verbs above the usage line.
///
/// If a command has a long description, clap prints each option on two lines and more.
pub(crate) fn short(command: Command) -> Command {
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let command = match long.split_once("\n\n") {
        Some((_, rest)) => command.before_help(rest.to_owned()),
        None => command,
    };
    command.long_about(None).help_template(TEMPLATE).mut_subcommands(short)
}
