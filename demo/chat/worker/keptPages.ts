import { kvBytesPerToken, PageflashError } from 'pageflash';
import { EngineError } from '../../engine/engineError.js';
import { modelShape } from '../../engine/model/fits.js';
import type { Engine } from '../../engine/serving/engine.js';
import type { Answers } from './answers.js';
import type { LoadedModel, OpenedModel } from './engineHost.js';

// Pages of conversations in the browser's storage, so that after a reload no prompt is computed again: a file
// `conversations/ID` for each, which a save replaces whole. Where anything is wrong with one, it is deleted, and what was
// in it is computed again.

/** Of all files together. Those that were written first give way. */
const MAX_BYTES = 64 * 2 ** 20;

interface KeptFile {
  readonly name: string;
  readonly file: File;
}

export class KeptPages {
  readonly #answers: Answers;
  /** By conversation: the tokens that are in its file, as far as this worker has written it. */
  readonly #written = new Map<string, readonly number[]>();
  /** Changes to the files, one after the other. */
  #changes: Promise<void> = Promise.resolve();

  constructor(answers: Answers) {
    this.#answers = answers;
  }

  /** Keeps what conversations have come to since the last time. Where another answer begins meanwhile, later. */
  save(loaded: LoadedModel): Promise<void> {
    return this.#change(async (folder) => {
      if (loaded.mode.attention === 'naive') return;
      for (const { conversation, tokens } of this.#answers.ended()) {
        if (this.#answers.nRunning > 0) return;
        if (isEqual(tokens, this.#written.get(conversation))) continue;
        await write(folder, conversation, tokens, loaded);
        this.#written.set(conversation, tokens);
      }
      await removeOldest(folder);
    });
  }

  /** A conversation is gone. */
  drop(conversation: string): Promise<void> {
    return this.#change(async (folder) => {
      this.#written.delete(conversation);
      await folder.removeEntry(nameOf(conversation));
    });
  }

  /** Puts what is kept into the cache of a model, and returns how many tokens that are. */
  async restore({ engine, mode, facts }: OpenedModel): Promise<number> {
    let nTokens = 0;
    await this.#change(async (folder) => {
      // Another model computes conversations anew.
      this.#written.clear();
      if (mode.attention === 'naive') return;
      let room = bytesOf(facts.nPages * facts.pageSize, engine);
      const fitting: KeptFile[] = [];
      for (const kept of await filesOf(folder)) {
        if (room > 0) fitting.push(kept);
        room -= kept.file.size;
      }
      // The newest last, since what is restored first is the first to be evicted.
      for (const { name, file } of fitting.toReversed()) {
        try {
          nTokens += await engine.restore(file);
        } catch (error) {
          if (isOfEngine(error)) return;
          await folder.removeEntry(name);
        }
      }
    });
    return nTokens;
  }

  /** A browser without such storage, or without room in it, keeps nothing. */
  #change(act: (folder: FileSystemDirectoryHandle) => Promise<void>): Promise<void> {
    this.#changes = this.#changes.then(async () => {
      try {
        const root = await navigator.storage.getDirectory();
        await act(await root.getDirectoryHandle('conversations', { create: true }));
      } catch {
        // What is not kept is computed again.
      }
    });
    return this.#changes;
  }
}

async function write(
  folder: FileSystemDirectoryHandle,
  conversation: string,
  tokens: readonly number[],
  { engine }: LoadedModel,
): Promise<void> {
  if (bytesOf(tokens.length, engine) > MAX_BYTES) return;
  // If this fails, the file has what it had before. One that was made for it is empty, and deleted by the next load.
  const handle = await folder.getFileHandle(nameOf(conversation), { create: true });
  await engine.save(tokens).pipeTo(await handle.createWritable());
}

/** The newest first. */
async function filesOf(folder: FileSystemDirectoryHandle): Promise<readonly KeptFile[]> {
  const files: KeptFile[] = [];
  for await (const handle of folder.values())
    if (handle.kind === 'file')
      files.push({ name: handle.name, file: await (handle as FileSystemFileHandle).getFile() });
  return files.toSorted((one, other) => other.file.lastModified - one.file.lastModified);
}

async function removeOldest(folder: FileSystemDirectoryHandle): Promise<void> {
  let room = MAX_BYTES;
  for (const { name, file } of await filesOf(folder))
    if ((room -= file.size) < 0) await folder.removeEntry(name);
}

/** Bytes of keys and values. */
function bytesOf(nTokens: number, { config }: Engine): number {
  return nTokens * kvBytesPerToken({ ...modelShape(config), dtype: 'f16' });
}

/** The engine has ended, as on a lost device: that says nothing of a file. */
function isOfEngine(error: unknown): boolean {
  return error instanceof EngineError || (error instanceof PageflashError && error.code === 'device');
}

function nameOf(conversation: string): string {
  return encodeURIComponent(conversation);
}

function isEqual(one: readonly number[], other: readonly number[] | undefined): boolean {
  return one.length === other?.length && one.every((token, i) => token === other[i]);
}
