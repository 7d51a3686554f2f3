//! The paths in a `use`.

use super::tokens::Token;

/// Beginnings of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Binding {
    /// In place.
    Inline,
    /// By a `use`, under this name from then on.
    Name(String),
    /// By a `use` of all that is in it.
    All,
}

/// A path that a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) path: Vec<String>,
    pub(super) binding: Binding,
    pub(super) line: usize,
}

/// The paths of a `use`: `tokens` are those between it and its semicolon.
pub(super) fn imports(tokens: &[Token<'_>]) -> Vec<Import> {
    let mut imports = Vec::new();
    tree(tokens, &mut 0, &[], &mut imports);
    imports
}

fn tree(tokens: &[Token<'_>], at: &mut usize, prefix: &[String], imports: &mut Vec<Import>) {
    let (mut path, mut name) = (prefix.to_vec(), None);
    while let Some(token) = tokens.get(*at).filter(|token| !matches!(token.text, "," | "}")) {
        let line = token.line;
        *at += 1;
        match token.text {
            "::" => {}
            "*" => return imports.push(Import { path, binding: Binding::All, line }),
            "{" => {
                while tokens.get(*at).is_some_and(|token| token.text != "}") {
                    tree(tokens, at, &path, imports);
                    // Behind the comma.
                    *at += usize::from(tokens.get(*at).is_some_and(|token| token.text == ","));
                }
                *at += 1;
                return;
            }
            "as" => {
                name = tokens.get(*at).map(|alias| (alias.text.to_owned(), line));
                *at += 1;
            }
            "self" if !path.is_empty() => name = path.last().map(|last| (last.clone(), line)),
            word => {
                path.push(word.to_owned());
                name = Some((word.to_owned(), line));
            }
        }
    }
    if let Some((name, line)) = name {
        imports.push(Import { path, binding: Binding::Name(name), line });
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;

    #[test]
    fn each_leaf_of_a_tree_is_a_path() {
        let found = imports(&tokens("super::{a::{self, B as C}, d::*, E,}"));
        let words: Vec<_> = found.iter().map(|it| (it.path.join("::"), it.binding.clone())).collect();
        let named = |path: &str, name: &str| (path.to_owned(), Binding::Name(name.to_owned()));
        let all = ("super::d".to_owned(), Binding::All);
        assert_eq!(words, [named("super::a", "a"), named("super::a::B", "C"), all, named("super::E", "E")]);
    }
}
