//! Modules of one folder that import each other.
//!
//! For each module, its children are looked at, each with all that is below it. A child that imports its own parent is no
//! part of a circle: that is how a type's methods are divided among files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::crates::Crate;

/// Modules that import each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    /// The module that they are in; empty for the crate itself.
    pub folder: String,
    /// Their names.
    pub modules: BTreeSet<String>,
    /// The imports: from, to, and where.
    pub arrows: Vec<String>,
}

/// Imports of siblings per child of a module, with their places.
type Siblings = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// The circles in the crate whose root is that file.
///
/// # Errors
/// A file that cannot be read.
pub fn circles(root: &Path) -> Result<Vec<Circle>, String> {
    let read = Crate::read(root)?;
    let mut folders: BTreeMap<String, Siblings> = BTreeMap::new();
    for (from, module) in read.modules.iter().enumerate() {
        for import in &module.imports {
            let Some(to) = read.home(from, &import.path) else { continue };
            let to = &read.modules[to].path;
            let common = module.path.iter().zip(to).take_while(|(a, b)| a == b).count();
            // None of both is in the other.
            let (Some(a), Some(b)) = (module.path.get(common), to.get(common)) else { continue };
            let place = format!("{}:{} {}", module.file.display(), import.line, import.path.join("::"));
            let siblings = folders.entry(to[..common].join("::")).or_default();
            siblings.entry(a.clone()).or_default().entry(b.clone()).or_default().push(place);
        }
    }
    let found = folders.into_iter().flat_map(|(folder, siblings)| {
        let groups = groups(&siblings).into_iter();
        groups.map(|modules| circle(&folder, &siblings, modules)).collect::<Vec<_>>()
    });
    Ok(found.collect())
}

/// The siblings that reach each other.
fn groups(siblings: &Siblings) -> BTreeSet<BTreeSet<String>> {
    let reach = |from: &String| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            for to in siblings.get(module).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(to.clone()) {
                    next.push(to);
                }
            }
        }
        reached
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = siblings.keys().map(|module| (module, reach(module))).collect();
    let mutual = |module: &String| {
        let back = |other: &&String| reached.get(other).is_some_and(|it| it.contains(module));
        reached[module].iter().filter(back).cloned().collect::<BTreeSet<_>>()
    };
    siblings.keys().map(mutual).filter(|group| group.len() > 1).collect()
}

fn circle(folder: &str, siblings: &Siblings, modules: BTreeSet<String>) -> Circle {
    let mut arrows = Vec::new();
    for (from, to) in siblings.iter().filter(|(from, _)| modules.contains(*from)) {
        for (to, places) in to.iter().filter(|(to, _)| modules.contains(*to)) {
            arrows.push(format!("{from} -> {to}: {}", places.join("; ")));
        }
    }
    Circle { folder: folder.to_owned(), modules, arrows }
}
