//! Rust sources as tokens, without comments; a string literal is one token.

/// A word, a sign or a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    /// From 1.
    pub(super) line: usize,
}

impl Token<'_> {
    /// True if it can be a segment of a path.
    pub(super) fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// The tokens of a source.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < source.len() {
        let rest = &source[at..];
        let text = &rest[..length(rest)];
        if !text.starts_with(char::is_whitespace) && !text.starts_with("//") && !text.starts_with("/*") {
            tokens.push(Token { text, line });
        }
        line += text.matches('\n').count();
        at += text.len();
    }
    tokens
}

/// The length of the token, comment or blank at the beginning of `rest`.
fn length(rest: &str) -> usize {
    let run = |belongs: fn(char) -> bool| rest.find(|c: char| !belongs(c)).unwrap_or(rest.len());
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return comment(rest);
    }
    if let Some(length) = raw_string(rest).or_else(|| string(rest)).or_else(|| character(rest)) {
        return length;
    }
    match rest.chars().next() {
        Some(first) if first.is_alphanumeric() || first == '_' => run(|c| c.is_alphanumeric() || c == '_'),
        _ if rest.starts_with("::") => 2,
        first => first.map_or(1, char::len_utf8),
    }
}

/// Comments may hold comments.
fn comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let marks = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('r')?;
    let hashes = marks.bytes().take_while(|byte| *byte == b'#').count();
    let body = marks[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(rest.len() - body.len() + length)
}

fn string(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('"')?;
    let mut escaped = false;
    let end = body.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    Some(rest.len() - body.len() + end.map_or(body.len(), |end| end + 1))
}

/// A character, and not a lifetime.
fn character(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    let first = body.chars().next()?;
    // An escaped character may be a quote.
    let skipped = if first == '\\' { 2 } else { first.len_utf8() };
    let end = if first == '\\' { body.get(skipped..)?.find('\'')? } else { 0 };
    body.get(skipped + end..)?.starts_with('\'').then_some(1 + skipped + end + 1)
}

/// The place of the bracket that closes the one at `open`.
pub(super) fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

/// The place behind the item, field or arm that begins at `at`.
pub(super) fn item_end(tokens: &[Token<'_>], at: usize) -> usize {
    let mut at = at;
    while let Some(token) = tokens.get(at) {
        match token.text {
            ";" | "," => return at + 1,
            "{" => return closing(tokens, at) + 1,
            "(" | "[" => at = closing(tokens, at) + 1,
            ")" | "]" | "}" => return at,
            _ => at += 1,
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_left_out_and_literals_are_in_one_piece() {
        let source = "a::b /* c /* d */ */ // e\n\"f \\\" // g\" r#\"h \" i\"# '\\'' '\"' '{' &'static j";
        let texts: Vec<_> = tokens(source).iter().map(|token| token.text).collect();
        let rest = ["\"f \\\" // g\"", "r#\"h \" i\"#", "'\\''", "'\"'", "'{'", "&", "'", "static", "j"];
        assert_eq!(texts, [&["a", "::", "b"][..], &rest].concat());
        assert_eq!(tokens(source).last().map(|token| token.line), Some(2));
    }
}
