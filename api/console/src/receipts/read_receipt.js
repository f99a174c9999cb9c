import { parseExactly } from "./exact_json.js";
import { isJpeg, jpegPacket } from "./jpeg.js";
import { isPng, readPngTexts } from "./png.js";
import { isWebp, webpPacket } from "./webp.js";
import { readPacket } from "./xmp.js";

const MAX_BYTES = 256 << 20;

/**
 * The receipt that an image file carries: {format, receipt, index, bytes}. `receipt` keeps its numbers as they stand
 * (`parseExactly`); `index`: which image of its job it is. Raises Error with a sentence for the user.
 */
export async function readReceipt(file) {
  if (file.size > MAX_BYTES) throw new Error("the file is too large to be an image of this fleet");
  const bytes = new Uint8Array(await file.arrayBuffer());
  const [format, texts] = await readTexts(bytes);
  if (!("receipt" in texts)) {
    throw new Error("the image carries no receipt: no fleet generated it, or a program saved it without its metadata");
  }
  // "picture": version 0.1
  return { format, bytes, receipt: parseObject(texts.receipt), index: readIndex(texts.index ?? texts.picture ?? "0") };
}

async function readTexts(bytes) {
  if (isPng(bytes)) return ["png", await readPngTexts(bytes).catch(() => damaged())];
  const [format, packet] = isJpeg(bytes) ? ["jpeg", jpegPacket(bytes)] : isWebp(bytes) ? ["webp", webpPacket(bytes)] : [];
  if (!format) throw new Error("the file is no PNG, JPEG or WebP");
  return [format, packet ? readPacket(packet) : {}];
}

function damaged() {
  throw new Error("the file's metadata is damaged");
}

function parseObject(text) {
  let receipt;
  try {
    receipt = parseExactly(text);
  } catch {
    throw new Error("the image's receipt is no JSON");
  }
  if (receipt === null || typeof receipt !== "object" || Array.isArray(receipt)) {
    throw new Error("the image's receipt is no JSON object");
  }
  return receipt;
}

function readIndex(text) {
  if (!/^[0-9]{1,6}$/.test(text)) throw new Error("the image's index within its job is no number");
  return Number(text);
}
