// Builds the page into a directory (`node build.mjs DIRECTORY`), where the crate `admin` finds it:
// names with a digest of the content, each file beside its brotli and gzip forms. What has not
// changed is not written again, so that cargo builds nothing anew for it.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "../../target/dashboard");

/** What a person waits for before the first view: more is refused, in bytes over the wire. */
const FIRST_VIEW_BYTES_MAX = 250_000;

const built = await build({
    absWorkingDir: here,
    entryPoints: { app: "src/main.tsx", style: "src/style.css" },
    bundle: true,
    splitting: true,
    format: "esm",
    target: ["es2022"],
    jsx: "automatic",
    jsxImportSource: "preact",
    minify: true,
    legalComments: "none",
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    assetNames: "[name]-[hash]",
    loader: { ".svg": "file" },
    publicPath: "/dashboard/",
    outdir: "out",
    write: false,
    metafile: true,
    logLevel: "warning",
});

const files = new Map();
for (const file of built.outputFiles) {
    files.set(file.path.split("/").pop(), Buffer.from(file.contents));
}
const named = (start, end) => [...files.keys()].find((n) => n.startsWith(start) && n.endsWith(end));
const [script, style] = [named("app-", ".js"), named("style-", ".css")];
const icon = readFileSync(join(here, "src/icon.svg"));
const digest = createHash("sha256").update(icon).digest("hex").slice(0, 8).toUpperCase();
files.set(`icon-${digest}.svg`, icon);

const page = readFileSync(join(here, "src/index.html"), "utf8")
    .replace("{style}", `/dashboard/${style}`)
    .replace("{script}", `/dashboard/${script}`)
    .replace("{icon}", `/dashboard/icon-${digest}.svg`);
files.set("index.html", Buffer.from(page));

/** The script with what it imports at once: chunks that are imported later do not count. */
function needed(path, seen = new Set()) {
    if (!seen.has(path)) {
        seen.add(path);
        for (const one of built.metafile.outputs[path].imports) {
            if (one.kind === "import-statement") needed(one.path, seen);
        }
    }
    return seen;
}
const compressed = (name) => {
    const mode = { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } };
    return brotliCompressSync(files.get(name), mode);
};
const first = [...needed(`out/${script}`)].map((path) => path.split("/").pop());
const bytes = ["index.html", style, ...first].reduce((sum, n) => sum + compressed(n).length, 0);
console.log(`the first view: ${bytes} bytes compressed, of ${FIRST_VIEW_BYTES_MAX}`);
if (bytes > FIRST_VIEW_BYTES_MAX) {
    console.error("that is too much");
    process.exit(1);
}

mkdirSync(out, { recursive: true });
const wanted = new Map();
for (const [name, content] of files) {
    wanted.set(name, content);
    wanted.set(`${name}.br`, compressed(name));
    wanted.set(`${name}.gz`, gzipSync(content, { level: 9 }));
}
for (const name of readdirSync(out)) {
    if (!wanted.has(name)) rmSync(join(out, name));
}
for (const [name, content] of wanted) {
    const path = join(out, name);
    let before = null;
    try {
        before = readFileSync(path);
    } catch {
        // It is new.
    }
    if (!before?.equals(content)) writeFileSync(path, content);
}
