const NAMESPACE = "urn:swiftdiffusion:image:1:";
const NOTE = "http://ns.adobe.com/xmp/note/";
const ENTITIES = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/**
 * The fleet's own properties in an XMP packet, by name: those that stand as elements and as attributes, as other
 * programs write short ones. Read without the browser's parser, whose report of an error is a document with styles.
 */
export function readPacket(bytes) {
  return properties(bytes, NAMESPACE);
}

/** The digest that names the rest of a packet, of a JPEG whose packet is longer than a segment; else undefined. */
export function extensionDigest(bytes) {
  return properties(bytes, NOTE).HasExtendedXMP;
}

function properties(bytes, namespace) {
  const text = new TextDecoder().decode(bytes);
  const declared = [...text.matchAll(/\sxmlns:([\w.-]+)\s*=\s*(["'])(.*?)\2/gs)].filter(([, , , uri]) => uri === namespace);
  const found = {};
  for (const prefix of new Set(declared.map(([, name]) => name.replaceAll(".", "\\.")))) {
    const elements = new RegExp(`<${prefix}:([\\w.-]+)(?:\\s[^<>]*)?>([^<]*)</${prefix}:\\1\\s*>`, "g");
    const attributes = new RegExp(`\\s${prefix}:([\\w.-]+)\\s*=\\s*(["'])(.*?)\\2`, "gs");
    for (const [, name, value] of text.matchAll(elements)) found[name] = unescaped(value);
    for (const [, name, , value] of text.matchAll(attributes)) found[name] ??= unescaped(value);
  }
  return found;
}

function unescaped(text) {
  return text.replace(/&(?:#(\d+)|#x([0-9a-f]+)|(\w+));/gi, (whole, decimal, hex, name) => {
    if (name) return ENTITIES[name] ?? whole;
    const code = decimal ? Number(decimal) : parseInt(hex, 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
