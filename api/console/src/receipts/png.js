const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const LATIN1 = new TextDecoder("latin1");
const UTF8 = new TextDecoder();

/** Whether a file begins as a PNG does. */
export function isPng(bytes) {
  return SIGNATURE.every((byte, i) => bytes[i] === byte);
}

/**
 * The texts of a PNG's chunks tEXt, zTXt and iTXt, by keyword (https://www.w3.org/TR/png-3/#11textinfo). Ends at the
 * first chunk that is cut off.
 */
export async function readPngTexts(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const texts = {};
  for (let at = SIGNATURE.length; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const type = LATIN1.decode(bytes.subarray(at + 4, at + 8));
    if (at + 12 + length > bytes.length) break;
    const read = READERS[type];
    if (read) {
      const [keyword, text] = await read(bytes.subarray(at + 8, at + 8 + length));
      texts[keyword] = text;
    }
    at += 12 + length;
  }
  return texts;
}

const READERS = {
  async tEXt(data) {
    const [keyword, rest] = splitAtZero(data);
    return [LATIN1.decode(keyword), LATIN1.decode(rest)];
  },
  async zTXt(data) {
    const [keyword, rest] = splitAtZero(data);
    return [LATIN1.decode(keyword), LATIN1.decode(await inflate(rest.subarray(1)))];
  },
  async iTXt(data) {
    const [keyword, rest] = splitAtZero(data);
    const [, afterLanguage] = splitAtZero(rest.subarray(2)); // a flag and a method come before it
    const [, text] = splitAtZero(afterLanguage); // behind the translated keyword
    return [LATIN1.decode(keyword), UTF8.decode(rest[0] === 1 ? await inflate(text) : text)];
  },
};

function splitAtZero(data) {
  const zero = data.indexOf(0);
  return zero < 0 ? [data, data.subarray(data.length)] : [data.subarray(0, zero), data.subarray(zero + 1)];
}

async function inflate(data) {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
