const LATIN1 = new TextDecoder("latin1");

/** Whether a file begins as a WebP does. */
export function isWebp(bytes) {
  return name(bytes, 0) === "RIFF" && name(bytes, 8) === "WEBP";
}

/** The XMP packet of a WebP, or null (https://developers.google.com/speed/webp/docs/riff_container). */
export function webpPacket(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 12; at + 8 <= bytes.length; ) {
    const length = view.getUint32(at + 4, true);
    if (name(bytes, at) === "XMP ") return bytes.subarray(at + 8, at + 8 + length);
    at += 8 + length + (length % 2); // chunks begin at even places
  }
  return null;
}

function name(bytes, at) {
  return LATIN1.decode(bytes.subarray(at, at + 4));
}
