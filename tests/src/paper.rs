//! What the programs that measure write into the documentation.

/// Puts `table` between the markers (begin, end) of `text`, in place of what is there.
///
/// # Errors
/// If a marker is missing.
pub fn replace_between(text: &str, (begin, end): (&str, &str), table: &str) -> Result<String, String> {
    let (head, rest) = text.split_once(begin).ok_or_else(|| format!("it has no {begin}"))?;
    let (_, tail) = rest.split_once(end).ok_or_else(|| format!("it has no {end} after {begin}"))?;
    Ok(format!("{head}{begin}\n{table}{end}{tail}"))
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
