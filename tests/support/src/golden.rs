//! Golden bytes: encodings that are kept in a file, so that no format changes unnoticed.
//!
//! Bytes that an older program wrote or sends must mean the same to a newer one. A test encodes one value of each
//! variant and compares the bytes with those in the file; a variant that has no value does not compile.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::fs;
use std::path::Path;

/// Set to `write`: the file is written instead of compared.
const SWITCH: &str = "BATON_GOLDEN";

/// The value of each variant of an enum, with its name. A variant that is missing does not compile.
#[macro_export]
macro_rules! one_of_each {
    ($enum:ident { $($variant:ident $fields:tt),* $(,)? }) => {{
        fn variant_name(value: &$enum) -> &'static str {
            match value {
                $($enum::$variant { .. } => stringify!($variant),)*
            }
        }
        let values = vec![$($enum::$variant $fields),*];
        values.into_iter().map(|value: $enum| (variant_name(&value), value)).collect::<Vec<_>>()
    }};
}

/// Encoded values, to be compared with a file.
#[derive(Default)]
pub struct Golden(Vec<(String, String, &'static str)>);

impl Golden {
    /// Adds a value under a name, and checks that it is read back as it was. `version` is the constant that must be
    /// raised when the encoding changes.
    ///
    /// # Panics
    /// If it is not read back.
    pub fn add<T: PartialEq + Debug, E: Debug>(
        &mut self,
        (name, version): (impl Into<String>, &'static str),
        value: &T,
        encode: impl Fn(&T) -> Vec<u8>,
        decode: impl Fn(&[u8]) -> Result<T, E>,
    ) {
        let (name, bytes) = (name.into(), encode(value));
        let again = decode(&bytes).unwrap_or_else(|error| panic!("{name} cannot be read back: {error:?}"));
        assert_eq!(&again, value, "{name} is read back as another value");
        self.add_bytes((name, version), &bytes);
    }

    /// Adds bytes that are read elsewhere.
    pub fn add_bytes(&mut self, (name, version): (impl Into<String>, &'static str), bytes: &[u8]) {
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        self.0.push((name.into(), hex, version));
    }

    /// Compares all of them with the file: a line each, the name and the bytes in hexadecimal digits.
    ///
    /// # Panics
    /// If a value is encoded in another way, is not in the file, or is no longer among those that were added.
    pub fn compare(&self, file: &Path) {
        if std::env::var(SWITCH).is_ok_and(|value| value == "write") {
            let lines: Vec<String> = self.0.iter().map(|(name, hex, _)| format!("{name} {hex}\n")).collect();
            fs::write(file, lines.concat()).expect("golden bytes can be written");
            return;
        }
        let text = fs::read_to_string(file).unwrap_or_default();
        let mut known: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(' ')).collect();
        let mut wrong = Vec::new();
        for (name, hex, version) in &self.0 {
            match known.remove(name.as_str()) {
                Some(before) if before == hex => {}
                Some(before) => wrong.push(format!(
                    "{name} has another encoding: bytes that an older program wrote would mean something else. Restore \
                     it, or raise {version} and refuse the older one.\n    before {before}\n    now    {hex}"
                )),
                None => wrong.push(format!("{name} has no golden bytes: run the test with {SWITCH}=write")),
            }
        }
        wrong.extend(known.keys().map(|name| format!("{name} is not encoded any more: is it renamed, or removed?")));
        assert!(wrong.is_empty(), "{}:\n{}", file.display(), wrong.join("\n"));
        let names: std::collections::BTreeSet<_> = self.0.iter().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), self.0.len(), "a name is used twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Shape {
        Dot,
        Line { length: u32 },
        Area(u32),
    }

    #[test]
    fn each_variant_has_its_name() {
        let shapes = one_of_each!(Shape { Dot {}, Line { length: 2 }, Area(3) });
        assert_eq!(shapes.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["Dot", "Line", "Area"]);
        let sizes = shapes.iter().map(|(_, shape)| match shape {
            Shape::Dot => 0,
            Shape::Line { length } => *length,
            Shape::Area(size) => *size,
        });
        assert_eq!(sizes.sum::<u32>(), 5);
    }

    #[test]
    fn a_changed_byte_and_a_missing_name_are_found() {
        let file = std::env::temp_dir().join(format!("baton-golden-{}", std::process::id()));
        let outcome = |text: &str| {
            fs::write(&file, text).unwrap();
            let mut golden = Golden::default();
            golden.add_bytes(("a", "VERSION of a.rs"), &[1, 0xab]);
            let outcome = std::panic::catch_unwind(|| golden.compare(&file));
            outcome.map_err(|panic| panic.downcast_ref::<String>().unwrap().clone())
        };
        assert_eq!(outcome("a 01ab\n"), Ok(()));
        assert!(outcome("a 01ac\n").unwrap_err().contains("raise VERSION of a.rs"));
        assert!(outcome("").unwrap_err().contains("has no golden bytes"));
        assert!(outcome("a 01ab\nb 00\n").unwrap_err().contains("b is not encoded any more"));
        fs::remove_file(file).unwrap();
    }
}
