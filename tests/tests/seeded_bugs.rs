//! The defects that test the fault tests' checker are in no other program.

use std::time::Duration;

use baton_tests::{program, run};

#[test]
fn the_program_has_no_seeded_bugs_and_does_not_know_of_any() {
    // Text that only the program with the defects contains; in two pieces, because this test is a program, too.
    let variable = ["BATON_SEEDED", "BUG"].join("_");
    let bytes = std::fs::read(program()).expect("the program can be read");
    let found = bytes.windows(variable.len()).any(|window| window == variable.as_bytes());
    assert!(!found, "{} is built with seeded bugs", program().display());
    let version = run(&["--version"], "", Duration::from_secs(30));
    assert!(!version.text().contains("seeded") && version.stderr.is_empty(), "{version:?}");
}
