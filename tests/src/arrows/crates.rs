//! A crate's modules, and the places where the names in paths are defined.

use std::path::Path;

use super::imports::Binding;
use super::modules::{Module, read};

/// Maximum of re-exports that are followed.
const DEPTH: usize = 16;

/// A crate. Its first module is the root.
#[derive(Debug)]
pub(super) struct Crate {
    pub(super) modules: Vec<Module>,
}

/// The target of a name.
#[derive(Debug, Clone, Copy)]
enum NameTarget {
    Module(usize),
    /// Something in that module.
    Item(usize),
    /// Something of another crate.
    Elsewhere,
}

impl Crate {
    /// Reads a crate from the file of its root.
    pub(super) fn read(root: &Path) -> Result<Self, String> {
        Ok(Self { modules: read(root)? })
    }

    /// The module that a path names, or that defines its item; `None` if that is in another crate.
    pub(super) fn home(&self, from: usize, path: &[String]) -> Option<usize> {
        match self.resolve(from, path, 0)? {
            NameTarget::Module(module) | NameTarget::Item(module) => Some(module),
            NameTarget::Elsewhere => None,
        }
    }

    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<NameTarget> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(0, rest, depth),
            "self" => self.walk(from, rest, depth),
            "super" => self.walk(self.modules[from].parent?, rest, depth),
            name => match self.lookup(from, name, depth)? {
                NameTarget::Module(module) => self.walk(module, rest, depth),
                found => Some(found),
            },
        }
    }

    fn walk(&self, from: usize, path: &[String], depth: usize) -> Option<NameTarget> {
        let mut module = from;
        for name in path {
            module = match name.as_str() {
                "self" => module,
                "super" => self.modules[module].parent?,
                name => match self.lookup(module, name, depth) {
                    Some(NameTarget::Module(child)) => child,
                    Some(found) => return Some(found),
                    // A macro made it.
                    None => return Some(NameTarget::Item(module)),
                },
            };
        }
        Some(NameTarget::Module(module))
    }

    fn lookup(&self, module: usize, name: &str, depth: usize) -> Option<NameTarget> {
        let Module { children, items, imports, .. } = &self.modules[module];
        if let Some(child) = children.get(name) {
            return Some(NameTarget::Module(*child));
        }
        if items.contains(name) {
            return Some(NameTarget::Item(module));
        }
        if depth > DEPTH {
            return None;
        }
        let named = imports.iter().filter(|import| matches!(&import.binding, Binding::Name(bound) if bound == name));
        if let Some(import) = named.into_iter().next() {
            let other_crate = import.path == [name];
            return Some(
                self.resolve(module, &import.path, depth + 1).filter(|_| !other_crate).unwrap_or(NameTarget::Elsewhere),
            );
        }
        let all = imports.iter().filter(|import| import.binding == Binding::All);
        all.into_iter().find_map(|import| match self.resolve(module, &import.path, depth + 1)? {
            NameTarget::Module(other) if other != module => self.lookup(other, name, depth + 1),
            NameTarget::Module(_) | NameTarget::Item(_) | NameTarget::Elsewhere => None,
        })
    }
}
