//! Common parts of programs that measure: options, exit codes, and the way from one to the other.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

/// The exit code of options that are not understood.
const USAGE: u8 = 64;

/// Options of such a program.
#[derive(Debug)]
pub struct Options<P> {
    /// The measurements.
    pub plan: P,
    /// `--json`: a report for scripts.
    pub json: bool,
    /// `--write FILE`: the documentation to write the table into.
    pub write: Option<PathBuf>,
}

impl<P> Options<P> {
    /// Reads arguments. `one` takes an argument of the plan, and a function that returns the argument's value; it
    /// returns false for an unknown argument.
    ///
    /// # Errors
    /// In words, if an argument is unknown or its value is missing or wrong.
    pub fn read(
        mut arguments: impl Iterator<Item = String>,
        plan: P,
        mut one: impl FnMut(&mut P, &str, &mut dyn FnMut() -> Result<String, String>) -> Result<bool, String>,
    ) -> Result<Self, String> {
        let mut options = Self { plan, json: false, write: None };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--json" => options.json = true,
                "--write" => options.write = Some(value()?.into()),
                other if one(&mut options.plan, other, &mut value)? => {}
                other => return Err(format!("{other} is unknown")),
            }
        }
        Ok(options)
    }
}

/// Reads an argument's number.
///
/// # Errors
/// If it is none.
pub fn number<T: FromStr>(argument: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{argument} takes a number"))
}

/// Reads an argument's number, from 1 to `most`.
///
/// # Errors
/// If it is none of these.
pub fn number_up_to(argument: &str, value: &str, most: u64) -> Result<u64, String> {
    match value.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("{argument} takes a number from 1 to {most}")),
    }
}

/// Runs a program of that name with its options. An error is printed, and ends it with the exit code `failed`.
pub fn measuring<P>(
    (name, usage): (&str, &str),
    options: Result<Options<P>, String>,
    failed: u8,
    run: impl FnOnce(&Options<P>) -> Result<ExitCode, String>,
) -> ExitCode {
    let options = match options {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{name}: {why}\n{usage}");
            return ExitCode::from(USAGE);
        }
    };
    run(&options).unwrap_or_else(|why| {
        eprintln!("{name}: {why}");
        ExitCode::from(failed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Options<u64>, String> {
        Options::read(text.split_whitespace().map(str::to_owned), 7, |plan, argument, value| {
            match argument {
                "--rounds" => *plan = number_up_to(argument, &value()?, 9)?,
                "--seed" => *plan = number(argument, &value()?)?,
                _ => return Ok(false),
            }
            Ok(true)
        })
    }

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        let good = read("--json --rounds 3 --write a/b.md").unwrap();
        assert_eq!((good.plan, good.json, good.write), (3, true, Some("a/b.md".into())));
        let none = read("").unwrap();
        assert_eq!((none.plan, none.json, none.write), (7, false, None));
        let table = [
            ("--rounds", "--rounds needs a value"),
            ("--write", "--write needs a value"),
            ("--rounds 0", "--rounds takes a number from 1 to 9"),
            ("--rounds 10", "--rounds takes a number from 1 to 9"),
            ("--seed x", "--seed takes a number"),
            ("--other", "--other is unknown"),
        ];
        for (wrong, why) in table {
            assert_eq!(read(wrong).unwrap_err(), why, "{wrong}");
        }
    }
}
