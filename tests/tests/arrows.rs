//! Which way the imports of the workspace point: between its crates, and among the modules of each. ARCHITECTURE.md draws it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use baton_tests::arrows::{Circle, Dependency, Package, Workspace, cargo, circles, forbidden, uses};

/// Which crates of ours a crate may depend on, in its tests too.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("baton-domain", &[SUPPORT]),
    ("baton-client", &[SUPPORT, "baton-domain"]),
    ("baton-replica", &[SUPPORT, "baton-domain"]),
    ("baton-postgres", &[POSTGRES, "baton-domain", "baton-replica"]),
    ("baton-links", &[SUPPORT, "baton-domain", "baton-client"]),
    ("baton-server", &[SUPPORT, "baton-domain", "baton-client", "baton-replica"]),
    (
        "baton",
        &[SUPPORT, "baton-domain", "baton-client", "baton-replica", "baton-postgres", "baton-links", "baton-server"],
    ),
    ("baton-cli", &[SUPPORT, UNIFY, "baton-domain", "baton-client", "baton-replica", "baton-links", "baton"]),
    ("baton-examples", &["baton"]),
    // The scenarios know the program only from outside.
    ("baton-tests", &[POSTGRES]),
    ("baton-tools", &[POSTGRES, "baton-tests"]),
    ("baton-torture-client", &["baton-domain", "baton", "baton-tools"]),
    (SUPPORT, &[]),
    (POSTGRES, &[]),
    (UNIFY, &[]),
];
/// Helpers for the tests of several crates.
const SUPPORT: &str = "baton-test-support";
/// Servers of PostgreSQL for tests.
const POSTGRES: &str = "baton-test-postgres";
/// Keeps the features of dependencies the same in all builds of the workspace.
const UNIFY: &str = "baton-unify";

/// Crates that only some of our files may name.
const HOMES: [(&str, &[&str]); 4] = [
    // Consensus, and the clock and the dice of its simulation.
    ("openraft", &["storage/replica/src/replicated/", "storage/replica/src/simulation/"]),
    ("rocksdb", &["storage/replica/"]),
    ("tokio_postgres", &["storage/postgres/", "tests/tools/src/database_limits"]),
    ("ractor_cluster", &["runtime/links/src/actor/sessions.rs"]),
];

/// Packages that a client must not need: it builds without a C compiler, and without the part for servers.
const NOT_IN_A_CLIENT: [&str; 11] = [
    "rocksdb",
    "openraft",
    "clap",
    "axum",
    "tikv-jemallocator",
    "cc",
    "cmake",
    "prost",
    "ractor_cluster",
    "tokio-rustls",
    "tokio-postgres",
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace").to_owned()
}

fn names<'a>(modules: impl IntoIterator<Item = &'a &'a str>) -> BTreeSet<String> {
    modules.into_iter().map(|&module| module.to_owned()).collect()
}

/// A crate with these files.
fn made_up(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("it is in the directory")).expect("a directory");
        fs::write(file, text).expect("a file");
    }
    let root = folder.path().join("lib.rs");
    (folder, root)
}

#[test]
fn crates_depend_on_those_below_them() {
    let workspace = Workspace::read(&workspace()).expect("cargo tells its packages");
    assert_eq!(forbidden(&workspace.packages, &ALLOWED), [""; 0]);
}

#[test]
fn openraft_rocksdb_postgres_and_ractor_cluster_are_named_where_they_belong() {
    for (word, homes) in HOMES {
        let places = uses(&workspace(), word).expect("the sources can be read");
        assert!(!places.is_empty(), "{word} is named nowhere: this test looks for something else");
        let strays: Vec<_> = places.iter().filter(|place| !homes.iter().any(|home| place.starts_with(home))).collect();
        assert!(strays.is_empty(), "{word} is named in {strays:?}, and belongs in {homes:?}");
    }
}

#[test]
fn no_modules_of_a_folder_import_each_other() {
    let workspace_dir = workspace();
    let workspace = Workspace::read(&workspace_dir).expect("cargo tells its packages");
    let mut found = Vec::new();
    for root in workspace.roots() {
        let place = root.strip_prefix(&workspace_dir).unwrap_or(root).display().to_string();
        for Circle { folder, modules, arrows } in circles(root).expect("the sources can be read") {
            found.push(format!("{place}: {folder} {modules:?}\n    {}", arrows.join("\n    ")));
        }
    }
    assert!(found.is_empty(), "modules import each other:\n{}", found.join("\n"));
}

#[test]
fn a_client_needs_no_consensus_no_store_no_servers_part_and_no_c_compiler() {
    let arguments = "tree -p baton --no-default-features --features client -e normal,build --prefix none --offline";
    let tree = cargo(&workspace(), &arguments.split(' ').collect::<Vec<_>>()).expect("cargo tells the tree");
    let needed: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(needed.contains("baton-links"), "{tree}");
    let wrong: Vec<_> = NOT_IN_A_CLIENT.iter().filter(|name| needed.contains(**name)).collect();
    assert!(wrong.is_empty(), "a client needs {wrong:?}");
}

#[test]
fn a_dependency_that_is_not_allowed_is_found() {
    let package = |name: &str, needs: &[&str]| Package {
        name: name.to_owned(),
        dependencies: needs.iter().map(|&name| Dependency { name: name.to_owned(), path: Some(name.into()) }).collect(),
        targets: Vec::new(),
    };
    let good = [package("baton-client", &["baton-domain"]), package("baton-domain", &[])];
    assert_eq!(forbidden(&good, &ALLOWED), [""; 0]);
    let bad = [package("baton-client", &["baton-domain", "baton-replica"]), package("baton-new", &[])];
    let said = ["baton-client -> baton-replica", "nothing says what baton-new may depend on"];
    assert_eq!(forbidden(&bad, &ALLOWED), said);
    let foreign = Dependency { name: "serde".to_owned(), path: None };
    let foreign = Package { name: "baton-domain".to_owned(), dependencies: vec![foreign], targets: Vec::new() };
    assert_eq!(forbidden(&[foreign], &ALLOWED), [""; 0]);
}

#[test]
fn a_word_is_found_in_code_and_not_in_comments_and_strings() {
    let (folder, _) = made_up(&[
        ("lib.rs", "//! Knows openraft.\nmod a;\nconst FILTER: &str = \"openraft=error\";"),
        ("a/b.rs", "\nuse openraft::Raft;"),
        ("target/c.rs", "use openraft::Raft;"),
    ]);
    assert_eq!(uses(folder.path(), "openraft").expect("they can be read"), ["a/b.rs:2"]);
}

#[test]
fn a_circle_is_found_whichever_way_it_is_written() {
    let engine = "mod running;\nmod timers;\n";
    for (what, running, timers) in [
        ("by use", "use super::timers::Timers;", "use crate::engine::{running::{self}};"),
        ("in place", "fn f() -> super::timers::Timers { todo!() }", "pub struct Timers(super::running::Running);"),
        ("by a re-export", "use super::Timers;", "pub struct Timers; use super::Running;"),
        ("by all", "use super::*; use super::timers::*;", "fn f() { crate::engine::running::run() }"),
        ("in a string", "#[serde(with = \"super::timers::bytes\")]\nstruct A;", "use super::running::A;"),
    ] {
        let exports = "pub use running::Running;\npub use timers::Timers;\n";
        let (_folder, root) = made_up(&[
            ("lib.rs", "mod engine;"),
            ("engine.rs", &[engine, exports].concat()),
            ("engine/running.rs", &format!("pub struct Running;\n{running}")),
            ("engine/timers.rs", timers),
        ]);
        let found = circles(&root).expect("they can be read");
        let [Circle { folder, modules, arrows }] = &found[..] else { panic!("{what}: {found:?}") };
        assert_eq!((folder.as_str(), modules), ("engine", &names(&["running", "timers"])), "{what}");
        assert_eq!(arrows.len(), 2, "{what}: {arrows:?}");
    }
}

#[test]
fn a_circle_is_found_through_folders_and_through_the_file_in_place_of_another() {
    let (_folder, root) = made_up(&[
        ("lib.rs", "mod a;\nmod b;\n#[cfg_attr(not(feature = \"tls\"), path = \"absent.rs\")]\nmod tls;"),
        ("a.rs", "mod inner;"),
        ("a/inner.rs", "use crate::b::B;"),
        ("b.rs", "pub struct B; mod deep { use crate::tls::Tls; }"),
        ("tls.rs", "pub struct Tls;"),
        ("absent.rs", "pub struct Tls; use super::a::A;"),
    ]);
    let found = circles(&root).expect("they can be read");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].folder.as_str(), &found[0].modules), ("", &names(&["a", "b", "tls"])));
}

#[test]
fn tests_comments_and_parents_make_no_circle() {
    let (_folder, root) = made_up(&[
        ("lib.rs", "mod a;\nmod b;\n#[cfg(test)]\n#[path = \"gone.rs\"]\nmod tests;\npub use a::A; pub struct Whole;"),
        ("a.rs", "use super::Whole;\npub struct A; // use super::b::B;\nconst WORDS: &str = \"use super::b::B;\";"),
        (
            "b.rs",
            "use super::a;\npub struct B(a::A);\n#[cfg(test)]\nmod tests { use crate::a::A; }\nfn f() -> impl Send + use<> {}",
        ),
    ]);
    let (_other, with_test) = made_up(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub struct A;\n#[cfg(test)]\nuse super::b::{B};\n#[test]\nfn f() { super::b::b() }"),
        ("b.rs", "use super::a::A;"),
    ]);
    for root in [root, with_test] {
        assert_eq!(circles(&root).expect("they can be read"), []);
    }
}
