import config from '../../model/config.json?url';
import generationConfig from '../../model/generation_config.json?url';
import weights from '../../model/model.safetensors?url';
import tokenizerConfig from '../../model/tokenizer_config.json?url';
import tokenizer from '../../model/tokenizer.json?url';
import { refuse } from '../../engine/engineError.js';
import type { ModelFiles } from '../../engine/files/modelFiles.js';

const URLS: ReadonlyMap<string, string> = new Map([
  ['config.json', config],
  ['generation_config.json', generationConfig],
  ['model.safetensors', weights],
  ['tokenizer.json', tokenizer],
  ['tokenizer_config.json', tokenizerConfig],
]);

/** The model that comes with the page. It stays in memory, so that a lost device needs no network. */
class ShippedFiles implements ModelFiles {
  readonly name = 'the tiny model';
  readonly #files = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();

  async text(file: string): Promise<string | undefined> {
    const bytes = await this.#load(file);
    return bytes && new TextDecoder().decode(bytes);
  }

  async size(file: string): Promise<number | undefined> {
    return (await this.#load(file))?.length;
  }

  async read(file: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    return (await this.#load(file))?.slice(start, end) ?? refuse(`${this.name} has no ${file}.`);
  }

  #load(file: string): Promise<Uint8Array<ArrayBuffer>> | undefined {
    const url = URLS.get(file);
    if (url === undefined) return undefined;
    const found = this.#files.get(file);
    if (found) return found;
    const loading = fetchBytes(url, file);
    this.#files.set(file, loading);
    loading.catch(() => this.#files.delete(file));
    return loading;
  }
}

async function fetchBytes(url: string, file: string): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(url).catch(() => undefined);
  if (!response?.ok)
    refuse(
      `${file} of the model that comes with this page cannot be loaded${response ? `: the server answers ${response.status}` : ''}. Load the page again.`,
    );
  return new Uint8Array(await response.arrayBuffer());
}

export const shippedFiles: ModelFiles = new ShippedFiles();
