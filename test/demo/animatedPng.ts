import { crc32, deflateSync } from 'node:zlib';

/** A part of a picture that has changed, and how long it is seen. */
export interface Frame {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  /** A colour for each pixel, row by row. 0 leaves it as it is. */
  readonly indices: Uint8Array;
  readonly ms: number;
}

export interface Animation {
  readonly width: number;
  readonly height: number;
  /** RGB for each colour; that of 0 is not used. */
  readonly palette: Uint8Array;
  /** The first one is the whole picture. */
  readonly frames: readonly Frame[];
}

/** Blends a frame over those before, and leaves it there. */
const DISPOSE_NONE = 0;
const BLEND_OVER = 1;
const PALETTE_COLORS = 3;

/** Encodes an animated PNG that begins anew at its end, see https://www.w3.org/TR/png-3/#apngFrameControlChunk. */
export function animatedPng({ width, height, palette, frames }: Animation): Uint8Array {
  let nControls = 0;
  const chunks = frames.flatMap((frame, i) => {
    const control = chunk('fcTL', [
      uint32(nControls++, frame.width, frame.height, frame.x, frame.y),
      uint16(frame.ms, 1000),
      Uint8Array.of(DISPOSE_NONE, BLEND_OVER),
    ]);
    const data = deflateSync(unfiltered(frame), { level: 9, memLevel: 9 });
    return [control, i === 0 ? chunk('IDAT', [data]) : chunk('fdAT', [uint32(nControls++), data])];
  });
  return Buffer.concat([
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk('IHDR', [uint32(width, height), Uint8Array.of(8, PALETTE_COLORS, 0, 0, 0)]),
    chunk('PLTE', [palette]),
    // Colour 0 is transparent.
    chunk('tRNS', [Uint8Array.of(0)]),
    chunk('acTL', [uint32(frames.length, 0)]),
    ...chunks,
    chunk('IEND', []),
  ]);
}

/** Rows as PNG has them, each after the number of its filter, which is none. */
function unfiltered({ indices, width, height }: Frame): Uint8Array {
  const rows = new Uint8Array(height * (width + 1));
  for (let y = 0; y < height; y++)
    rows.set(indices.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  return rows;
}

function chunk(name: string, parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat([Buffer.from(name, 'latin1'), ...parts]);
  return Buffer.concat([uint32(content.length - 4), content, uint32(crc32(content))]);
}

function uint32(...values: number[]): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => bytes.setUint32(4 * i, value));
  return new Uint8Array(bytes.buffer);
}

function uint16(...values: number[]): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(2 * values.length));
  values.forEach((value, i) => bytes.setUint16(2 * i, value));
  return new Uint8Array(bytes.buffer);
}
