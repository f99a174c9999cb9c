/**
 * Parse JSON so that JSON.stringify writes each number as it stood: a seed may have more digits than a number of
 * JavaScript keeps, and a receipt says 3.0. Where the browser lacks JSON.rawJSON, large numbers lose digits.
 */
export function parseExactly(text) {
  return JSON.parse(text, (_, value, context) => {
    if (typeof value !== "number" || !context?.source || !JSON.rawJSON) return value;
    return String(value) === context.source ? value : JSON.rawJSON(context.source);
  });
}

/** The value of a number that `parseExactly` has kept as text. */
export function plainNumber(value) {
  return JSON.isRawJSON?.(value) ? Number(value.rawJSON) : value;
}

/** A value of `parseExactly` as text for people. */
export function asText(value) {
  if (JSON.isRawJSON?.(value)) return value.rawJSON;
  return value !== null && typeof value === "object" ? JSON.stringify(value) : String(value ?? "");
}

/** The number that a text says, with all its digits. */
export function numberOf(text) {
  return /^[1-9][0-9]{15,}$/.test(text) && JSON.rawJSON ? JSON.rawJSON(text) : Number(text);
}
