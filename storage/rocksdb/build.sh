#!/usr/bin/env bash
# Builds RocksDB as a static library, and has cargo link that one in this clone, by .cargo/rocksdb.toml.
#
# The sources are those of the crate librocksdb-sys, with the flags of its build script, but for -O2, which is RocksDB's own
# choice. The build script compiles 342 files one by one, which spends most of its time on the same headers; here they are
# compiled as 12, each of which includes some 28 of them. The library is kept per user, so that other clones, build profiles and target directories need not build it.
# Where this does not apply, nothing is written and cargo builds RocksDB itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

UNITS=12
config=.cargo/rocksdb.toml

if [[ "$(uname -s)" != Linux || "$(getconf LONG_BIT)" != 64 ]]; then
    rm -f "$config"
    exit 0
fi

# The crate's manifest, as cargo knows it.
host="$(rustc -vV | sed -n 's/^host: //p')"
manifest="$(cargo metadata --format-version 1 --filter-platform "$host" |
    grep -o '"manifest_path":"[^"]*/librocksdb-sys-[^"]*/Cargo.toml"' | head -1 | cut -d'"' -f4)"
crate="${manifest%/Cargo.toml}"
version="${crate##*/librocksdb-sys-}"

cxx="${CXX:-c++}"
flags=(
    -O2 -std=c++20 -fPIC -ffunction-sections -fdata-sections
    -DNDEBUG -DHAVE_ALIGNED_NEW -DHAVE_UINT128_EXTENSION -DOS_LINUX -DROCKSDB_PLATFORM_POSIX -DROCKSDB_LIB_IO_POSIX
    -DROCKSDB_SCHED_GETCPU_PRESENT -DROCKSDB_AUXV_GETAUXVAL_PRESENT -DROCKSDB_FALLOCATE_PRESENT
    -DROCKSDB_RANGESYNC_PRESENT -include cstdint -w
)
# Every x86-64 processor since 2010 has both; without them checksums take 6 % of the time while messages come in.
[[ "$(uname -m)" != x86_64 ]] || flags+=(-msse4.2 -mpclmul)
# shellcheck disable=SC2206 # several flags
flags+=(${CXXFLAGS:-})

key="$({ "$cxx" --version; echo "$UNITS ${flags[*]}"; } | sha256sum | cut -c1-16)"
library="${XDG_CACHE_HOME:-$HOME/.cache}/baton/rocksdb/$version-$key"

compile() {
    local work="$library.work"
    rm -rf "$work"
    mkdir -p "$work"
    # Unit n holds every 12th file, from the n-th on: neighbours in the list are alike, and long ones spread.
    { grep -v '^util/build_version.cc$' "$crate/rocksdb_lib_sources.txt" | sed "s|^|$crate/rocksdb/|"
      echo "$crate/build_version.cc"; } |
        awk -v units="$UNITS" -v dir="$work" '{ print "#include \"" $0 "\"" > (dir "/unit" NR % units ".cc") }'
    # A unit takes up to 1.5 GiB.
    local jobs memory
    memory="$(awk '/^MemAvailable/ { print int($2 / 1572864) }' /proc/meminfo)"
    jobs="$(nproc)"
    ((jobs <= memory)) || jobs=$((memory > 0 ? memory : 1))
    export work cxx crate
    export options="${flags[*]}"
    printf '%s\n' "$work"/*.cc | xargs -P "$jobs" -I{} bash -c '
        # shellcheck disable=SC2086
        "$cxx" $options -I"$crate/rocksdb/include" -I"$crate/rocksdb" -I"$crate" -c "$1" -o "${1%.cc}.o" &&
        { set -- "$work"/*.o; echo "RocksDB: $# of '"$UNITS"' parts compiled" >&2; }' _ {}
    ar crs "$work/librocksdb.a" "$work"/*.o
    rm -f "$work"/*.o "$work"/*.cc
    # Complete or not there.
    mv "$work" "$library"
}

if [[ ! -f "$library/librocksdb.a" ]]; then
    mkdir -p "${library%/*}"
    # One at a time: whoever comes second finds it done.
    exec 9>"${library%/*}/lock"
    flock 9
    if [[ ! -f "$library/librocksdb.a" ]]; then
        echo "RocksDB $version is compiled once, into $library" >&2
        compile
    fi
    exec 9>&-
fi

wanted="# Made by storage/rocksdb/build.sh; may be deleted: cargo then builds RocksDB itself.
[env]
ROCKSDB_LIB_DIR = \"$library\"
ROCKSDB_STATIC = \"1\""
# Untouched if it says so already: nothing is built again.
[[ -f "$config" && "$(cat "$config")" == "$wanted" ]] || printf '%s\n' "$wanted" >"$config"
