#!/usr/bin/env bash
# Runs the conformance cases of synchronized normalization over MPI with 2, 3 and 4 ranks, then jobs whose ranks fail.
# Installs Open MPI and what its bindings are generated with, where they are missing and apt-get can be used.
#
#   ./test-mpi.sh
set -euo pipefail
cd "$(dirname "$0")"
. tests/install.sh

export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$(mktemp -d)}"
install_mpi test-mpi.sh

# The same features twice: others would build wgpu once more.
features="${WGPU_NORM_FEATURES:-mpi,checkpoint}"
program=$(cargo test --quiet --features "$features" --test mpi --no-run --message-format json |
    sed -n 's/.*"executable":"\([^"]*\/mpi-[^"]*\)".*/\1/p')
cargo build --quiet --features "$features" --example sync
example="${CARGO_TARGET_DIR:-target}/debug/examples/sync"

ranks=(mpirun --oversubscribe)
if [ "$(id -u)" = 0 ]; then
    ranks+=(--allow-run-as-root)
fi
for n in 2 3 4; do
    timeout 300 "${ranks[@]}" -n "$n" "$program"
done

# Whether a job fails in time, with this status, and says what it has to.
fails() {
    local mode="$1" expected="$2" says="$3" status=0 output
    output=$(timeout 60 "${ranks[@]}" -n 3 "$program" "$mode" 2>&1) || status=$?
    if [ "$status" != "$expected" ] || ! grep -q "$says" <<< "$output"; then
        echo "test-mpi.sh: with a rank that $mode the job ended with $status and said: $output" >&2
        exit 1
    fi
    echo "a rank that $mode: status $status, and \"$(grep -m 1 "$says" <<< "$output")\""
}
fails dies 3 "non-zero exit code"
fails never-comes 5 "barrier: rank [01] waited 500ms for the other ranks"

timeout 300 "${ranks[@]}" -n 4 "$example"
