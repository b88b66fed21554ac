#!/usr/bin/env bash
# Runs the conformance cases of synchronized normalization over MPI with 2, 3 and 4 ranks, then jobs whose ranks fail.
# Installs Open MPI and what its bindings are generated with, where they are missing and apt-get can be used.
#
#   ./test-mpi.sh
set -euo pipefail
cd "$(dirname "$0")"

export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$(mktemp -d)}"

install_mpi() {
    local packages=(libopenmpi-dev openmpi-bin libclang-dev)
    if ! command -v apt-get > /dev/null; then
        echo "test-mpi.sh: no mpicc. Install your distribution's Open MPI and libclang (on Debian: ${packages[*]})." >&2
        exit 1
    fi
    echo "test-mpi.sh: no Open MPI, installing it"
    local sudo=()
    if [ "$(id -u)" != 0 ]; then
        sudo=(sudo)
    fi
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" > /dev/null
}

if ! command -v mpicc > /dev/null || ! command -v mpirun > /dev/null; then
    install_mpi
fi

program=$(cargo test --quiet --features mpi,checkpoint --test mpi --no-run --message-format json |
    sed -n 's/.*"executable":"\([^"]*\/mpi-[^"]*\)".*/\1/p')
cargo build --quiet --features mpi --example sync
example="${CARGO_TARGET_DIR:-target}/debug/examples/sync"

ranks=(mpirun --oversubscribe)
if [ "$(id -u)" = 0 ]; then
    ranks+=(--allow-run-as-root)
fi
for n in 2 3 4; do
    timeout 300 "${ranks[@]}" -n "$n" "$program"
done

# Whether a job fails in time, and says what it has to. 124 is what `timeout` gives where it had to end it.
fails() {
    local mode="$1" says="$2" status=0 output
    output=$(timeout 60 "${ranks[@]}" -n 3 "$program" "$mode" 2>&1) || status=$?
    if [ "$status" = 0 ] || [ "$status" = 124 ] || ! grep -q "$says" <<< "$output"; then
        echo "test-mpi.sh: with a rank that $mode the job ended with $status and said: $output" >&2
        exit 1
    fi
    echo "a rank that $mode: status $status, and \"$(grep -m 1 "$says" <<< "$output")\""
}
fails dies "Exit code: *3\|exit status 3\|code 3\|non-zero exit code"
fails never-comes "barrier: rank [01] waited 500ms for the other ranks"

timeout 300 "${ranks[@]}" -n 4 "$example"
