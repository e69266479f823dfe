/** The text of PDF files; loaded when the first one is attached. */

import { getDocument, GlobalWorkerOptions, VerbosityLevel } from "pdfjs-dist/legacy/build/pdf.mjs";
import worker from "pdfjs-dist/legacy/build/pdf.worker.min.mjs?url";
import { strings } from "../strings";
import { NotAttachable } from "./attach";

GlobalWorkerOptions.workerSrc = worker;

/** Pages are parted by an empty line. Throws NotAttachable. */
export async function textOfPdf(file: File): Promise<string> {
  const task = getDocument({
    data: await file.arrayBuffer(),
    // Tables of East Asian encodings, which text without one of Unicode needs.
    cMapUrl: new URL("cmaps/", document.baseURI).href,
    disableFontFace: true,
    useWasm: false,
    verbosity: VerbosityLevel.ERRORS,
  });
  try {
    const text = await read(task);
    if (!text) throw new NotAttachable(strings.noTextInPdf(file.name));
    return text;
  } catch (error) {
    if (error instanceof NotAttachable) throw error;
    const isLocked = error instanceof Error && error.name === "PasswordException";
    throw new NotAttachable(isLocked ? strings.lockedPdf(file.name) : strings.brokenPdf(file.name));
  } finally {
    await task.destroy();
  }
}

async function read(task: ReturnType<typeof getDocument>): Promise<string> {
  const pdf = await task.promise;
  const pages: string[] = [];
  for (let number = 1; number <= pdf.numPages; number++) {
    const page = await pdf.getPage(number);
    const { items } = await page.getTextContent();
    const text = items.map((item) => ("str" in item ? item.str + (item.hasEOL ? "\n" : "") : "")).join("");
    // Letters that a font had no picture of are zeros, or whatever their places in the font were.
    pages.push(text.replaceAll(/[\x00-\x08\x0e-\x1f]/g, "").trim());
    page.cleanup();
  }
  return pages.filter(Boolean).join("\n\n");
}
