//! Decides whether the defects of `src/seeded.rs` are compiled: only if the feature is on and the variable is set. Without
//! the feature the variable is not looked at, and does not compile an ordinary program again.

fn main() {
    println!("cargo:rustc-check-cfg=cfg(seeded_bugs)");
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_SEEDED_BUGS").is_some() {
        println!("cargo:rerun-if-env-changed=BATON_BUILD_SEEDED_BUGS");
        if std::env::var_os("BATON_BUILD_SEEDED_BUGS").is_some() {
            println!("cargo:rustc-cfg=seeded_bugs");
        }
    }
}
