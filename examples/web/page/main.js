// The page: what is chosen is normalized, shown, compared with the reference and timed.

import { load, milliseconds, onCpu, onGpu } from "./engines.js";
import { fromPicture, read } from "./files.js";
import { runCases } from "./cases.js";
import { sample } from "./sample.js";

const $ = (id) => document.getElementById(id);
/** The engines: the CPU's, and the GPU's where there is one. */
const engines = {};
let current = null;
let next = null;
let wanted = false;
let working = false;
let download = null;

/** Says what is wrong, or that nothing is. */
function say(trouble) {
  $("trouble").hidden = !trouble;
  $("trouble").textContent = trouble ?? "";
}

/** A sentence for whatever was thrown: ours are strings. */
function sentence(thrown) {
  if (typeof thrown === "string") return thrown;
  return `The engine stopped, perhaps for want of memory: ${thrown?.message ?? thrown}. Load the page again.`;
}

/** Takes a new input; what was chosen for another kind of input gives way to the usual. */
function take(input) {
  next?.tensor.free();
  next = input;
  const shown = next.kind === "picture";
  $("op").value = shown ? "instance_norm" : "layer_norm";
  $("axes").value = shown ? 3 : 1;
  $("groups").value = 1;
  return update();
}

/** Normalizes; calls meanwhile are one more round. */
async function update() {
  wanted = true;
  if (working) return;
  working = true;
  while (wanted) {
    wanted = false;
    $("result").ariaBusy = "true";
    try {
      await normalize();
      say(null);
    } catch (thrown) {
      forget();
      say(sentence(thrown));
    }
    $("result").ariaBusy = String(wanted);
  }
  working = false;
}

async function normalize() {
  if (next) {
    current?.tensor.free();
    [current, next] = [next, null];
  }
  if (!current) return;
  const [op, attributes] = choices();
  showBefore();
  const input = current.tensor;
  const output = await engines[$("place").value].normalize(input, op, attributes);
  try {
    showAfter(output);
    $("accuracy").textContent = "comparing…";
    await new Promise((painted) => setTimeout(painted));
    showErrors(JSON.parse(output.errors(input, op, attributes)));
  } finally {
    output.free();
  }
  await showSpeed(input, op, attributes);
}

/** Operation and attributes, as the command line takes them. */
function choices() {
  const op = $("op").value;
  const { shape } = facts(current.tensor);
  const eps = Number($("eps").value);
  const attributes = { eps: $("eps").value.trim() && Number.isFinite(eps) ? eps : $("eps").value };
  const overAxes = ["layer_norm", "rms_norm"].includes(op);
  const inGroups = ["group_norm", "batch_group_norm"].includes(op);
  $("axes-label").hidden = !overAxes;
  $("groups-label").hidden = !inGroups;
  if (overAxes) attributes.normalized_shape = shape.slice(-Math.max(1, $("axes").valueAsNumber || 1));
  if (inGroups) attributes.num_groups = $("groups").valueAsNumber;
  if (op.startsWith("batch")) attributes.training = true;
  return [op, JSON.stringify(attributes)];
}

const facts = (tensor) => JSON.parse(tensor.summary());

function showBefore() {
  describe($("before-facts"), current.tensor);
  draw($("before"), current.tensor, false);
}

function showAfter(output) {
  describe($("after-facts"), output);
  draw($("after"), output, true);
  const shown = current.kind === "picture";
  $("after-note").textContent = shown ? "shown from three deviations below the mean to three above" : "";
  if (download) URL.revokeObjectURL(download);
  download = shown ? null : URL.createObjectURL(new Blob([output.toNpy()]));
  $("download").hidden = shown;
  if (download) $("download").href = download;
  else $("download").removeAttribute("href");
}

/** Nothing came out: nothing old is shown beside the new input. */
function forget() {
  $("after").hidden = true;
  $("download").hidden = true;
  $("after-note").textContent = "";
  $("after-facts").replaceChildren();
  $("accuracy").textContent = "–";
  delete $("accuracy").dataset.within;
  $("speed").tBodies[0].replaceChildren();
}

function describe(list, tensor) {
  const { shape, dtype, mean, variance, least, largest } = facts(tensor);
  const rows = { shape: `[${shape.join(", ")}] ${dtype}` };
  if (shape.includes(0)) rows.values = "none";
  else Object.assign(rows, { mean: number(mean), variance: number(variance), values: `${number(least)} to ${number(largest)}` });
  list.replaceChildren(
    ...Object.entries(rows).flatMap(([name, text]) =>
      [["dt", name], ["dd", text]].map(([tag, textContent]) => Object.assign(document.createElement(tag), { textContent })),
    ),
  );
}

const digits = (value) => (value < 100 ? value.toPrecision(3) : value.toFixed(0));
const number = (value) => (value === null ? "not finite" : Number(value.toPrecision(5)).toString());

function draw(canvas, tensor, normalized) {
  canvas.hidden = current.kind !== "picture";
  if (canvas.hidden) return;
  Object.assign(canvas, { width: current.width, height: current.height });
  const pixels = new Uint8ClampedArray(tensor.toPixels(normalized));
  canvas.getContext("2d").putImageData(new ImageData(pixels, current.width, current.height), 0, 0);
}

function showErrors(found) {
  const short = (value) => (typeof value === "number" ? value.toExponential(1) : value);
  const units = (value) => (typeof value === "number" ? value.toFixed(1) : value);
  $("accuracy").textContent =
    `Against the f64 reference the largest error is ${short(found.max_abs_error)}, ` +
    `${short(found.max_error_over_largest)} of the largest output; the median is ${units(found.median_ulp)} units in ` +
    `the last place. ` +
    (found.within_tolerance ? "That is within tolerance." : "That is not within tolerance: a driver at fault, or a bug.");
  $("accuracy").dataset.within = found.within_tolerance;
}

async function showSpeed(input, op, attributes) {
  const { shape, dtype } = facts(input);
  const bytes = 2 * shape.reduce((product, axis) => product * axis, dtype === "f32" ? 4 : 2);
  const body = $("speed").tBodies[0];
  body.replaceChildren();
  if (bytes === 0) return;
  for (const [place, name] of [["gpu", "GPU"], ["cpu", "CPU, one thread"]]) {
    if (!engines[place] || wanted) continue;
    const timed = await engines[place].timed(input, op, attributes);
    const ms = await milliseconds(timed);
    timed.free();
    const row = body.insertRow();
    for (const text of [name, digits(ms), digits(bytes / ms / 1e6)]) row.insertCell().textContent = text;
  }
}

async function takeFile(file) {
  if (!file) return;
  try {
    await take(await read(file));
  } catch (thrown) {
    say(sentence(thrown));
  }
}

async function checkCases() {
  const [place, progress] = [$("place").value, $("progress")];
  const table = $("cases").tBodies[0];
  $("run-cases").disabled = true;
  progress.hidden = $("cases").parentElement.hidden = false;
  delete $("tally").dataset.done;
  $("tally").textContent = "running…";
  const started = performance.now();
  try {
    const { pass, FAIL } = await runCases(engines[place], table, progress);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    $("tally").textContent = `${pass} passed, ${FAIL} failed on the ${place.toUpperCase()} in ${seconds} s`;
  } catch (thrown) {
    $("tally").textContent = sentence(thrown);
  }
  $("tally").dataset.done = "true";
  progress.hidden = true;
  $("run-cases").disabled = false;
}

/** Files can be dropped anywhere. */
function acceptDrops() {
  const over = (event, inside) => {
    event.preventDefault();
    document.body.classList.toggle("over", inside);
  };
  addEventListener("dragover", (event) => over(event, true));
  addEventListener("dragleave", (event) => over(event, event.relatedTarget !== null));
  addEventListener("drop", (event) => {
    over(event, false);
    if (event.dataTransfer.files.length === 0) say("Expected a picture or a .npy file, got something that is no file.");
    takeFile(event.dataTransfer.files[0]);
  });
}

async function start() {
  await load();
  engines.cpu = await onCpu();
  try {
    const { normalizer, name } = await onGpu();
    engines.gpu = normalizer;
    $("executor").textContent = `On your GPU: ${name} (${normalizer.extras()}).`;
  } catch (thrown) {
    $("place").value = "cpu";
    $("place").disabled = true;
    $("executor").textContent = `On the CPU, one thread of it: ${thrown?.message ?? thrown}`;
  }
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("controls").addEventListener("change", update);
  $("file").addEventListener("change", (event) => takeFile(event.target.files[0]).then(() => (event.target.value = "")));
  $("sample").addEventListener("click", () => take(fromPicture("sample", sample())));
  $("run-cases").addEventListener("click", checkCases);
  acceptDrops();
  await take(fromPicture("sample", sample()));
}

start().catch((thrown) => {
  $("executor").textContent = "Nothing can run here.";
  $("result").ariaBusy = "false";
  say(sentence(thrown));
});
