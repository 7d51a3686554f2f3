//! The modules of a crate by its files: children, items, and the paths that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::imports::{Binding, Import, imports};
use super::tokens::{Token, closing, item_end, tokens};

/// A module. Tests in it are left out.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// The names of the modules that it is in, and its own; none of the root.
    pub(super) path: Vec<String>,
    pub(super) file: PathBuf,
    pub(super) parent: Option<usize>,
    pub(super) children: BTreeMap<String, usize>,
    pub(super) items: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
}

/// Reads a crate, its root first.
pub(super) fn read(root: &Path) -> Result<Vec<Module>, String> {
    let mut reader = Reader { modules: vec![Module { file: root.to_owned(), ..Module::default() }] };
    let folder = root.parent().unwrap_or(root).to_owned();
    reader.file(0, &folder)?;
    Ok(reader.modules)
}

struct Reader {
    modules: Vec<Module>,
}

/// The attributes and visibility before an item.
#[derive(Default)]
struct Attributes {
    /// The file of a module, and whether it is in another's place where a feature is off.
    path: Option<(String, bool)>,
}

impl Reader {
    /// Reads a module from its file; the files of its children are in `folder`.
    fn file(&mut self, module: usize, folder: &Path) -> Result<(), String> {
        let file = self.modules[module].file.clone();
        let source = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        self.items(module, &tokens(&source), folder)
    }

    /// Reads the contents of a module.
    fn items(&mut self, module: usize, tokens: &[Token<'_>], folder: &Path) -> Result<(), String> {
        let (mut at, mut depth) = (0_usize, 0_usize);
        let mut attributes = Attributes::default();
        while let Some(token) = tokens.get(at) {
            let next = tokens.get(at + 1).map_or("", |next| next.text);
            match token.text {
                "#" if matches!(next, "[" | "!") => {
                    let open = if next == "!" { at + 2 } else { at + 1 };
                    let end = closing(tokens, open);
                    let attribute = tokens.get(open + 1..end).unwrap_or_default();
                    at = end + 1;
                    if is_for_tests(attribute) {
                        if next == "!" {
                            return Ok(());
                        }
                        at = behind_item(tokens, at);
                        attributes = Attributes::default();
                    } else {
                        self.attribute(module, attribute, &mut attributes);
                    }
                    continue;
                }
                "mod" => at = self.child(module, tokens, at, folder, &std::mem::take(&mut attributes))?,
                // Not the bound of a type.
                "use" if next != "<" => {
                    let end = (at..tokens.len()).find(|end| tokens[*end].text == ";").unwrap_or(tokens.len());
                    self.modules[module].imports.extend(imports(&tokens[at + 1..end]));
                    at = end;
                }
                "macro_rules" if next == "!" => at = item_end(tokens, at) - 1,
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" if depth == 0 => {
                    self.modules[module].items.insert(next.to_owned());
                }
                _ if next == "::" && token.is_word() => at = self.inline(module, tokens, at),
                _ => {}
            }
            at += 1;
        }
        Ok(())
    }

    /// Takes a path from where it begins; the place of its last token.
    fn inline(&mut self, module: usize, tokens: &[Token<'_>], begin: usize) -> usize {
        let (mut path, mut at) = (vec![tokens[begin].text.to_owned()], begin);
        while let [sign, word, ..] = &tokens[at + 1..]
            && sign.text == "::"
            && word.is_word()
        {
            path.push(word.text.to_owned());
            at += 2;
        }
        self.modules[module].imports.push(Import { path, binding: Binding::Inline, line: tokens[begin].line });
        at
    }

    /// Takes an attribute: the file of a module, and paths in strings, as serde has them.
    fn attribute(&mut self, module: usize, attribute: &[Token<'_>], attributes: &mut Attributes) {
        let first = attribute.first().map_or("", |first| first.text);
        for (at, token) in attribute.iter().enumerate() {
            let text = token.text.trim_matches('"');
            if at >= 2 && attribute[at - 2].text == "path" && matches!(first, "path" | "cfg_attr") {
                attributes.path = Some((text.to_owned(), first == "cfg_attr"));
            } else if token.text.starts_with('"') && text.contains("::") && !text.contains(' ') {
                let path = text.split("::").map(str::to_owned).collect();
                self.modules[module].imports.push(Import { path, binding: Binding::Inline, line: token.line });
            }
        }
    }

    /// Reads a child module; the place of its last token.
    fn child(
        &mut self,
        module: usize,
        tokens: &[Token<'_>],
        at: usize,
        folder: &Path,
        attributes: &Attributes,
    ) -> Result<usize, String> {
        let name = tokens.get(at + 1).map_or("", |name| name.text);
        let below = folder.join(name);
        let own_file = self.modules[module].file.clone();
        if tokens.get(at + 2).is_some_and(|sign| sign.text == "{") {
            let end = closing(tokens, at + 2);
            let child = self.add(module, name, own_file, true);
            self.items(child, tokens.get(at + 3..end).unwrap_or_default(), &below)?;
            return Ok(end);
        }
        let beside = own_file.parent().unwrap_or(folder).to_owned();
        let named = attributes.path.as_ref().map(|(path, twin)| (beside.join(path), *twin));
        if let Some((file, twin)) = &named {
            let child = self.add(module, name, file.clone(), !twin);
            self.file(child, &beside)?;
        }
        if named.is_none_or(|(_, twin)| twin) {
            let file = below.with_extension("rs");
            let file = if file.exists() { file } else { below.join("mod.rs") };
            let child = self.add(module, name, file, true);
            self.file(child, &below)?;
        }
        Ok(at + 2)
    }

    /// A new module; paths find it in its parent unless it is only the twin of one.
    fn add(&mut self, parent: usize, name: &str, file: PathBuf, found: bool) -> usize {
        let path = [&self.modules[parent].path[..], &[name.to_owned()]].concat();
        let child = self.modules.len();
        self.modules.push(Module { path, file, parent: Some(parent), ..Module::default() });
        if found {
            self.modules[parent].children.insert(name.to_owned(), child);
        }
        child
    }
}

/// True if the item after the attribute is only built for tests.
fn is_for_tests(attribute: &[Token<'_>]) -> bool {
    let text: String = attribute.iter().map(|token| token.text).collect();
    text == "test" || ["cfg(test)", "cfg(all(test", "tokio::test"].iter().any(|begin| text.starts_with(begin))
}

/// The place behind an item, at whose attributes `at` may be.
fn behind_item(tokens: &[Token<'_>], at: usize) -> usize {
    let mut at = at;
    while tokens.get(at).is_some_and(|token| token.text == "#") {
        at = closing(tokens, at + 1) + 1;
    }
    item_end(tokens, at)
}
