//! The `baton` program with defects made on purpose, for the test of the fault tests' checker. Never in a release.

fn main() -> std::process::ExitCode {
    baton_cli::main()
}
