/** A command for a POSIX shell that submits a request. With `isKeyed` it sends the key of a variable. */
export function curlOf(request, { address, isKeyed }) {
  const parts = [`curl -sS ${quote(address)}`, "-H 'Content-Type: application/json'"];
  if (isKeyed) parts.push('-H "Authorization: Bearer $SWIFT_API_KEY"');
  parts.push(`--data-binary ${quote(JSON.stringify(request, null, 2))}`);
  return parts.join(" \\\n  ");
}

/** A text as one word of a POSIX shell: within single quotes nothing but those is special. */
export function quote(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
