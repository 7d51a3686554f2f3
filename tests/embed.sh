#!/usr/bin/env bash
# Builds the first program of docs/embed.md with its dependencies, as a service does: outside of the workspace, whose
# features, profiles and configuration of cargo do not apply there. The other programs of that page are doc tests of the
# crate `baton`.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}"
# As in the workspace, so that dependencies that are there are not built again.
export CARGO_PROFILE_RELEASE_DEBUG=line-tables-only

# The n-th block of a language: block LANGUAGE N.
block() {
    awk -v start="\`\`\`$1" -v number="$2" '
        in_block && /^```$/ { exit }
        in_block { print }
        $0 == start && ++seen == number { in_block = 1 }
    ' "$root/docs/embed.md"
}

service="$(mktemp -d)"
trap 'rm -rf "$service"' EXIT
mkdir "$service/src"

# The package with the n-th block of dependencies.
manifest() {
    printf '[package]\nname = "baton-embed-test"\nversion = "0.0.0"\nedition = "2024"\n\n'
    block toml "$1"
}

block rust,no_run 1 >"$service/src/main.rs"
grep -q baton:: "$service/src/main.rs" || { echo "docs/embed.md has no program" >&2; exit 1; }
ln -s "$root" "$service/baton"
# The versions that the workspace is tested with; what the service does not need is left out.
cp "$root/Cargo.lock" "$service/Cargo.lock"
# From there: cargo reads the configuration of the directory that it runs in.
cd "$service"

# A server is resolved and not built, which would compile RocksDB.
has_server() { [[ "$(cargo tree --offline --edges normal)" == *librocksdb-sys* ]]; }
manifest 2 >Cargo.toml
has_server || { echo "the second dependencies of docs/embed.md have no server" >&2; exit 1; }
cp "$root/Cargo.lock" Cargo.lock
manifest 1 >Cargo.toml
! has_server || { echo "the first dependencies of docs/embed.md have a server" >&2; exit 1; }
cargo build --release --offline
