//! The `baton` program.

/// Of this program alone, not of those that embed a server (decision 0017).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    baton_cli::main()
}
