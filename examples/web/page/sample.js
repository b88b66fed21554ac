// The sample picture, drawn here: hills in a warm haze, dull enough that a normalization shows.

/** Numbers from 0 to 1 that are the same on every visit. */
function* numbers(seed) {
  for (;;) {
    seed = (seed * 1664525 + 1013904223) >>> 0;
    yield seed / 2 ** 32;
  }
}

/** Draws the sample and returns its canvas. */
export function sample(width = 480, height = 320) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const sky = context.createLinearGradient(0, 0, 0, height);
  sky.addColorStop(0, "#8f8a86");
  sky.addColorStop(1, "#b9a184");
  context.fillStyle = sky;
  context.fillRect(0, 0, width, height);

  context.fillStyle = "#cbb391";
  context.beginPath();
  context.arc(width * 0.7, height * 0.34, height * 0.12, 0, 2 * Math.PI);
  context.fill();

  const random = numbers(7);
  const next = () => random.next().value;
  for (const [depth, colour] of ["#a19283", "#8f8778", "#7d7b6c", "#6c6d60"].entries()) {
    const [waves, shift] = [2 + 2 * next(), 6 * next()];
    const base = height * (0.5 + 0.13 * depth);
    context.fillStyle = colour;
    context.beginPath();
    context.moveTo(0, height);
    for (let x = 0; x <= width; x += 2) {
      const ridge = Math.sin((x / width) * waves * Math.PI + shift) + 0.25 * Math.sin((x / width) * 9 * waves + shift);
      context.lineTo(x, base - height * 0.07 * ridge);
    }
    context.lineTo(width, height);
    context.fill();
  }
  for (let i = 0; i < 70; i++) {
    const [x, y] = [width * next(), height * (0.8 + 0.2 * next())];
    const size = height * (0.02 + 0.03 * next());
    context.fillStyle = next() < 0.2 ? "#8a6f5e" : "#5b6054";
    context.beginPath();
    context.moveTo(x, y - 2.5 * size);
    context.lineTo(x - size, y);
    context.lineTo(x + size, y);
    context.fill();
  }
  return canvas;
}
