import type { Matrix } from '../model/matrix.js';
import { hasScales, scaleRowBytes, weightRowBytes, type WeightFormat } from '../model/weightFormats.js';
import bf16 from './elements/weights_bf16.wgsl?raw';
import f16 from './elements/weights_f16.wgsl?raw';
import f32 from './elements/weights_f32.wgsl?raw';
import i4 from './elements/weights_i4.wgsl?raw';
import i8 from './elements/weights_i8.wgsl?raw';
import plain from './elements/words_plain.wgsl?raw';
import scaled from './elements/words_scaled.wgsl?raw';
import { expect, expectBytes } from './layer.js';

const FORMATS: Readonly<Record<WeightFormat, string>> = { f32, f16, bf16, i8, i4 };

/** The WGSL that reads weights of a format. Their scales, where there are some, are at binding `scalesAt`. */
export function weightCode(format: WeightFormat, scalesAt: number): string {
  if (!hasScales(format)) return FORMATS[format] + plain;
  const binding = `@group(0) @binding(${scalesAt}) var<storage, read> scales: array<u32>;\n`;
  return `${binding}${FORMATS[format]}${scaled}`;
}

/** Refuses a matrix whose parts are not one after another, or have too few bytes. */
export function expectParts(op: string, { nOut, nIn, format, parts }: Matrix): void {
  let firstRow = 0;
  for (const part of parts) {
    expect(
      part.firstRow === firstRow,
      op,
      `a part begins at row ${part.firstRow}, the one before ends at ${firstRow}.`,
    );
    expect(part.firstRow % 2 === 0, op, `a part begins at row ${part.firstRow}, which is odd.`);
    const name = `the buffer of weights from row ${firstRow} on`;
    expectBytes(op, name, { buffer: part.weights, bytes: part.nRows * weightRowBytes(format, nIn) });
    const scaleBytes = part.nRows * scaleRowBytes(format, nIn);
    expect(scaleBytes === 0 || part.scales !== undefined, op, `${format} needs scales.`);
    if (part.scales)
      expectBytes(op, `the buffer of scales from row ${firstRow} on`, {
        buffer: part.scales,
        bytes: scaleBytes,
      });
    firstRow += part.nRows;
  }
  expect(firstRow === nOut, op, `its parts have ${firstRow} rows.`);
}
