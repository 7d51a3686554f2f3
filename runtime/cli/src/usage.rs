//! Errors in the command line: one line each, which names the command whose help explains it.

use std::error::Error;
use std::num::{IntErrorKind, ParseIntError};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};

use super::{Cli, EXIT_USAGE, Failure};

/// Prints help to stdout unchanged; an error becomes one line.
pub(super) fn report(error: clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        // A command without its subcommand: help is the best answer.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(EXIT_USAGE)
        }
        _ => {
            let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
            Failure::with_code(line(error, arguments), EXIT_USAGE).report()
        }
    }
}

/// The error of these arguments in one line, without usage and tips.
pub(super) fn line(mut error: clap::Error, arguments: impl Iterator<Item = String>) -> String {
    let root = Cli::command();
    let path = path(&root, arguments);
    let named = path.iter().map(|command| command.get_name()).collect::<Vec<_>>().join(" ");
    // Tips such as "to pass '--config' as a value, use '-- --config'" mislead: hardly any value begins with a dash.
    error.remove(ContextKind::Suggested);
    error.remove(ContextKind::Usage);
    let similar: Vec<String> =
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue]
            .into_iter()
            .filter_map(|kind| error.remove(kind))
            .flat_map(words)
            .collect();
    let told = not_a_number(&error).unwrap_or_else(|| error.to_string());
    // Its last paragraph names the option for help.
    let told = told.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let mut line = told.split_whitespace().collect::<Vec<_>>().join(" ");
    if is_misplaced(&error, &path) {
        line += &format!("; it belongs after `{named}`");
    } else if !similar.is_empty() {
        line += &format!("; did you mean {}?", similar.join(" or "));
    }
    format!("{line} (see `{named} --help`)")
}

fn words(value: ContextValue) -> Vec<String> {
    match value {
        ContextValue::String(word) => vec![format!("'{word}'")],
        ContextValue::Strings(words) => words.into_iter().map(|word| format!("'{word}'")).collect(),
        _ => Vec::new(),
    }
}

/// In place of "invalid digit found in string".
fn not_a_number(error: &clap::Error) -> Option<String> {
    let cause = error.source()?.downcast_ref::<ParseIntError>()?;
    let (Some(ContextValue::String(argument)), Some(ContextValue::String(value))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
    else {
        return None;
    };
    let why = match cause.kind() {
        IntErrorKind::PosOverflow => "the number is too large",
        _ => "use a whole number of 0 or more",
    };
    Some(format!("invalid value '{value}' for '{argument}': {why}"))
}

/// True if the unknown option is one of the command's and was given before it.
fn is_misplaced(error: &clap::Error, path: &[&Command]) -> bool {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return false };
    let Some(option) = argument.strip_prefix("--").filter(|_| error.kind() == ErrorKind::UnknownArgument) else {
        return false;
    };
    path.iter().any(|command| command.get_arguments().any(|known| known.get_long() == Some(option)))
}

/// The command that these arguments name, below its parents: `baton`, `queue`, `create`.
fn path(root: &Command, arguments: impl Iterator<Item = String>) -> Vec<&Command> {
    let (mut at, mut path) = (root, vec![root]);
    for argument in arguments {
        if let Some(found) = at.find_subcommand(&argument) {
            path.push(found);
            at = found;
        }
    }
    path
}
