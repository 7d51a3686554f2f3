//! The `baton` program with intentional defects, for tests of the fault tests' checker. Never in a release.

fn main() -> std::process::ExitCode {
    baton_cli::main()
}
