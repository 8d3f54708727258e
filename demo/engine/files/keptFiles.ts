import { formatBytes, refuse } from '../engineError.js';
import { BLOCK_BYTES, readBlocks, type Block } from './blocks.js';
import type { ModelFiles } from './modelFiles.js';

export interface KeptFilesOptions {
  /** The place in messages. */
  readonly name: string;
  /** Where files come from that are not kept yet; undefined: from nowhere. */
  readonly source: ModelFiles | undefined;
  /** A folder of the browser's storage. */
  readonly folder: FileSystemDirectoryHandle;
  /** Default 8 MiB. */
  readonly blockBytes?: number | undefined;
}

/**
 * Files that never change, kept in the browser's own storage: texts whole, files that are read by ranges in blocks of
 * 8 MiB. A file of that storage is there whole or not at all, since what is written replaces it when it is closed.
 *
 * If there is no room, files are read from their source, and `notKept` says why.
 */
export class KeptFiles implements ModelFiles {
  readonly name: string;
  readonly #source: ModelFiles | undefined;
  readonly #folder: FileSystemDirectoryHandle;
  readonly #blockBytes: number;
  readonly #sizes = new Map<string, number>();
  #notKept: string | undefined;

  constructor({ name, source, folder, blockBytes = BLOCK_BYTES }: KeptFilesOptions) {
    this.name = name;
    this.#source = source;
    this.#folder = folder;
    this.#blockBytes = blockBytes;
  }

  /** Why not all was kept; undefined if it was. */
  get notKept(): string | undefined {
    return this.#notKept;
  }

  async text(file: string): Promise<string | undefined> {
    const kept = await this.#find(file);
    if (kept) return kept.text();
    if ((await this.#find(`${file}.none`)) || !this.#source) return undefined;
    const text = await this.#source.text(file);
    await this.#keep(text === undefined ? `${file}.none` : file, text ?? '');
    return text;
  }

  async size(file: string): Promise<number | undefined> {
    const known = this.#sizes.get(file);
    if (known !== undefined) return known;
    const kept = await this.#find(`${file}.size`);
    const size = kept ? Number(await kept.text()) : await this.#source?.size(file);
    if (size === undefined) return undefined;
    if (!kept) await this.#keep(`${file}.size`, String(size));
    this.#sizes.set(file, size);
    return size;
  }

  async read(file: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const size = await this.size(file);
    if (size === undefined) refuse(`${this.name} has no ${file}.`);
    if (end > size) refuse(`${file} of ${this.name} ends before byte ${end}.`);
    return readBlocks({ start, end, size, blockBytes: this.#blockBytes }, async (block, from, until) => {
      const kept = await this.#block(file, block);
      return new Uint8Array(await kept.slice(from, until).arrayBuffer());
    });
  }

  /** The bytes of a block, which are kept by then if there is room. */
  async #block(file: string, { name: number, first, last }: Block): Promise<Blob> {
    const name = `${file}.${number}`;
    const kept = await this.#find(name);
    if (kept?.size === last - first) return kept;
    if (!this.#source) refuse(`${file} of ${this.name} is not kept whole in this browser. Load it again.`);
    const bytes = await this.#source.read(file, first, last);
    await this.#keep(name, bytes);
    return new Blob([bytes]);
  }

  async #find(name: string): Promise<File | undefined> {
    try {
      return await (await this.#folder.getFileHandle(name)).getFile();
    } catch {
      return undefined;
    }
  }

  async #keep(name: string, content: string | Uint8Array<ArrayBuffer>): Promise<void> {
    if (this.#notKept !== undefined) return;
    try {
      await writeFile(this.#folder, name, content);
    } catch (error) {
      this.#notKept = `${this.name} is not kept in this browser: ${(error as Error).message}`;
    }
  }
}

/** Writes a file of the browser's storage, which is there whole or not at all. */
export async function writeFile(
  folder: FileSystemDirectoryHandle,
  name: string,
  content: string | Uint8Array<ArrayBuffer>,
): Promise<void> {
  const handle = await folder.getFileHandle(name, { create: true });
  const writable = await handle.createWritable();
  try {
    await writable.write(content);
    await writable.close();
  } catch (cause) {
    await writable.abort().catch(() => {});
    // It was made empty.
    await folder.removeEntry(name).catch(() => {});
    refuse(`${formatBytes(content.length)} do not fit into its storage (${(cause as Error).message}).`, {
      cause,
    });
  }
}

/** The files of a folder that somebody has picked, by their names. */
export class PickedFiles implements ModelFiles {
  readonly name: string;
  readonly #files: ReadonlyMap<string, File>;

  constructor(name: string, files: readonly File[]) {
    this.name = name;
    this.#files = new Map(files.map((file) => [file.name, file]));
  }

  text(file: string): Promise<string | undefined> {
    return Promise.resolve(this.#files.get(file)?.text());
  }

  size(file: string): Promise<number | undefined> {
    return Promise.resolve(this.#files.get(file)?.size);
  }

  async read(file: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const found = this.#files.get(file) ?? refuse(`${this.name} has no ${file}.`);
    if (end > found.size) refuse(`${file} of ${this.name} ends before byte ${end}: it is not whole.`);
    return new Uint8Array(await found.slice(start, end).arrayBuffer());
  }
}
