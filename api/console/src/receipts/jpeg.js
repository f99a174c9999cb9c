import { extensionDigest } from "./xmp.js";

const START = 0xd8;
const SCAN = 0xda;
const APP1 = 0xe1;
const MAIN = "http://ns.adobe.com/xap/1.0/\0";
const EXTENSION = "http://ns.adobe.com/xmp/extension/\0";
const DIGEST_CHARS = 32;
const LATIN1 = new TextDecoder("latin1");

/** Whether a file begins as a JPEG does. */
export function isJpeg(bytes) {
  return bytes[0] === 0xff && bytes[1] === START && bytes[2] === 0xff;
}

/**
 * The XMP packet of a JPEG, or null. One that is longer than a segment comes in parts (Adobe's XMP specification,
 * part 3, 1.1.3.1). Raises Error where a part is missing.
 */
export function jpegPacket(bytes) {
  const segments = [...app1Segments(bytes)];
  const main = segments.find((data) => startsWith(data, MAIN))?.subarray(MAIN.length);
  const digest = main && extensionDigest(main);
  return digest ? joined(segments, digest) : (main ?? null);
}

function joined(segments, digest) {
  let packet = null;
  let missing = 1;
  for (const data of segments) {
    const head = EXTENSION.length + DIGEST_CHARS;
    if (!startsWith(data, EXTENSION + digest) || data.length < head + 8) continue;
    const view = new DataView(data.buffer, data.byteOffset);
    const [length, offset] = [view.getUint32(head), view.getUint32(head + 4)];
    const part = data.subarray(head + 8);
    if (packet === null) [packet, missing] = [new Uint8Array(Math.min(length, 16 << 20)), length];
    if (offset + part.length > packet.length) break;
    packet.set(part, offset);
    missing -= part.length;
  }
  if (missing !== 0) throw new Error("a part of its metadata is missing");
  return packet;
}

function* app1Segments(bytes) {
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== SCAN; ) {
    const length = (bytes[at + 2] << 8) | bytes[at + 3];
    if (bytes[at + 1] === APP1) yield bytes.subarray(at + 4, at + 2 + length);
    at += 2 + length;
  }
}

function startsWith(data, text) {
  return LATIN1.decode(data.subarray(0, text.length)) === text;
}
