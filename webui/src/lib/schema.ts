/** Whether an answer follows its JSON Schema. */

import { Validator, type Schema } from "@cfworker/json-schema";

export interface Breach {
  /** Where in the answer, as a JSON pointer. */
  place: string;
  reason: string;
}

const LEVELS = new Set(["properties", "items", "additionalProperties", "$ref"]);

/** What in `text`, which is JSON, breaks `schema`; null where that cannot be told. */
export function breaches(text: string, schema: string): Breach[] | null {
  try {
    const { valid, errors } = new Validator(JSON.parse(schema) as Schema, "2020-12", false).validate(JSON.parse(text));
    // Of what is wrong deep inside, each level above is told too; the deepest tells what it is.
    const deep = errors.filter(({ keyword }) => !LEVELS.has(keyword));
    const told = deep.length ? deep : errors;
    return valid ? [] : told.map(({ instanceLocation, error }) => ({ place: instanceLocation, reason: error }));
  } catch {
    return null;
  }
}
