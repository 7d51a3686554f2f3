//! Tables and pictures in the documentation, written by the programs that measure.

use std::path::Path;

use serde::Serialize;

/// Prints a report: as JSON for scripts, else its table.
pub fn print_report(report: &impl Serialize, table: &str, json: bool) {
    match serde_json::to_string_pretty(report) {
        Ok(text) if json => println!("{text}"),
        Ok(_) | Err(_) => print!("{table}"),
    }
}

/// Writes `table` into a file, in place of the text between its markers (begin, end).
///
/// # Errors
/// If the file cannot be read or written, or a marker is missing.
pub fn write_between(file: &Path, markers: (&str, &str), table: &str) -> Result<(), String> {
    let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
    let replaced = read.and_then(|text| replace_between(&text, markers, table));
    let written = replaced.and_then(|text| std::fs::write(file, text).map_err(|error| error.to_string()));
    written.map_err(|why| format!("{}: {why}", file.display()))
}

/// Writes a picture next to a file.
///
/// # Errors
/// If it cannot be written.
pub fn write_beside(file: &Path, name: &str, picture: &str) -> Result<(), String> {
    let file = file.with_file_name(name);
    std::fs::write(&file, picture).map_err(|error| format!("{}: {error}", file.display()))
}

fn replace_between(text: &str, (begin, end): (&str, &str), table: &str) -> Result<String, String> {
    let (head, rest) = text.split_once(begin).ok_or_else(|| format!("it has no {begin}"))?;
    let (_, tail) = rest.split_once(end).ok_or_else(|| format!("it has no {end} after {begin}"))?;
    Ok(format!("{head}{begin}\n{table}{end}{tail}"))
}

/// A picture of that size, in pixels, on white.
#[must_use]
pub(crate) fn svg(width: f64, height: f64, font_size: u32, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"{font_size}\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

/// Processor, cores and kernel, as Linux names them.
#[must_use]
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{cores} cores of {}, Linux {}",
        model.unwrap_or("an unnamed processor"),
        read("/proc/sys/kernel/osrelease").trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_replaces_the_one_between_the_markers() {
        let markers = ("<begin>", "<end>");
        let text = "before <begin>\nold\n<end> after";
        assert_eq!(replace_between(text, markers, "new\n"), Ok("before <begin>\nnew\n<end> after".to_owned()));
        assert!(replace_between("none", markers, "new").is_err());
    }
}
