/** One tensor of a safetensors file: its bytes are a copy, aligned for any typed array. */
export interface SafeTensor {
  /** As the file spells it: F32, F16, BF16, I32, ... */
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: ArrayBuffer;
}

export interface SafeTensorsFile {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: Readonly<Record<string, SafeTensor>>;
}

interface HeaderEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** A safetensors file: u64 length of the header, the header as JSON, then the tensors' bytes. */
export function parseSafeTensors(file: ArrayBuffer): SafeTensorsFile {
  const headerBytes = Number(new DataView(file).getBigUint64(0, true));
  const header = new TextDecoder().decode(new Uint8Array(file, 8, headerBytes));
  const { __metadata__: metadata = {}, ...entries } = JSON.parse(header) as {
    readonly __metadata__?: Record<string, string>;
  } & Record<string, unknown>;
  const dataStart = 8 + headerBytes;
  const tensors = Object.fromEntries(
    Object.entries(entries as Record<string, HeaderEntry>).map(([name, entry]): [string, SafeTensor] => {
      const [begin, end] = entry.data_offsets;
      const bytes = file.slice(dataStart + begin, dataStart + end);
      return [name, { dtype: entry.dtype, shape: entry.shape, bytes }];
    }),
  );
  return { metadata, tensors };
}
