//! Splits a stream of bytes into lines.

use bytes::{Bytes, BytesMut};

/// Splits at each newline; the newline is not part of the line, everything else is.
#[derive(Debug)]
pub(super) struct LineSplitter {
    rest: BytesMut,
    limit: usize,
}

/// A line that exceeds the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineTooLong {
    /// The limit, in bytes.
    pub(super) limit: usize,
}

impl LineSplitter {
    /// Splits lines of up to `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { rest: BytesMut::new(), limit }
    }

    /// Takes input; returns the complete lines.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Bytes>, LineTooLong> {
        let mut lines = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(&bytes[..end]);
            self.check()?;
            lines.push(self.rest.split().freeze());
            bytes = &bytes[end + 1..];
        }
        self.rest.extend_from_slice(bytes);
        self.check()?;
        Ok(lines)
    }

    /// Ends the stream: bytes after the last newline are a line.
    pub(super) fn finish(self) -> Option<Bytes> {
        (!self.rest.is_empty()).then(|| self.rest.freeze())
    }

    fn check(&self) -> Result<(), LineTooLong> {
        if self.rest.len() > self.limit { Err(LineTooLong { limit: self.limit }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_need_not_be_text_and_empty_lines_count() {
        let mut splitter = LineSplitter::new(10);
        let lines = splitter.push(b"a\r\n\n\xff\xfe\nlast").unwrap();
        assert_eq!(lines, [&b"a\r"[..], b"", b"\xff\xfe"]);
        assert_eq!(splitter.finish().as_deref(), Some(&b"last"[..]));
        assert_eq!(LineSplitter::new(10).finish(), None);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut splitter = LineSplitter::new(4);
        assert!(splitter.push(b"1234").is_ok());
        assert_eq!(splitter.push(b"5"), Err(LineTooLong { limit: 4 }));
        assert_eq!(LineSplitter::new(4).push(b"12345\n"), Err(LineTooLong { limit: 4 }));
    }

    proptest! {
        #[test]
        fn however_the_stream_is_cut_the_lines_are_the_same(text in "[ab\n]{0,60}", cuts in prop::collection::vec(0_usize..60, 0..6)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut splitter = LineSplitter::new(1000);
            let mut lines = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                lines.extend(splitter.push(&bytes[from..cut]).unwrap());
                from = cut;
            }
            lines.extend(splitter.finish());
            let expected: Vec<&[u8]> = text.lines().map(str::as_bytes).collect();
            prop_assert_eq!(lines.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>(), expected);
        }
    }
}
