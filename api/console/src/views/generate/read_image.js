/** A picked or dropped file as the form keeps it: {data: a data: URL, thumb: what an <img> shows, name}. */
export function readImage(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onerror = () => reject(reader.error);
    reader.onload = () => resolve({ data: reader.result, thumb: reader.result, name: file.name });
    reader.readAsDataURL(file);
  });
}
