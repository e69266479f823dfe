import { svelte } from "@sveltejs/vite-plugin-svelte";
import { createReadStream, createWriteStream } from "node:fs";
import { cp, readdir } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { constants, createBrotliCompress, createGzip } from "node:zlib";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const SERVER = process.env.LLAMAHTTP_URL ?? "http://127.0.0.1:8080";
const ROUTES = ["v1", "health", "props", "slots", "metrics", "tokenize", "detokenize", "apply-template", "tools", "openapi.json"];
const OUT = process.env.LLAMAHTTP_WEBUI_OUT ?? "../llamahttp/assets/webui";

/** Of KaTeX's fonts every browser that runs this page takes WOFF2. */
function onlyWoff2(): Plugin {
  return {
    name: "only-woff2",
    enforce: "pre",
    transform: (code, id) =>
      id.endsWith("katex.min.css") ? code.replaceAll(/,url\([^)]*\.(?:woff|ttf)\) format\("[^"]*"\)/g, "") : null,
  };
}

/** Tables of East Asian encodings beside the page, where pdf.js looks for them by their names. */
function cmaps(): Plugin {
  const from = "node_modules/pdfjs-dist/cmaps";
  return {
    name: "cmaps",
    apply: "build",
    closeBundle: () => cp(from, join(OUT, "cmaps"), { recursive: true }),
  };
}

/** Writes FILE.br and FILE.gz beside what compresses well; the server sends what the browser takes. */
function precompress(): Plugin {
  const brotli = () => createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  return {
    name: "precompress",
    apply: "build",
    async closeBundle() {
      const entries = await readdir(OUT, { recursive: true, withFileTypes: true });
      const files = entries.filter((entry) => entry.isFile() && /\.(?:m?js|css|html|svg)$/.test(entry.name));
      await Promise.all(
        files.flatMap((entry) => {
          const path = join(entry.parentPath, entry.name);
          return [
            pipeline(createReadStream(path), brotli(), createWriteStream(`${path}.br`)),
            pipeline(createReadStream(path), createGzip({ level: 9 }), createWriteStream(`${path}.gz`)),
          ];
        }),
      );
    },
  };
}

export default defineConfig({
  // Relative, so that the same bundle works below --api-prefix.
  base: "./",
  plugins: [onlyWoff2(), svelte(), cmaps(), precompress()],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    target: "es2023",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: Object.fromEntries(ROUTES.map((route) => [`/${route}`, { target: SERVER, changeOrigin: true }])),
  },
  test: { include: ["tests/**/*.test.ts"], environment: "node" },
});
