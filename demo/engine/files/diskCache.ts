import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { formatBytes, refuse } from '../engineError.js';
import { BLOCK_BYTES, readBlocks, type Block } from './blocks.js';
import { FolderFiles } from './folderFiles.js';
import { checkHubId, HubFiles, hubFiles, type HubOptions } from './hubFiles.js';
import type { ModelFiles } from './modelFiles.js';
import { UnreachableError } from './urlFiles.js';

/** Unfinished files older than this are of a run that was killed. */
const STALE_MS = 3_600_000;

export interface CacheOptions {
  /** Where models are kept. Default: the folder for caches that the system has for each user. */
  readonly cacheFolder?: string | undefined;
  /** Default 8 MiB. */
  readonly blockBytes?: number | undefined;
}

/**
 * Files that never change, kept on disk, for Node: texts as they are, files that are read by ranges in blocks of 8 MiB,
 * each under a number. Everything is written under another name first and then renamed, so that what is there is whole,
 * and several programs may share a cache.
 */
export class CachedFiles implements ModelFiles {
  readonly name: string;
  readonly #source: ModelFiles;
  readonly #kept: FolderFiles;
  readonly #blockBytes: number;
  /** Blocks that are on disk, or will be. */
  readonly #blocks = new Map<string, Promise<void>>();
  readonly #sizes = new Map<string, number>();

  constructor(source: ModelFiles, folder: string, { blockBytes = BLOCK_BYTES }: CacheOptions = {}) {
    this.name = source.name;
    this.#source = source;
    this.#kept = new FolderFiles(folder);
    this.#blockBytes = blockBytes;
  }

  async text(file: string): Promise<string | undefined> {
    const kept = await this.#kept.text(file);
    if (kept !== undefined) return kept;
    if ((await this.#kept.text(`${file}.none`)) !== undefined) return undefined;
    const text = await this.#source.text(file);
    await this.#write(text === undefined ? `${file}.none` : file, text ?? '');
    return text;
  }

  async size(file: string): Promise<number | undefined> {
    const known = this.#sizes.get(file);
    if (known !== undefined) return known;
    const folder = blocksOf(file);
    await removeStale(join(this.#kept.name, folder));
    const kept = await this.#kept.text(join(folder, 'size'));
    const size = kept === undefined ? await this.#source.size(file) : Number(kept);
    if (size === undefined) return undefined;
    if (kept === undefined) await this.#write(join(folder, 'size'), String(size));
    this.#sizes.set(file, size);
    return size;
  }

  async read(file: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const size = await this.size(file);
    if (size === undefined) refuse(`${this.name} has no ${file}.`);
    if (end > size) refuse(`${file} of ${this.name} ends before byte ${end}.`);
    return readBlocks({ start, end, size, blockBytes: this.#blockBytes }, async (block, from, until) => {
      const kept = join(blocksOf(file), block.name);
      await this.#ensure(kept, file, block);
      return this.#kept.read(kept, from, until);
    });
  }

  /** Sees to it that a block is on disk, once however many ask for it. */
  #ensure(kept: string, file: string, { first, last }: Block): Promise<void> {
    const found = this.#blocks.get(kept);
    if (found) return found;
    const load = async (): Promise<void> => {
      if ((await this.#kept.size(kept)) === last - first) return;
      await this.#write(kept, await this.#source.read(file, first, last));
    };
    const loading = load();
    this.#blocks.set(kept, loading);
    loading.catch(() => this.#blocks.delete(kept));
    return loading;
  }

  #write(file: string, content: string | Uint8Array): Promise<void> {
    return writeWhole(join(this.#kept.name, file), content, this.name);
  }
}

let nWritten = 0;

/** Writes a file that is there whole or not at all. */
async function writeWhole(path: string, content: string | Uint8Array, name: string): Promise<void> {
  const unfinished = `${path}.${process.pid}-${nWritten++}.part`;
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(unfinished, content);
    await rename(unfinished, path);
  } catch (cause) {
    await rm(unfinished, { force: true }).catch(() => {});
    refuse(
      `${formatBytes(content.length)} of ${name} cannot be kept in ${dirname(path)}: ${(cause as Error).message}.`,
      { cause },
    );
  }
}

async function removeStale(folder: string): Promise<void> {
  for (const file of await readdir(folder).catch(() => [])) {
    if (!file.endsWith('.part')) continue;
    // Another program may have removed it just now.
    const written = await stat(join(folder, file)).catch(() => undefined);
    if (written && Date.now() - written.mtimeMs > STALE_MS) await rm(join(folder, file), { force: true });
  }
}

function blocksOf(file: string): string {
  return `${file}.blocks`;
}

/**
 * Returns the files of a model on the Hugging Face Hub, kept on disk, for Node. Without a network it is the commit that
 * the revision was the last time.
 *
 * @throws EngineError as `hubFiles`, and if the disk is full
 */
export async function cachedHubFiles(
  id: string,
  { cacheFolder = userCacheFolder(), blockBytes, ...options }: HubOptions & CacheOptions = {},
): Promise<CachedFiles> {
  checkHubId(id);
  const folder = join(cacheFolder, id.replace('/', '--'));
  const note = join(folder, 'revisions', encodeURIComponent(options.revision ?? 'main'));
  const files = await hubFiles(id, options).catch(async (error: unknown) => {
    const commit = await readFile(note, 'utf8').catch(() => undefined);
    if (commit !== undefined && error instanceof UnreachableError) return new HubFiles(id, commit, options);
    throw error;
  });
  await writeWhole(note, files.commit, id);
  return new CachedFiles(files, join(folder, files.commit), { blockBytes });
}

/** Returns the folder of pageflash among the caches of the user. */
export function userCacheFolder(): string {
  const home = homedir();
  if (process.platform === 'darwin') return join(home, 'Library', 'Caches', 'pageflash', 'models');
  if (process.platform === 'win32')
    return join(process.env.LOCALAPPDATA ?? join(home, 'AppData', 'Local'), 'pageflash', 'models');
  return join(process.env.XDG_CACHE_HOME || join(home, '.cache'), 'pageflash', 'models');
}
