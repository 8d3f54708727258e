import { fromHalves } from 'pageflash';

/** One tensor of a file; f16 and bf16 are converted to f32. */
export interface StoredTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>;
}

interface HeaderEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** First byte and end (exclusive), counted from the end of the header. */
  readonly data_offsets: readonly [number, number];
}

/**
 * The tensors of a safetensors file, by name.
 *
 * The file starts with the length of the header (u64, little endian) and the header (JSON: type, shape and offsets of each
 * tensor). Then come the bytes of all tensors.
 */
export function parseSafetensors(file: ArrayBuffer): Map<string, StoredTensor> {
  const headerLength = Number(new DataView(file).getBigUint64(0, true));
  const headerText = new TextDecoder().decode(new Uint8Array(file, 8, headerLength));
  const header = JSON.parse(headerText) as Record<string, HeaderEntry>;

  const tensors = new Map<string, StoredTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const [begin, end] = entry.data_offsets;
    const bytes = file.slice(8 + headerLength + begin, 8 + headerLength + end);
    tensors.set(name, { shape: entry.shape, data: decode(name, entry.dtype, bytes) });
  }
  return tensors;
}

function decode(name: string, dtype: string, bytes: ArrayBuffer): StoredTensor['data'] {
  switch (dtype) {
    case 'F32':
      return new Float32Array(bytes);
    case 'F16':
      return fromHalves('f16', new Uint16Array(bytes));
    case 'BF16':
      return fromHalves('bf16', new Uint16Array(bytes));
    case 'I32':
      return new Int32Array(bytes);
    default:
      throw new Error(`${name} is stored as ${dtype}; this example reads F32, F16, BF16 and I32.`);
  }
}
