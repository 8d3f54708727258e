import {
  DECODE_SOFTWARE_DIVISOR,
  PREFILL_SOFTWARE_DIVISOR,
  type BenchCase,
  type CaseOptions,
  type DecodeCase,
  type PrefillCase,
} from './cases.js';

/** One model at many lengths, to show how time and memory grow: prompts, then decode steps of one sequence. */
export function scaleCases({ software, dtype, quick, full }: Omit<CaseOptions, 'shapes'>): BenchCase[] {
  const scaled = software && !full;
  const lengths = scaled ? SOFTWARE_LENGTHS : LENGTHS;
  const every = <T>(values: readonly T[]): readonly T[] =>
    quick ? values.filter((_, i) => i % 2 === 0) : values;
  const headsOver = (divisor: number) =>
    scaled ? { nHeads: MODEL.nHeads / divisor, nKvHeads: MODEL.nKvHeads / divisor } : {};
  return [
    ...every(lengths.prefill).map((length): PrefillCase => {
      const masks = { causal: true, window: 0, softcap: 0 };
      const heads = headsOver(PREFILL_SOFTWARE_DIVISOR);
      return { kind: 'prefill', shape: 'scale', ...MODEL, ...heads, ...masks, length, dtype, scaled };
    }),
    ...every(lengths.decode).map((nKeys): DecodeCase => {
      const heads = headsOver(DECODE_SOFTWARE_DIVISOR);
      return { kind: 'decode', shape: 'scale', ...MODEL, ...heads, keys: [nKeys], dtype, scaled };
    }),
  ];
}

/** It takes 131072 tokens. */
const MODEL = { model: 'Llama-3.1-8B', nHeads: 32, nKvHeads: 8, headDim: 128 };

const LENGTHS = {
  prefill: [128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768],
  decode: [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072],
};
const SOFTWARE_LENGTHS = {
  prefill: [128, 256, 512, 1024, 2048],
  decode: [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072],
};
