// .npy files as NumPy writes them, and their values again; shares nothing with the page.

/** The bytes of a file with this element type, shape and body. */
export function npy(descriptor, shape, body, fortran = false) {
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const header = `{'descr': '${descriptor}', 'fortran_order': ${fortran ? "True" : "False"}, 'shape': (${tuple}), }`;
  const padded = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + "\n";
  const length = Buffer.alloc(2);
  length.writeUInt16LE(padded.length);
  return Buffer.concat([Buffer.from([0x93]), Buffer.from("NUMPY"), Buffer.from([1, 0]), length, Buffer.from(padded), body]);
}

/** The values of a file of float32. */
export function values(bytes) {
  const start = 10 + bytes.readUInt16LE(8);
  return Array.from({ length: (bytes.length - start) / 4 }, (_, i) => bytes.readFloatLE(start + 4 * i));
}

/** LayerNorm over rows of this length, in doubles. */
export function layerNorm(flat, row, eps) {
  const rows = Array.from({ length: flat.length / row }, (_, i) => flat.slice(i * row, (i + 1) * row));
  return rows.flatMap((values) => {
    const mean = values.reduce((sum, x) => sum + x, 0) / row;
    const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / row;
    return values.map((x) => (x - mean) / Math.sqrt(variance + eps));
  });
}
