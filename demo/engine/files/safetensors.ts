import { formatBytes, refuse } from '../engineError.js';
import { isJson, readJson, type Json, type ModelFiles } from './modelFiles.js';

/** How weights are stored in a checkpoint. */
export type StoredDType = 'f32' | 'f16' | 'bf16';

export const BYTES_PER_WEIGHT: Readonly<Record<StoredDType, number>> = { f32: 4, f16: 2, bf16: 2 };

/** Some whole rows of a tensor, as the file has them. */
export interface StoredRows {
  readonly firstRow: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A tensor of a checkpoint. Its bytes are still in the file. */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** Bytes in the file. */
  readonly bytes: number;
  /**
   * Reads the tensor, some whole rows at a time, in order: at most `maxBytes`, or one row if that is longer. While one
   * piece is used the next is already read, so that memory holds two of them. A vector is one row.
   */
  rows(maxBytes: number): AsyncIterable<StoredRows>;
}

const DTYPES: Readonly<Record<string, StoredDType>> = { F32: 'f32', F16: 'f16', BF16: 'bf16' };

const WHOLE_FILE = 'model.safetensors';
const INDEX_FILE = 'model.safetensors.index.json';

/** As safetensors' own readers have it. */
const MAX_HEADER_BYTES = 100_000_000;

/** What a file's header says of a tensor. */
interface Entry {
  readonly file: string;
  /** As the header has it, such as `BF16`. */
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly start: number;
  readonly end: number;
}

/** The tensors of a model in one safetensors file, or in several with an index. */
export class Checkpoint {
  readonly #files: ModelFiles;
  readonly #entries: ReadonlyMap<string, Entry>;

  private constructor(files: ModelFiles, entries: ReadonlyMap<string, Entry>) {
    this.#files = files;
    this.#entries = entries;
  }

  /**
   * Reads the headers of a model's weights, and checks them against the sizes of the files.
   *
   * @throws EngineError if there are none, or one is not as it should be
   */
  static async open(files: ModelFiles): Promise<Checkpoint> {
    const entries = new Map<string, Entry>();
    const index = await readJson(files, INDEX_FILE);
    if (!index) {
      for (const [name, entry] of await readHeader(files, WHOLE_FILE)) entries.set(name, entry);
      return new Checkpoint(files, entries);
    }
    const shards = shardsOf(files, index);
    const headers = await Promise.all([...shards.keys()].map((file) => readHeader(files, file)));
    for (const [i, [file, names]] of [...shards].entries()) {
      for (const name of names) {
        const entry = headers[i]!.get(name);
        if (!entry) refuse(`${INDEX_FILE} of ${files.name} says that ${file} has ${name}, but it has not.`);
        entries.set(name, entry);
      }
    }
    return new Checkpoint(files, entries);
  }

  /** Where the checkpoint is, in messages. */
  get name(): string {
    return this.#files.name;
  }

  /** All tensors, used or not. */
  get tensorNames(): readonly string[] {
    return [...this.#entries.keys()];
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** @throws EngineError if there is no such tensor, or its type is not one that the engine reads */
  tensor(name: string): StoredTensor {
    const entry = this.#entries.get(name);
    if (!entry) refuse(`The weights of ${this.name} have no ${name}.`);
    const dtype = Object.hasOwn(DTYPES, entry.dtype) ? DTYPES[entry.dtype] : undefined;
    if (!dtype) {
      refuse(
        `${name} of ${this.name} is stored as ${entry.dtype}; weights are read as F32, F16 or BF16. Take a version of the model that is not quantised.`,
      );
    }
    const { shape, start, end } = entry;
    const rows = (maxBytes: number): AsyncIterable<StoredRows> => readRows(this.#files, entry, maxBytes);
    return { name, dtype, shape, bytes: end - start, rows };
  }
}

/** Returns which tensors each file has, by an index of shards. */
function shardsOf(files: ModelFiles, index: Json): Map<string, string[]> {
  const { weight_map: weightMap } = index;
  if (!isJson(weightMap)) refuse(`${INDEX_FILE} of ${files.name} has no weight_map.`);
  const shards = new Map<string, string[]>();
  for (const [name, file] of Object.entries(weightMap)) {
    if (typeof file !== 'string' || !/^[\w.-]+\.safetensors$/.test(file)) {
      refuse(
        `${INDEX_FILE} of ${files.name} names a file for ${name} that is no safetensors file beside it: ${JSON.stringify(file)}.`,
      );
    }
    const names = shards.get(file);
    if (names) names.push(name);
    else shards.set(file, [name]);
  }
  return shards;
}

/**
 * A safetensors file starts with the length of the header (u64, little endian) and the header (JSON: type, shape and
 * offsets of each tensor, counted from the header's end). Then come the bytes of all tensors.
 */
async function readHeader(files: ModelFiles, file: string): Promise<Map<string, Entry>> {
  const size = await files.size(file);
  if (size === undefined) {
    refuse(
      file === WHOLE_FILE
        ? `${files.name} has neither ${WHOLE_FILE} nor ${INDEX_FILE}; weights are read from safetensors alone.`
        : `${files.name} lacks ${file}, which ${INDEX_FILE} names.`,
    );
  }
  const where = `${file} of ${files.name}`;
  if (size < 8) refuse(`${where} has ${size} bytes: it is no safetensors file.`);
  const start = await files.read(file, 0, Math.min(size, 16));
  if (new TextDecoder('latin1').decode(start).startsWith('version https://')) {
    refuse(`${where} is a pointer of Git LFS, not the file itself: run git lfs pull there.`);
  }
  const headerBytes = Number(new DataView(start.buffer).getBigUint64(0, true));
  if (headerBytes > MAX_HEADER_BYTES || headerBytes > size - 8) {
    refuse(
      `${where}, of ${formatBytes(size)}, does not begin with the length of its header: it is no safetensors file, or not whole.`,
    );
  }
  const header = parseHeader(where, await files.read(file, 8, 8 + headerBytes));
  const entries = new Map<string, Entry>();
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    entries.set(name, entryOf({ where, file, name, value, dataStart: 8 + headerBytes, size }));
  }
  return entries;
}

function parseHeader(where: string, bytes: Uint8Array): Json {
  try {
    const header: unknown = JSON.parse(new TextDecoder('utf8', { fatal: true }).decode(bytes));
    if (isJson(header)) return header;
  } catch {
    // Said below, too.
  }
  return refuse(`The header of ${where} is no JSON object: it is no safetensors file.`);
}

/** Bits of an element of each type of the format, but for those of less than a byte. */
const BITS: ReadonlyMap<string, number> = new Map(
  [
    { bits: 8, types: ['BOOL', 'U8', 'I8', 'F8_E5M2', 'F8_E4M3', 'F8_E8M0'] },
    { bits: 16, types: ['I16', 'U16', 'F16', 'BF16'] },
    { bits: 32, types: ['I32', 'U32', 'F32'] },
    { bits: 64, types: ['I64', 'U64', 'F64', 'C64'] },
  ].flatMap(({ bits, types }) => types.map((type) => [type, bits] as const)),
);

interface UncheckedEntry {
  readonly where: string;
  readonly file: string;
  readonly name: string;
  readonly value: unknown;
  readonly dataStart: number;
  readonly size: number;
}

function entryOf({ where, file, name, value, dataStart, size }: UncheckedEntry): Entry {
  const fields = isJson(value) ? value : {};
  const { dtype, shape, data_offsets: offsets } = fields;
  if (typeof dtype !== 'string' || !isCounts(shape) || !isCounts(offsets) || offsets.length !== 2)
    refuse(`The header of ${where} does not say dtype, shape and data_offsets of ${name}.`);
  const [begin, end] = offsets as [number, number];
  if (begin > end || dataStart + end > size) {
    refuse(
      `${name} of ${where} has the bytes ${begin} to ${end} of ${size - dataStart}: the file is not whole.`,
    );
  }
  const bits = BITS.get(dtype);
  const bytes = (shape.reduce((product, length) => product * length, 1) * (bits ?? 0)) / 8;
  if (bits !== undefined && bytes !== end - begin) {
    refuse(
      `${name} of ${where} is ${dtype} [${shape.join(', ')}], which are ${bytes} bytes, but it has ${end - begin}.`,
    );
  }
  return { file, dtype, shape, start: dataStart + begin, end: dataStart + end };
}

function isCounts(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((count) => Number.isSafeInteger(count) && count >= 0);
}

async function* readRows(files: ModelFiles, entry: Entry, maxBytes: number): AsyncGenerator<StoredRows> {
  const { file, shape, start, end } = entry;
  const nRows = shape.length > 1 ? shape[0]! : 1;
  const rowBytes = (end - start) / nRows;
  if (end === start) return;
  const rowsAtOnce = Math.max(1, Math.floor(maxBytes / rowBytes));
  const read = (firstRow: number): Promise<Uint8Array<ArrayBuffer>> => {
    const lastRow = Math.min(nRows, firstRow + rowsAtOnce);
    return files.read(file, start + firstRow * rowBytes, start + lastRow * rowBytes);
  };
  let next = read(0);
  for (let firstRow = 0; firstRow < nRows; firstRow += rowsAtOnce) {
    const bytes = await next;
    if (firstRow + rowsAtOnce < nRows) {
      next = read(firstRow + rowsAtOnce);
      next.catch(() => {}); // awaited in the next round, unless the loop is left before
    }
    yield { firstRow, bytes };
  }
}
