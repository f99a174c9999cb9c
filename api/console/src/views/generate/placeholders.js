/**
 * Images as data: URLs, with a white image of the same size in place of each that the API has accepted: an estimate
 * depends on the size alone, and is asked for after each pause in typing.
 */
const images = new Map(); // data: URL -> {key, placeholder}
let lastKey = 0;

/** The body of a request with `change(image)` in place of each of its images. */
export function withImages(body, change) {
  const changed = { ...body };
  for (const name of ["image", "mask_image"]) if (body[name]) changed[name] = change(body[name]);
  if (body.controlnets) changed.controlnets = body.controlnets.map((one) => (one.image ? { ...one, image: change(one.image) } : one));
  return changed;
}

/** A number for an image; the same for the same one. */
export function imageKey(data) {
  if (!images.has(data)) images.set(data, { key: (lastKey += 1), placeholder: null });
  return images.get(data).key;
}

/** What is sent in place of an image: itself until the API has accepted it. */
export function placeholderOf(data) {
  return images.get(data)?.placeholder ?? data;
}

/** The API has accepted the images of this body: make placeholders of them, and forget those of others. */
export async function makePlaceholders(body) {
  const used = new Set();
  withImages(body, (data) => used.add(data));
  for (const data of images.keys()) if (!used.has(data)) images.delete(data);
  for (const [data, image] of images) {
    if (!image.placeholder && data.startsWith("data:")) image.placeholder = await whiteImage(data).catch(() => null);
  }
}

async function whiteImage(data) {
  const image = new Image();
  image.src = data;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvas.toDataURL();
}
