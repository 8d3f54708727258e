import { refuse } from '../engineError.js';

/** Where the files of a model come from. A file's name is that in the model's repository, such as `config.json`. */
export interface ModelFiles {
  /** The place in messages, such as the path of the folder or the model's id. */
  readonly name: string;
  /** Returns a text file; undefined if there is none of this name. */
  text(file: string): Promise<string | undefined>;
  /** Returns the bytes of a file; undefined if there is none of this name. */
  size(file: string): Promise<number | undefined>;
  /**
   * Returns the bytes from `start` up to, but not including, `end`: all of them, or it rejects. They lie at the start of
   * a buffer of their own.
   */
  read(file: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** An object of a JSON file, whose fields are not checked yet. */
export type Json = Readonly<Record<string, unknown>>;

export function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Returns the object in a JSON file; undefined if there is no such file.
 *
 * @throws EngineError if the file holds something else
 */
export async function readJson(files: ModelFiles, file: string): Promise<Json | undefined> {
  const text = await files.text(file);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    refuse(`${file} of ${files.name} is no JSON.`, { cause: error });
  }
  return isJson(value) ? value : refuse(`${file} of ${files.name} must hold a JSON object.`);
}
