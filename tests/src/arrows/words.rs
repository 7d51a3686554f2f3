//! Places where the sources name a crate.

use std::fs;
use std::path::Path;

use super::tokens::tokens;

/// The places in the Rust files below `folder`, as `file:line` from there, that name `word`, in tests too. Comments and
/// strings do not count.
///
/// # Errors
/// A file that cannot be read.
pub fn uses(folder: &Path, word: &str) -> Result<Vec<String>, String> {
    let mut places = Vec::new();
    look(folder, folder, word, &mut places)?;
    places.sort();
    Ok(places)
}

fn look(root: &Path, folder: &Path, word: &str, places: &mut Vec<String>) -> Result<(), String> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, error))? {
        let path = entry.map_err(|error| failed(folder, error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                look(root, &path, word, places)?;
            }
        } else if name.ends_with(".rs") {
            let source = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
            let place = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            let found = tokens(&source);
            places.extend(found.iter().filter(|it| it.text == word).map(|it| format!("{place}:{}", it.line)));
        }
    }
    Ok(())
}
