// Drives the page in headless Chromium: with WebGPU, with an adapter that has nothing optional, and without WebGPU.
//
//   node examples/web/test/page.mjs            after build.sh; SCREENSHOTS=FOLDER keeps pictures of the page

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Browser, NO_WEBGPU, WEBGPU } from "./browser.mjs";
import { layerNorm, npy, values } from "./npy.mjs";
import { serve } from "./serve.mjs";

const DIST = new URL("../dist", import.meta.url).pathname;
const CASES = JSON.parse(readFileSync(join(DIST, "cases/cases.json"), "utf8"));
const READY = `document.querySelector("#result")?.ariaBusy === "false"`;

const server = await serve(DIST);
const files = mkdtempSync(join(tmpdir(), "wgpu-norm-files-"));

async function keep(page, name) {
  if (process.env.SCREENSHOTS) writeFileSync(join(process.env.SCREENSHOTS, `${name}.png`), await page.screenshot());
}

async function drop(page, name, bytes) {
  const path = join(files, name);
  writeFileSync(path, bytes);
  await page.drop(path);
}

/** Mean and deviation of each channel of a canvas. */
const channels = (page, id) =>
  page.value(`(() => {
    const canvas = document.getElementById("${id}");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return [0, 1, 2].map((channel) => {
      const values = data.filter((_, i) => i % 4 === channel);
      const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
      return [mean, Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length)];
    });
  })()`);

/** The sample is normalized: a sixth of the range is a deviation, so each channel gets 255 / 6 about the middle. */
async function sampleIsNormalized(page, places) {
  await page.until(READY, 60);
  assert.equal(await page.value(`document.querySelector("#trouble").hidden`), true, await page.text("#trouble"));
  const dull = await channels(page, "before");
  assert.ok(dull.every(([, deviation]) => deviation > 5 && deviation < 36), `the sample is dull: ${dull}`);
  for (const [mean, deviation] of await channels(page, "after")) {
    assert.ok(Math.abs(mean - 127.5) < 3 && Math.abs(deviation - 42.5) < 3, `mean ${mean}, deviation ${deviation}`);
  }
  assert.match(await page.text("#accuracy"), /largest error is [\d.]+e-[678], .* within tolerance\.$/);
  assert.equal(await page.value(`document.querySelector("#accuracy").dataset.within`), "true");
  const speed = await page.value(`[...document.querySelectorAll("#speed tbody tr")].map((row) => row.innerText)`);
  assert.equal(speed.length, places, speed.join("; "));
  for (const row of speed) assert.match(row, /^(GPU|CPU, one thread)\s+[\d.e-]+\s+[\d.e-]+$/);
  return speed.map((row) => row.replaceAll("\t", " ")).join("; ");
}

/** A dropped tensor is normalized over its last axis, and the download holds what LayerNorm says in doubles. */
async function tensorsAreNormalized(page) {
  const flat = Array.from({ length: 3 * 40 }, (_, i) => Math.fround(100 + Math.sin(i * i)));
  const body = Buffer.from(Float32Array.from(flat).buffer);
  await drop(page, "rows.npy", npy("<f4", [3, 40], body));
  await downloads(page, "[3, 40] f32", layerNorm(flat, 40, 1e-5));
  const columns = Array.from({ length: 40 * 3 }, (_, i) => flat[(i % 3) * 40 + Math.floor(i / 3)]);
  await drop(page, "columns.npy", npy("<f4", [3, 40], Buffer.from(Float32Array.from(columns).buffer), true));
  await downloads(page, "[3, 40] f32", layerNorm(flat, 40, 1e-5));
  await drop(page, "halves.npy", npy("<f2", [2, 4], Buffer.from(Uint16Array.from([0, 0x3c00, 0, 0x3c00, 0, 0, 0x4000, 0x4000]).buffer)));
  await page.until(`${READY} && document.querySelector("#after-facts").innerText.includes("[2, 4] f16")`);
  await drop(page, "nothing.npy", npy("<f4", [0, 4], Buffer.alloc(0)));
  await page.until(`${READY} && document.querySelector("#after-facts").innerText.includes("none")`);
}

async function downloads(page, shape, want) {
  await page.until(`${READY} && document.querySelector("#after-facts").innerText.includes("${shape}")`);
  const bytes = await page.value(
    `fetch(document.querySelector("#download").href).then((r) => r.arrayBuffer()).then((b) => [...new Uint8Array(b)])`,
  );
  const got = values(Buffer.from(bytes));
  assert.equal(got.length, want.length, "as many values");
  const worst = Math.max(...got.map((x, i) => Math.abs(x - want[i])));
  assert.ok(worst < 1e-4, `the download differs by ${worst} from LayerNorm in doubles`);
  assert.equal(await page.value(`document.querySelector("#accuracy").dataset.within`), "true");
}

/** What cannot be used gets its sentence, and the page goes on. */
async function nonsenseIsNamed(page) {
  const eight = Buffer.alloc(8);
  const rows = [
    ["notes.txt", "no tensor", /^notes\.txt: expected a picture .* or a \.npy file .*; got a file of type text\/plain\.$/],
    ["empty", "", /^empty: expected a picture/],
    ["broken.png", "no picture", /^broken\.png: expected a picture .*; got a file of type image\/png\.$/],
    ["whole.npy", npy("<i8", [1], eight), /^whole\.npy: dtype: expected <f4 or <f2, got <i8 \(convert it/],
    ["big.npy", npy(">f4", [2], eight), /^big\.npy: dtype: .* got >f4 \(big-endian/],
    ["short.npy", npy("<f4", [3], eight), /^short\.npy: /],
    ["torn.npy", npy("<f4", [2], eight).subarray(0, 40), /^torn\.npy: header length/],
    ["many.npy", npy("<f2", [2 ** 26 + 1], Buffer.alloc(2 ** 27 + 2)), /^many\.npy: expected at most 67108864 values, got 67108865/],
  ];
  for (const [name, bytes, sentence] of rows) {
    await page.value(`document.querySelector("#trouble").textContent = ""`);
    await drop(page, name, bytes);
    await page.until(`document.querySelector("#trouble").textContent !== ""`);
    assert.match(await page.text("#trouble"), sentence);
  }
  await page.value(`document.querySelector("#sample").click()`);
  await page.until(`${READY} && document.querySelector("#trouble").hidden`);
  await set(page, "eps", "small");
  await page.until(`${READY} && !document.querySelector("#trouble").hidden`);
  assert.match(await page.text("#trouble"), /eps: expected a number, got "small"/);
  await set(page, "eps", "1e-5");
  await set(page, "op", "group_norm");
  await set(page, "groups", "2");
  await page.until(`${READY} && !document.querySelector("#trouble").hidden`);
  assert.match(await page.text("#trouble"), /num_groups/);
}

const set = (page, id, value) =>
  page.value(`{
    const control = document.getElementById("${id}");
    control.value = "${value}";
    control.dispatchEvent(new Event("change", { bubbles: true }));
  }`);

/** Every norm of the menu normalizes the sample within tolerance. */
async function everyNormWorks(page) {
  await page.value(`document.querySelector("#sample").click()`);
  const norms = await page.value(`[...document.querySelectorAll("#op option")].map((option) => option.value)`);
  for (const norm of norms) {
    await page.value(`delete document.querySelector("#accuracy").dataset.within`);
    await set(page, "op", norm);
    await page.until(`${READY} && document.querySelector("#accuracy").dataset.within === "true"`);
  }
  return norms.length;
}

/** All cases pass. */
async function casesPass(page) {
  await page.value(`document.querySelector("#run-cases").click()`);
  await page.until(`document.querySelector("#tally").dataset.done === "true"`, 240);
  const rows = await page.value(`[...document.querySelectorAll("#cases tbody tr")].map((row) => row.innerText)`);
  assert.deepEqual(rows.filter((row) => !row.includes("\tpass\t")), [], "no case fails");
  assert.equal(rows.length, CASES.length, "every case has its row");
  const tally = await page.text("#tally");
  assert.match(tally, new RegExp(`^${rows.length} passed, 0 failed on the `));
  return tally;
}

/** What a device says late, and a device that goes away, are sentences too. */
async function faultsAreNamed(browser) {
  const spoil = `
    globalThis.spoilt = false;
    const { createShaderModule } = GPUDevice.prototype;
    GPUDevice.prototype.createShaderModule = function (shader) {
      return createShaderModule.call(this, spoilt ? { ...shader, code: "fn spoilt( {" } : shader);
    };
    globalThis.devices = [];
    const { requestDevice } = GPUAdapter.prototype;
    GPUAdapter.prototype.requestDevice = async function (descriptor) {
      const device = await requestDevice.call(this, descriptor);
      devices.push(device);
      return device;
    };`;
  const page = await browser.open(server.address, spoil);
  await sampleIsNormalized(page, 2);
  await page.value(`spoilt = true`);
  await set(page, "op", "positional_norm");
  await page.until(`${READY} && !document.querySelector("#trouble").hidden`);
  assert.match(await page.text("#trouble"), /^kernel .*: .*(error|invalid|expected)/i);
  await page.value(`spoilt = false`);
  await set(page, "place", "cpu");
  await page.until(`${READY} && document.querySelector("#trouble").hidden`);
  await page.value(`devices.forEach((device) => device.destroy())`);
  await set(page, "place", "gpu");
  await page.until(`${READY} && !document.querySelector("#trouble").hidden`);
  assert.match(await page.text("#trouble"), /^device: /);
  quiet(page);
}

function quiet(page) {
  assert.deepEqual(page.errors, [], "the console says nothing");
}

async function withWebGpu(browser) {
  const page = await browser.open(server.address);
  const speed = await sampleIsNormalized(page, 2);
  const executor = await page.text("#executor");
  assert.match(executor, /^On your GPU: google swiftshader, a processor that stands in for a GPU \(.+\)\.$/);
  console.log(`${executor} ${speed}`);
  await keep(page, "sample");
  console.log(`${await everyNormWorks(page)} norms on the sample`);
  await tensorsAreNormalized(page);
  await keep(page, "npy");
  await nonsenseIsNamed(page);
  await keep(page, "trouble");
  console.log(await casesPass(page));
  await page.call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: "dark" }] });
  await keep(page, "cases-dark");
  quiet(page);

  const bare = `
    Object.defineProperty(GPUAdapter.prototype, "features", { get: () => new Set() });
    for (const [limit, least] of [["maxBufferSize", 2 ** 28], ["maxStorageBufferBindingSize", 2 ** 27]]) {
      Object.defineProperty(GPUSupportedLimits.prototype, limit, { get: () => least });
    }`;
  const least = await browser.open(server.address, bare);
  await sampleIsNormalized(least, 2);
  assert.match(await least.text("#executor"), /\(no optional feature\)\.$/);
  quiet(least);

  await faultsAreNamed(browser);
}

async function withoutWebGpu(browser) {
  const page = await browser.open(server.address);
  const speed = await sampleIsNormalized(page, 1);
  const executor = await page.text("#executor");
  assert.match(executor, /^On the CPU, one thread of it: (this browser has no WebGPU|the browser offers no GPU)/);
  console.log(`${executor} ${speed}`);
  await keep(page, "cpu");
  await tensorsAreNormalized(page);
  console.log(await casesPass(page));
  quiet(page);

  const none = await browser.open(server.address, "delete Navigator.prototype.gpu;");
  await sampleIsNormalized(none, 1);
  assert.match(await none.text("#executor"), /this browser has no WebGPU/);
  quiet(none);
}

async function inBrowser(flags, drive) {
  const browser = new Browser(flags);
  try {
    await drive(browser);
  } finally {
    await browser.close();
  }
}

try {
  await inBrowser(WEBGPU, withWebGpu);
  await inBrowser(NO_WEBGPU, withoutWebGpu);
} finally {
  server.close();
  rmSync(files, { recursive: true });
}
