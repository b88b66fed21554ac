#!/usr/bin/env bash
# Runs every test, and sets up what they need: a Vulkan or GL adapter, for which Mesa's software driver will do.
#
#   ./test.sh                            everything
#   WGPU_NORM_TEST_GPU=off ./test.sh     without the GPU tests; the summary says so
set -euo pipefail
cd "$(dirname "$0")"

# GL by EGL wants a folder for its socket, and says so on every start where it has none.
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$(mktemp -d)}"
gpu_tests="${WGPU_NORM_TEST_GPU:-on}"

has_adapter() {
    cargo run --quiet --features cli --bin wgpu-norm -- adapters --json | grep -q '"type": *"\(DiscreteGpu\|IntegratedGpu\|VirtualGpu\|Other\|Cpu\)"'
}

install_mesa() {
    local packages=(mesa-vulkan-drivers libvulkan1 libegl1 libegl-mesa0 libgles2 libgl1-mesa-dri)
    if ! command -v apt-get > /dev/null; then
        echo "test.sh: no Vulkan or GL adapter. Install your distribution's Mesa drivers (on Debian: ${packages[*]})." >&2
        exit 1
    fi
    echo "test.sh: no Vulkan or GL adapter, installing Mesa's software drivers"
    local sudo=()
    if [ "$(id -u)" != 0 ]; then
        sudo=(sudo)
    fi
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" > /dev/null
}

if [ "$gpu_tests" != off ] && [ "$(uname -s)" = Linux ] && ! has_adapter; then
    install_mesa
fi
# Software adapters use every core by themselves; two tests at once only get into each other's way.
cargo test --features cli -- --test-threads 1
if [ "$gpu_tests" = off ]; then
    echo "GPU tests were turned off by WGPU_NORM_TEST_GPU=off"
fi
