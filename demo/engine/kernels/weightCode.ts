import { hasScales, type WeightFormat } from '../model/weightFormats.js';
import scales from './elements/scales.wgsl?raw';
import bf16 from './elements/weights_bf16.wgsl?raw';
import f16 from './elements/weights_f16.wgsl?raw';
import f32 from './elements/weights_f32.wgsl?raw';
import i4 from './elements/weights_i4.wgsl?raw';
import i8 from './elements/weights_i8.wgsl?raw';

const FORMATS: Readonly<Record<WeightFormat, string>> = { f32, f16, bf16, i8, i4 };

/** The WGSL that reads weights of a format. Their scales, where there are some, are at binding `scalesAt`. */
export function weightCode(format: WeightFormat, scalesAt: number): string {
  if (!hasScales(format)) return FORMATS[format];
  const binding = `@group(0) @binding(${scalesAt}) var<storage, read> scales: array<u32>;\n`;
  return `${binding}${scales}${FORMATS[format]}`;
}
