// What can execute here, and how fast it is.

import init, { Normalizer } from "./wgpu_norm.js";

/** Loads the WebAssembly; throws a sentence where the browser cannot. */
export async function load() {
  try {
    await init();
  } catch (error) {
    throw `This page takes a browser with WebAssembly and its SIMD, as all have had since 2023, and its .wasm file beside it (${error}).`;
  }
}

/** The engine on the CPU, which is always there. */
export const onCpu = () => Normalizer.onCpu();

/** The engine on the GPU with the adapter's name; throws a sentence that says why there is none. */
export async function onGpu() {
  if (!isSecureContext) throw "WebGPU takes a page from https or localhost.";
  if (!navigator.gpu) {
    throw "this browser has no WebGPU, or it is turned off. Chrome and Edge from version 113, Safari from 26 and Firefox from 141 have it on most machines.";
  }
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) throw "the browser offers no GPU. Its driver may be blocked: see chrome://gpu or about:support.";
  if (!adapter.info || !("adapterInfo" in GPUDevice.prototype)) {
    throw "this browser's WebGPU does not name its devices yet. A newer version does.";
  }
  return { normalizer: await Normalizer.onGpu(), name: nameOf(adapter.info) };
}

function nameOf(info) {
  const name = info.description || [info.vendor, info.architecture].filter(Boolean).join(" ") || "a GPU without a name";
  return info.isFallbackAdapter ? `${name}, a processor that stands in for a GPU` : name;
}

/** Milliseconds for one run: of as many in a row as take a moment. */
export async function milliseconds(timed) {
  await timed.run(1);
  for (let times = 1; ; ) {
    const started = performance.now();
    await timed.run(times);
    const elapsed = performance.now() - started;
    if (elapsed >= 40 || times >= 4096) return elapsed / times;
    times = Math.min(4096, Math.max(2 * times, Math.ceil((50 * times) / Math.max(elapsed, 0.1))));
  }
}
