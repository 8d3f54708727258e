import { open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { refuse } from '../engineError.js';
import type { ModelFiles } from './modelFiles.js';

/** The files of a folder, for Node. */
export class FolderFiles implements ModelFiles {
  readonly name: string;

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
    const path = join(this.name, file);
    const bytes = new Uint8Array(end - start);
    // Opened for each read: a large model may be of more files than a program may have open.
    const handle = await open(path);
    try {
      for (let done = 0; done < bytes.length;) {
        const { bytesRead } = await handle.read(bytes, done, bytes.length - done, start + done);
        if (bytesRead === 0) refuse(`${path} ends before byte ${end}: it is not whole.`);
        done += bytesRead;
      }
    } finally {
      await handle.close();
    }
    return bytes;
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
