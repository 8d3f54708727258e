// The attention shapes that are measured: add a case by adding a shape here.

/** Head counts and head size of a model that people run. */
export interface ModelHeads {
  readonly name: string;
  /** The model that the shape is taken from. */
  readonly model: string;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
}

/** Attention over a prompt. */
export interface PrefillShape extends ModelHeads {
  readonly causal: boolean;
  /** The number of keys that a query sees at most, its own included; 0: all. */
  readonly window: number;
  /** 0: none */
  readonly softcap: number;
  /** The prompt lengths to measure, in tokens. */
  readonly lengths: readonly number[];
}

/** One decode step over a paged cache: one new token per sequence. */
export interface DecodeShape extends ModelHeads {
  /** With it, values are the first elements of each key, as in MLA; else they are as large as keys, with pages of their own. */
  readonly headDimV?: number;
  /** The number of keys of each sequence. */
  readonly keys: readonly number[];
}

/** Page size of the cache, in tokens. */
export const PAGE_SIZE = 16;

const LENGTHS = [512, 1024, 2048, 4096];

export const PREFILL_SHAPES: readonly PrefillShape[] = [
  {
    name: 'llama-7b',
    model: 'LLaMA-7B',
    nHeads: 32,
    nKvHeads: 32,
    headDim: 128,
    causal: true,
    window: 0,
    softcap: 0,
    lengths: LENGTHS,
  },
  {
    name: 'llama-3-8b',
    model: 'Llama-3-8B',
    nHeads: 32,
    nKvHeads: 8,
    headDim: 128,
    causal: true,
    window: 0,
    softcap: 0,
    lengths: LENGTHS,
  },
  {
    name: 'qwen2.5-7b',
    model: 'Qwen2.5-7B',
    nHeads: 28,
    nKvHeads: 4,
    headDim: 128,
    causal: true,
    window: 0,
    softcap: 0,
    lengths: LENGTHS,
  },
  {
    name: 'gemma-2-9b',
    model: 'Gemma-2-9B, a sliding-window layer',
    nHeads: 16,
    nKvHeads: 8,
    headDim: 256,
    causal: true,
    window: 4096,
    softcap: 50,
    // The window hides keys only beyond 4096 tokens.
    lengths: [...LENGTHS, 8192],
  },
  {
    name: 'gemma-4-global',
    model: 'Gemma 4, a layer without a window',
    nHeads: 8,
    nKvHeads: 2,
    headDim: 512,
    causal: true,
    window: 0,
    softcap: 0,
    lengths: LENGTHS,
  },
  {
    name: 'llama-3.2-1b',
    model: 'Llama-3.2-1B',
    nHeads: 32,
    nKvHeads: 8,
    headDim: 64,
    causal: true,
    window: 0,
    softcap: 0,
    lengths: LENGTHS,
  },
  {
    name: 'encoder-base',
    model: 'BERT-base and ViT-B',
    nHeads: 12,
    nKvHeads: 12,
    headDim: 64,
    causal: false,
    window: 0,
    softcap: 0,
    lengths: LENGTHS,
  },
];

export const DECODE_SHAPES: readonly DecodeShape[] = [
  {
    name: 'decode-mha',
    model: 'LLaMA-7B, one sequence',
    nHeads: 32,
    nKvHeads: 32,
    headDim: 128,
    keys: [2048],
  },
  {
    name: 'decode-gqa',
    model: 'Qwen3-30B-A3B, two sequences',
    nHeads: 32,
    nKvHeads: 4,
    headDim: 128,
    keys: [2048, 2048],
  },
  {
    name: 'decode-ragged',
    model: 'Llama-3-8B, a ragged batch of eight sequences',
    nHeads: 32,
    nKvHeads: 8,
    headDim: 128,
    keys: [100, 1531, 640, 4000, 2047, 312, 3011, 1120],
  },
  {
    name: 'decode-long',
    model: 'Llama-3-70B split over eight devices, a long sequence',
    nHeads: 8,
    nKvHeads: 1,
    headDim: 128,
    keys: [16384],
  },
  {
    name: 'decode-gemma',
    model: 'Gemma 4, a layer without a window, one sequence',
    nHeads: 8,
    nKvHeads: 2,
    headDim: 512,
    keys: [4096],
  },
  {
    name: 'decode-mla',
    model: 'DeepSeek-V2-Lite (MLA), four sequences',
    nHeads: 16,
    nKvHeads: 1,
    headDim: 576,
    headDimV: 512,
    keys: [4096, 4096, 4096, 4096],
  },
  {
    name: 'decode-mla-wide',
    model: 'DeepSeek-V3 (MLA), one sequence',
    nHeads: 128,
    nKvHeads: 1,
    headDim: 576,
    headDimV: 512,
    keys: [4096],
  },
  {
    name: 'decode-small',
    model: 'Llama-3.2-1B, one sequence',
    nHeads: 32,
    nKvHeads: 8,
    headDim: 64,
    keys: [2048],
  },
];

export const SHAPES = [...PREFILL_SHAPES, ...DECODE_SHAPES];
