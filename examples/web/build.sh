#!/usr/bin/env bash
# Builds the page into examples/web/dist: WebAssembly, the JavaScript that loads it, the page, and the conformance cases.
#
#   examples/web/build.sh
set -euo pipefail
cd "$(dirname "$0")"

if ! rustc --print target-libdir --target wasm32-unknown-unknown | xargs test -d; then
    rustup target add wasm32-unknown-unknown
fi
target=../../target/web
cargo build --quiet --locked --release --lib --target wasm32-unknown-unknown
cargo build --quiet --locked -p wgpu-norm-web-bindgen

rm -rf dist
cp -r page dist
"$target/debug/wgpu-norm-web-bindgen" "$target/wasm32-unknown-unknown/release/wgpu_norm_web.wasm" dist
cp -r ../../tests/cases dist/cases
(cd dist/cases && find . -name '*.safetensors' -printf '"%P"\n' | LC_ALL=C sort | paste -sd, | sed 's/.*/[&]/' > cases.json)
echo "built $(cd dist && pwd)"
