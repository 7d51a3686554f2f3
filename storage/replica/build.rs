//! Stops a build that would link a RocksDB of another version than its bindings are for: see `storage/rocksdb/build.sh`.

use std::path::Path;

/// The version of a package in a lock file.
fn locked<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let after = lock.split(&format!("name = \"{package}\"\n")).nth(1)?;
    after.strip_prefix("version = \"")?.split('"').next()
}

fn main() {
    println!("cargo:rerun-if-env-changed=ROCKSDB_LIB_DIR");
    println!("cargo:rerun-if-changed=../../Cargo.lock");
    let Some(library) = std::env::var_os("ROCKSDB_LIB_DIR") else { return };
    let Ok(lock) = std::fs::read_to_string("../../Cargo.lock") else { return };
    let ours = Path::new(&library).parent().is_some_and(|parent| parent.ends_with("baton/rocksdb"));
    let name = Path::new(&library).file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(version) = locked(&lock, "librocksdb-sys").filter(|_| ours)
        && !name.starts_with(&format!("{version}-"))
    {
        println!("cargo:error=this clone links RocksDB {name}, and its bindings are for {version}: run `make` once");
        std::process::exit(1);
    }
}
