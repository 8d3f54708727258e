import { refuse } from '../../engine/engineError.js';
import { checkHubId, HubFiles, hubFiles } from '../../engine/files/hubFiles.js';
import { KeptFiles, PickedFiles, writeFile } from '../../engine/files/keptFiles.js';
import type { ModelFiles } from '../../engine/files/modelFiles.js';
import type { KeptModel, ModelSource } from '../protocol.js';
import { shippedFiles } from './shippedFiles.js';

// Where models come from, and those that are kept in the browser's storage: a folder `models/NAME` for each, with a note
// once it is whole.

const NOTE = 'pageflash.json';
const COMMIT = 'commit.json';

interface Note {
  readonly source: ModelSource;
  readonly bytes: number;
}

/** Files of a model, and what is to be done once all of them were read. */
export interface OpenFiles {
  readonly files: ModelFiles;
  /** Notes that all is there. Returns why it is not kept, if it is not. */
  readonly finish: (bytes: number) => Promise<string | undefined>;
}

/**
 * Opens a model. One that is kept whole is read from the browser's storage, without any request.
 *
 * @throws EngineError if there is no such model
 */
export async function openFiles(source: ModelSource, signal?: AbortSignal): Promise<OpenFiles> {
  if (source.kind === 'shipped') return { files: shippedFiles, finish: () => Promise.resolve(undefined) };
  if (source.kind === 'hub') checkHubId(source.id);
  const name = nameOf(source);
  const root = await rootFolder();
  if (!root) {
    const files = await sourceFiles(source, signal);
    return { files, finish: () => Promise.resolve('This browser gives the page no storage.') };
  }
  const isPicked = source.kind === 'folder' && source.files !== undefined;
  const kept = isPicked ? undefined : await keptFolder(root, source);
  if (kept) {
    const files = new KeptFiles({ name, source: undefined, folder: kept });
    return { files, finish: () => Promise.resolve(undefined) };
  }
  const origin = await sourceFiles(source, signal);
  const folder = await beginFolder(root, source, origin instanceof HubFiles ? origin.commit : undefined);
  const files = new KeptFiles({ name, source: origin, folder });
  return {
    files,
    finish: async (bytes) => {
      if (files.notKept !== undefined) return files.notKept;
      const note: Note = { source: withoutFiles(source), bytes };
      await writeFile(folder, NOTE, JSON.stringify(note));
      // So that the browser does not clear it when it needs room. It may say no.
      await navigator.storage.persist?.().catch(() => false);
      return undefined;
    },
  };
}

/** The files for a look at the config: nothing is kept of them. */
export async function peekFiles(source: ModelSource): Promise<ModelFiles> {
  if (source.kind === 'shipped') return shippedFiles;
  if (source.kind === 'folder' && source.files) return sourceFiles(source);
  const root = await rootFolder();
  const kept = root && (await keptFolder(root, source));
  return kept
    ? new KeptFiles({ name: nameOf(source), source: undefined, folder: kept })
    : sourceFiles(source);
}

export async function listKept(): Promise<readonly KeptModel[]> {
  const models: KeptModel[] = [];
  const root = await rootFolder();
  if (!root) return models;
  for await (const handle of root.values()) {
    if (handle.kind !== 'directory') continue;
    const note = (await readJson(handle as FileSystemDirectoryHandle, NOTE)) as Note | undefined;
    if (note) models.push({ name: nameOf(note.source), ...note });
  }
  return models;
}

export async function forgetKept(name: string): Promise<void> {
  const root = await rootFolder();
  for (const { source } of (await listKept()).filter((model) => model.name === name))
    await root?.removeEntry(folderNameOf(source), { recursive: true });
}

/** Bytes that the browser's storage has room for; undefined if it does not say. */
export async function freeBytes(): Promise<number | undefined> {
  const { quota, usage } = (await navigator.storage?.estimate?.().catch(() => undefined)) ?? {};
  return quota === undefined || usage === undefined ? undefined : quota - usage;
}

export function nameOf(source: ModelSource): string {
  if (source.kind === 'shipped') return shippedFiles.name;
  return source.kind === 'hub' ? source.id : source.name;
}

async function sourceFiles(source: ModelSource, signal?: AbortSignal): Promise<ModelFiles> {
  if (source.kind === 'hub') return hubFiles(source.id, { signal });
  if (source.kind === 'folder' && source.files) return new PickedFiles(source.name, source.files);
  return refuse(`${nameOf(source)} is no longer kept in this browser. Pick its folder again.`);
}

function withoutFiles(source: ModelSource): ModelSource {
  return source.kind === 'folder' ? { kind: 'folder', name: source.name } : source;
}

function folderNameOf(source: ModelSource): string {
  return encodeURIComponent(`${source.kind}:${nameOf(source)}`);
}

/** The folder of a model that is kept whole. */
async function keptFolder(
  root: FileSystemDirectoryHandle,
  source: ModelSource,
): Promise<FileSystemDirectoryHandle | undefined> {
  const folder = await root.getDirectoryHandle(folderNameOf(source)).catch(() => undefined);
  return folder && (await readJson(folder, NOTE)) ? folder : undefined;
}

/**
 * The folder of a model that is to be kept. It goes on with what is there of the same commit; a folder that was picked
 * may have changed, so it starts anew.
 */
async function beginFolder(
  root: FileSystemDirectoryHandle,
  source: ModelSource,
  commit: string | undefined,
): Promise<FileSystemDirectoryHandle> {
  const name = folderNameOf(source);
  const old = await root.getDirectoryHandle(name).catch(() => undefined);
  if (old && (commit === undefined || (await readJson(old, COMMIT)) !== commit))
    await root.removeEntry(name, { recursive: true });
  const folder = await root.getDirectoryHandle(name, { create: true });
  await writeFile(folder, COMMIT, JSON.stringify(commit ?? null)).catch(() => {});
  return folder;
}

/** Private windows of some browsers have no such storage. */
async function rootFolder(): Promise<FileSystemDirectoryHandle | undefined> {
  try {
    const root = await navigator.storage.getDirectory();
    return await root.getDirectoryHandle('models', { create: true });
  } catch {
    return undefined;
  }
}

async function readJson(folder: FileSystemDirectoryHandle, name: string): Promise<unknown> {
  try {
    return JSON.parse(await (await (await folder.getFileHandle(name)).getFile()).text());
  } catch {
    return undefined;
  }
}
