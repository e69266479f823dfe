/** Files that a reader attaches: which kind each is, and what the model gets of it. */

import { strings } from "../strings";
import { fileSize } from "./format";
import type { Attachment, AttachmentKind } from "./model";
import { newId } from "./model";

/** An attachment of a message that is not sent yet; without data it is stored already, with another version. */
export interface Draft extends Attachment {
  data: string | null;
}

/** What the model takes besides text, from `/props`. */
export interface Modalities {
  vision?: boolean;
  audio?: boolean;
}

/** With a text for the reader. */
export class NotAttachable extends Error {}

/** In base64 it is a third more, and the server takes 64 MiB. */
const MAX_BYTES = 32 << 20;
/** What every server that sees takes as it is; others become PNG. */
const IMAGES = ["image/jpeg", "image/png"];
/** Names of sounds that the API has, by their MIME types. */
export const SOUNDS: Readonly<Record<string, string>> = {
  "audio/mpeg": "mp3",
  "audio/mp3": "mp3",
  "audio/wav": "wav",
  "audio/wave": "wav",
  "audio/x-wav": "wav",
  "audio/vnd.wave": "wav",
};

/** An image in SVG is text too, which every model can read. */
export function kindOf({ name, type }: { name: string; type: string }): AttachmentKind {
  if (type === "application/pdf" || /\.pdf$/i.test(name)) return "pdf";
  if (type.startsWith("image/") && type !== "image/svg+xml") return "image";
  return type.startsWith("audio/") ? "audio" : "text";
}

/** Throws NotAttachable. */
export async function attach(file: File, can: Modalities): Promise<Draft> {
  const { name, size } = file;
  if (size === 0) throw new NotAttachable(strings.emptyFile(name));
  if (size > MAX_BYTES) throw new NotAttachable(strings.largeFile(name, fileSize(size), fileSize(MAX_BYTES)));
  const kind = kindOf(file);
  if (kind === "image" && !can.vision) throw new NotAttachable(strings.cannotSee(name));
  if (kind === "audio" && !can.audio) throw new NotAttachable(strings.cannotHear(name));
  return { id: newId(), name, size, kind, ...(await READERS[kind](file)) };
}

type Read = Pick<Draft, "type" | "data">;

const READERS: Record<AttachmentKind, (file: File) => Promise<Read>> = {
  text: async (file) => {
    const text = decode(new Uint8Array(await file.arrayBuffer()));
    if (text === null) throw new NotAttachable(strings.notText(file.name));
    return { type: "text/plain", data: text };
  },
  pdf: async (file) => {
    const { textOfPdf } = await import("./pdf");
    return { type: "application/pdf", data: await textOfPdf(file) };
  },
  image: async (file) => {
    const image = IMAGES.includes(file.type) ? file : await toPng(file);
    return { type: image.type, data: await base64(image) };
  },
  audio: async (file) => {
    if (!(file.type in SOUNDS)) throw new NotAttachable(strings.unknownSound(file.name));
    return { type: file.type, data: await base64(file) };
  },
};

/** Whether files are being dragged, not a text. */
export function carriesFiles({ dataTransfer }: DragEvent): boolean {
  return dataTransfer?.types.includes("Files") ?? false;
}

/** A text as a file, such as one that was pasted. */
export function textDraft(name: string, text: string): Draft {
  const size = new TextEncoder().encode(text).length;
  return { id: newId(), name, size, kind: "text", type: "text/plain", data: text };
}

/** Bytes as text: UTF-16 where they say so, else UTF-8, else what Windows wrote in the West; null for no text. */
export function decode(bytes: Uint8Array): string | null {
  const text = decodeAs(encodingOf(bytes), bytes) ?? decodeAs("windows-1252", bytes) ?? "";
  // Texts have none of these characters; of other files hardly one has none.
  return /[\x00-\x08\x0e-\x1a\x1c-\x1f]/.test(text) ? null : text.replaceAll("\r\n", "\n");
}

function encodingOf([first, second]: Uint8Array): string {
  if (first === 0xff && second === 0xfe) return "utf-16le";
  return first === 0xfe && second === 0xff ? "utf-16be" : "utf-8";
}

function decodeAs(encoding: string, bytes: Uint8Array): string | null {
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

async function toPng(file: File): Promise<Blob> {
  try {
    const bitmap = await createImageBitmap(file);
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d")!.drawImage(bitmap, 0, 0);
    return await canvas.convertToBlob({ type: "image/png" });
  } catch {
    throw new NotAttachable(strings.unknownImage(file.name));
  }
}

async function base64(blob: Blob): Promise<string> {
  const reader = new FileReader();
  return new Promise((resolve, reject) => {
    reader.onload = () => resolve(String(reader.result).split(",", 2)[1] ?? "");
    reader.onerror = () => reject(reader.error ?? new Error());
    reader.readAsDataURL(blob);
  });
}
