import { kvBytesPerToken, PageflashError } from 'pageflash';
import { EngineError } from '../../engine/engineError.js';
import { modelShape } from '../../engine/model/fits.js';
import type { Engine } from '../../engine/serving/engine.js';
import type { Answers, ConversationTokens } from './answers.js';
import type { LoadedModel, OpenedModel } from './engineHost.js';

// Pages of conversations in the browser's storage, so that after a reload no prompt is computed again: a file
// `conversations/ID` for each, which a save replaces whole. It begins with a line that says what it is, a `Head` as JSON.
// Files of other models, or of this one as it was run otherwise, wait for that. Where anything is wrong with one, it is
// deleted, and what was in it is computed again.

/** Of all files together. Those that were written first give way. */
const MAX_BYTES = 64 * 2 ** 20;
const MAX_HEAD_BYTES = 2 ** 20;
const NEW_LINE = 10;

interface Head {
  /** How the model was run. */
  readonly model: string;
  /** Of the conversation, the last ones of which may not be in the pages. */
  readonly tokens: readonly number[];
}

/** What a model has found of conversations. */
export interface Restored {
  readonly conversations: readonly ConversationTokens[];
  readonly nTokens: number;
  /** Files that were damaged, or of a model that has changed since. */
  readonly nLost: number;
}

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

  /** These are all conversations that there are. */
  keepOnly(conversations: readonly string[]): Promise<void> {
    return this.#change(async (folder) => {
      const names = new Set(conversations.map(nameOf));
      for (const { name } of await filesOf(folder)) if (!names.has(name)) await folder.removeEntry(name);
    });
  }

  /** Puts what is kept of a model into its cache. */
  async restore(opened: OpenedModel): Promise<Restored> {
    const { engine, mode, facts } = opened;
    const conversations: ConversationTokens[] = [];
    let nTokens = 0;
    let nLost = 0;
    await this.#change(async (folder) => {
      // Another model computes conversations anew.
      this.#written.clear();
      if (mode.attention === 'naive') return;
      let room = bytesOf(facts.nPages * facts.pageSize, engine);
      const fitting: { readonly name: string; readonly pages: Blob; readonly head: Head | undefined }[] = [];
      for (const { name, file } of await filesOf(folder)) {
        const { head, pages } = await readHead(file);
        if (head && head.model !== modelOf(opened)) continue;
        if (room > 0) fitting.push({ name, pages, head });
        room -= pages.size;
      }
      // The newest last, since what is restored first is the first to be evicted.
      for (const { name, pages, head } of fitting.toReversed()) {
        try {
          if (!head) throw new Error('It does not say what it is.');
          const conversation = decodeURIComponent(name);
          nTokens += await engine.restore(pages);
          conversations.push({ conversation, tokens: head.tokens });
          this.#written.set(conversation, head.tokens);
        } catch (error) {
          if (isOfEngine(error)) return;
          nLost++;
          await folder.removeEntry(name);
        }
      }
    });
    return { conversations, nTokens, nLost };
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
  loaded: LoadedModel,
): Promise<void> {
  const { engine } = loaded;
  if (bytesOf(tokens.length, engine) > MAX_BYTES) return;
  // If this fails, the file has what it had before. One that was made for it is empty, and deleted by the next load.
  const handle = await folder.getFileHandle(nameOf(conversation), { create: true });
  const writable = await handle.createWritable();
  const head: Head = { model: modelOf(loaded), tokens };
  await writable.write(`${JSON.stringify(head)}\n`);
  await engine.save(tokens).pipeTo(writable);
}

/** No head if there is none that can be read. */
async function readHead(file: File): Promise<{ readonly head: Head | undefined; readonly pages: Blob }> {
  const start = new Uint8Array(await file.slice(0, MAX_HEAD_BYTES).arrayBuffer());
  const length = start.indexOf(NEW_LINE);
  const pages = file.slice(length + 1);
  try {
    const head = JSON.parse(new TextDecoder().decode(start.subarray(0, length))) as Partial<Head>;
    const { model, tokens } = head;
    if (typeof model === 'string' && Array.isArray(tokens)) return { head: { model, tokens }, pages };
  } catch {
    // It is damaged, or of an earlier version of this page.
  }
  return { head: undefined, pages };
}

/** What decides whether pages can be found again, but for what the model's files themselves are. */
function modelOf({ facts }: OpenedModel): string {
  const { name, source, weights, context, gpu } = facts;
  return JSON.stringify([source.kind, name, weights, context, gpu]);
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
