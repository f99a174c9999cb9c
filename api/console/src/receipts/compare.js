/** Whether two byte arrays are the same. */
export function areEqual(one, other) {
  return one.length === other.length && one.every((byte, i) => byte === other[i]);
}

/**
 * How the decoded pixels of two image files differ, as RGB: {width, height, largest, share, psnrDb, difference}, or
 * {sizes} where their sizes do. `largest`: difference of a channel, of 255; `share` of the pixels that differ;
 * `difference`: ImageData that shows where, black where nothing does.
 */
export async function comparePixels(one, other) {
  const [a, b] = [await decode(one), await decode(other)];
  if (a.width !== b.width || a.height !== b.height) return { sizes: [a, b].map(({ width, height }) => [width, height]) };
  const difference = new ImageData(a.width, a.height);
  let [largest, count, squares] = [0, 0, 0];
  for (let at = 0; at < a.data.length; at += 4) {
    let most = 0;
    for (let channel = at; channel < at + 3; channel += 1) {
      const distance = Math.abs(a.data[channel] - b.data[channel]);
      squares += distance * distance;
      if (distance > most) most = distance;
    }
    if (most > largest) largest = most;
    if (most) {
      count += 1;
      // Even a difference of 1 is to be seen.
      difference.data.set([Math.min(255, 80 + most * 4), Math.min(255, most * 3), 40], at);
    }
    difference.data[at + 3] = 255;
  }
  const pixels = a.width * a.height;
  const psnrDb = squares ? 10 * Math.log10((255 * 255 * 3 * pixels) / squares) : Infinity;
  return { width: a.width, height: a.height, largest, share: count / pixels, psnrDb, difference };
}

// No colour management and no alpha: the values as they are stored.
async function decode(blob) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "none" };
  const bitmap = await createImageBitmap(blob, options).catch(() => createImageBitmap(blob));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}
