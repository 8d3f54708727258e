import { open, readFile, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { refuse } from '../engineError.js';
import type { ModelFiles } from './modelFiles.js';

/** The files of a folder, for Node. Each file that is read by ranges is opened once, and stays open until `close`. */
export class FolderFiles implements ModelFiles {
  readonly name: string;
  readonly #handles = new Map<string, Promise<FileHandle>>();

  constructor(path: string) {
    this.name = path;
  }

  async text(file: string): Promise<string | undefined> {
    return readFile(join(this.name, file), 'utf8').catch(orMissing);
  }

  async size(file: string): Promise<number | undefined> {
    return (await stat(join(this.name, file)).catch(orMissing))?.size;
  }

  async read(file: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const handle = await this.#open(file);
    const bytes = new Uint8Array(end - start);
    for (let done = 0; done < bytes.length;) {
      const { bytesRead } = await handle.read(bytes, done, bytes.length - done, start + done);
      if (bytesRead === 0) refuse(`${join(this.name, file)} ends before byte ${end}: it is not whole.`);
      done += bytesRead;
    }
    return bytes;
  }

  async close(): Promise<void> {
    const handles = [...this.#handles.values()];
    this.#handles.clear();
    for (const handle of handles) await (await handle).close();
  }

  #open(file: string): Promise<FileHandle> {
    const found = this.#handles.get(file);
    if (found) return found;
    const handle = open(join(this.name, file));
    this.#handles.set(file, handle);
    handle.catch(() => this.#handles.delete(file));
    return handle;
  }
}

/**
 * Returns the files of a folder, for Node.
 *
 * @throws EngineError if there is no such folder
 */
export async function folderFiles(path: string): Promise<FolderFiles> {
  const found = await stat(path).catch(orMissing);
  if (!found) refuse(`There is no folder ${path}.`);
  if (!found.isDirectory()) refuse(`${path} is a file, not the folder of a model.`);
  return new FolderFiles(path);
}

function orMissing(error: unknown): undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error;
}
