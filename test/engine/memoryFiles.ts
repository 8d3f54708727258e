import type { ModelFiles } from '../../demo/engine/files/modelFiles.js';

/** A tensor of a file that is made for a test. */
export interface MadeTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The bytes of a safetensors file. */
export function safetensorsBytes(tensors: Readonly<Record<string, MadeTensor>>): Uint8Array<ArrayBuffer> {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors))
    header[name] = { dtype, shape, data_offsets: [end, (end += bytes.length)] };
  return fileOf(JSON.stringify(header), concatenated(Object.values(tensors).map(({ bytes }) => bytes)));
}

/** The tensors of a safetensors file. */
export function tensorsOfFile(file: Uint8Array): Readonly<Record<string, MadeTensor>> {
  const headerBytes = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const { __metadata__: _, ...entries } = JSON.parse(
    new TextDecoder().decode(file.subarray(8, 8 + headerBytes)),
  ) as Readonly<Record<string, TensorEntry>>;
  const tensors = Object.entries(entries).map(
    ([
      name,
      {
        dtype,
        shape,
        data_offsets: [start, end],
      },
    ]) => {
      const bytes = file.slice(8 + headerBytes + start, 8 + headerBytes + end);
      return [name, { dtype, shape, bytes }] as const;
    },
  );
  return Object.fromEntries(tensors);
}

interface TensorEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** The bytes of a file with a header, right or wrong. */
export function fileOf(header: string, data: Uint8Array = new Uint8Array()): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(header);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
  return concatenated([length, text, data]);
}

export function concatenated(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Files in memory, and the reads that were made: `[file, start, end]`. */
export class MemoryFiles implements ModelFiles {
  readonly name = 'test/model';
  readonly reads: (readonly [string, number, number])[] = [];
  readonly #files: ReadonlyMap<string, Uint8Array>;

  constructor(files: Readonly<Record<string, Uint8Array | string | object>>) {
    const bytesOf = (content: Uint8Array | string | object): Uint8Array => {
      if (content instanceof Uint8Array) return content;
      return new TextEncoder().encode(typeof content === 'string' ? content : JSON.stringify(content));
    };
    this.#files = new Map(Object.entries(files).map(([file, content]) => [file, bytesOf(content)]));
  }

  text(file: string): Promise<string | undefined> {
    const bytes = this.#files.get(file);
    return Promise.resolve(bytes && new TextDecoder().decode(bytes));
  }

  size(file: string): Promise<number | undefined> {
    return Promise.resolve(this.#files.get(file)?.length);
  }

  read(file: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    this.reads.push([file, start, end]);
    const bytes = this.#files.get(file)?.slice(start, end);
    if (bytes?.length !== end - start)
      return Promise.reject(new Error(`no bytes ${start} to ${end} of ${file}`));
    return Promise.resolve(bytes as Uint8Array<ArrayBuffer>);
  }
}
