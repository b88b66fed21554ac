#!/usr/bin/env bash
# Builds the page of examples/web and drives it in headless Chromium: pictures, tensors, nonsense, every conformance
# case, with WebGPU on the software adapter that Chromium brings along, and without WebGPU.
# Installs Chromium and Node.js, where they are missing and apt-get can be used.
#
#   ./test-web.sh
set -euo pipefail
cd "$(dirname "$0")"
. tests/install.sh

if ! command -v chromium > /dev/null; then
    install test-web.sh "Chromium" chromium
fi
if ! command -v node > /dev/null; then
    install test-web.sh "Node.js" nodejs
fi

examples/web/build.sh
timeout 600 node examples/web/test/page.mjs
