#!/usr/bin/env bash
# Builds the program of docs/getting-started.md with its dependencies, as a service does: outside of the workspace, whose
# features, profiles and configuration of cargo do not apply there.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}"
# As in the workspace, so that dependencies that are there are not built again.
export CARGO_PROFILE_RELEASE_DEBUG=line-tables-only

# The first block of a language in the section "Embed".
block() {
    awk -v start="\`\`\`$1" '
        /^## / { in_section = $0 == "## Embed" }
        in_block && /^```$/ { exit }
        in_block { print }
        in_section && $0 == start { in_block = 1 }
    ' "$root/docs/getting-started.md"
}

service="$(mktemp -d)"
trap 'rm -rf "$service"' EXIT
mkdir "$service/src"
{
    printf '[package]\nname = "baton-embed-test"\nversion = "0.0.0"\nedition = "2024"\n\n'
    block toml
} >"$service/Cargo.toml"
block rust >"$service/src/main.rs"
for piece in "$service/Cargo.toml" "$service/src/main.rs"; do
    grep -q baton:: "$piece" || grep -q 'path = "baton/' "$piece" ||
        { echo "the section Embed of docs/getting-started.md has no ${piece##*/}" >&2; exit 1; }
done
ln -s "$root" "$service/baton"
# The versions that the workspace is tested with; what the service does not need is left out.
cp "$root/Cargo.lock" "$service/Cargo.lock"
# From there: cargo reads the configuration of the directory that it runs in.
cd "$service"
cargo build --release --offline
