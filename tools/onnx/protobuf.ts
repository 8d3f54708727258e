// The wire format of protocol buffers, as much of it as an ONNX model takes. A message is the concatenation of its fields.

/** A whole number, negative ones excepted. */
export function intField(field: number, value: number): Uint8Array {
  return concat([key(field, 0), varint(value)]);
}

/** An f32. */
export function floatField(field: number, value: number): Uint8Array {
  return concat([key(field, 5), new Uint8Array(Float32Array.of(value).buffer)]);
}

/** A string, or a message inside another. */
export function bytesField(field: number, value: string | Uint8Array): Uint8Array {
  const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value;
  return concat([key(field, 2), varint(bytes.length), bytes]);
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((total, { length }) => total + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

type WireType = 0 | 2 | 5;

function key(field: number, type: WireType): Uint8Array {
  return varint(field * 8 + type);
}

/** Seven bits a byte, the lowest first; the top bit says that more follow. */
function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Uint8Array.of(...bytes, rest);
}
