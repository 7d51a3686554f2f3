//! Empty: see `Cargo.toml`. Only the program and the tests depend on it, and no crate that is published.
