#!/usr/bin/env bash
# Runs every test, and sets up what they need: a Vulkan or GL adapter, for which Mesa's software driver will do.
#
#   ./test.sh                            everything
#   WGPU_NORM_TEST_GPU=off ./test.sh     without the GPU tests; the summary says so
#   WGPU_NORM_FEATURES=cli,mpi ./test.sh built as test-mpi.sh is if it is told the same, so that it builds nothing again
set -euo pipefail
cd "$(dirname "$0")"
. tests/install.sh

# GL by EGL wants a folder for its socket, and says so on every start where it has none.
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$(mktemp -d)}"
gpu_tests="${WGPU_NORM_TEST_GPU:-on}"
features="${WGPU_NORM_FEATURES:-cli}"

has_adapter() {
    # What the tests are built from: `cargo run` would build wgpu once more, with fewer of naga's writers.
    cargo test --quiet --features "$features" --no-run
    "${CARGO_TARGET_DIR:-target}/debug/wgpu-norm" adapters --json | grep -q '"type": *"\(DiscreteGpu\|IntegratedGpu\|VirtualGpu\|Other\|Cpu\)"'
}

if [ "$gpu_tests" != off ] && [ "$(uname -s)" = Linux ] && ! has_adapter; then
    install test.sh "Vulkan or GL adapter" \
        mesa-vulkan-drivers libvulkan1 libegl1 libegl-mesa0 libgles2 libgl1-mesa-dri
fi
# Most of the time goes into compiling shaders for a software adapter, which each test does on a core of its own; more
# than two at once want more memory than a small machine has. Mesa's does it in three quarters of the time where it may
# leave out LLVM's optimizer.
export GALLIVM_PERF="${GALLIVM_PERF-nopt}"
cargo test --features "$features" -- --test-threads 2
if [ "$gpu_tests" = off ]; then
    echo "GPU tests were turned off by WGPU_NORM_TEST_GPU=off"
fi
