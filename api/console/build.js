// Bundles the page: `node build.js [FOLDER]` writes index.html, console.js, console.css and chart.js (uPlot, which is read
// when a chart is shown), by default into static/.
// The same sources give the same bytes on every machine; a test compares them with what is committed.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const folder = resolve(process.argv[2] ?? join(here, "static"));

// Templates keep the lines within text, which mean something to htm, and lose the others and their indentation; attributes
// on a line of their own stand behind a space, as the others do, which packs better.
const withoutLines = (text) =>
  text
    .replace(/([>}])\n\s+(?=<|\$\{)/g, "$1")
    .replace(/\n\s+(?=[\w-]+=["$]|\/>)/g, " ")
    .replace(/\n\s+/g, "\n");
const withoutIndentation = {
  name: "without indentation",
  setup: ({ onLoad }) => onLoad({ filter: /\/src\/.*\.js$/ }, ({ path }) => ({ contents: withoutLines(readFileSync(path, "utf8")), loader: "js" })),
};

const { outputFiles } = await build({
  absWorkingDir: here,
  entryPoints: { console: "src/main.js", "console-style": "src/styles/main.css" },
  bundle: true,
  splitting: true,
  chunkNames: "chart",
  minify: true,
  format: "esm",
  target: ["es2022"],
  legalComments: "none",
  charset: "utf8",
  outdir: "static",
  write: false,
  plugins: [withoutIndentation],
});

// The page names both files with a hash of their bytes, so that browsers may keep them for ever.
let page = readFileSync(join(here, "src/index.html"), "utf8");
mkdirSync(folder, { recursive: true });
for (const { path, contents } of outputFiles) {
  const name = basename(path).replace("console-style", "console");
  const hash = createHash("sha256").update(contents).digest("hex").slice(0, 12);
  page = page.replace(`console/${name}`, `console/${name}?v=${hash}`);
  writeFileSync(join(folder, name), contents);
}
writeFileSync(join(folder, "index.html"), page);
