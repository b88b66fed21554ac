// Pictures and .npy files become tensors. What cannot be used is thrown as a sentence.

import { HostTensor } from "./wgpu_norm.js";

/** Input, output and the reference in f64 have to fit the 4 GiB that WebAssembly can address. */
const MOST_BYTES = 256 * 2 ** 20;
/** What may stand before them: NumPy writes some hundred bytes. */
const HEADER = 2 ** 16;
/** Larger pictures are scaled down to this. */
const LONGEST_SIDE = 2048;

/** The tensor in a file, and what kind of file it is. */
export async function read(file) {
  if (file.size > MOST_BYTES + HEADER) {
    throw `${file.name}: expected at most ${MOST_BYTES >> 20} MiB, got ${Math.ceil(file.size / 2 ** 20)}. The command line takes larger files.`;
  }
  const bytes = await bytesOf(file);
  if (isNpy(bytes)) return fromNpy(file.name, bytes);
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) {
    const got = file.type ? `a file of type ${file.type}` : "something else";
    throw `${file.name}: expected a picture that the browser can show, or a .npy file as numpy.save writes it; got ${got}.`;
  }
  return fromPicture(file.name, picture);
}

async function bytesOf(file) {
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch {
    throw `${file.name}: cannot be read. Is it a folder, or has it changed meanwhile?`;
  }
}

const isNpy = (bytes) => bytes[0] === 0x93 && String.fromCharCode(...bytes.subarray(1, 6)) === "NUMPY";

function fromNpy(name, bytes) {
  try {
    return { kind: "npy", name, tensor: HostTensor.fromNpy(bytes) };
  } catch (reason) {
    throw `${name}: ${reason}`;
  }
}

/** A picture or a canvas as a tensor of one sample and three channels. */
export function fromPicture(name, picture) {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(picture.width, picture.height));
  const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height).data;
  return { kind: "picture", name, width, height, tensor: HostTensor.fromPixels(pixels, width, height) };
}
