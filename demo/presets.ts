/** Shapes of attention that models have. The first is for adapters that run shaders on the CPU. */
export const SHAPES = [
  { name: 'Small', nHeads: 8, nKvHeads: 2, headDim: 64 },
  { name: 'Llama 3.2 1B', nHeads: 32, nKvHeads: 8, headDim: 64 },
  { name: 'Llama 3.1 8B', nHeads: 32, nKvHeads: 8, headDim: 128 },
  { name: 'Qwen 2.5 0.5B', nHeads: 14, nKvHeads: 2, headDim: 64 },
  { name: 'Phi-2', nHeads: 32, nKvHeads: 32, headDim: 80 },
  { name: 'Gemma 2 2B', nHeads: 8, nKvHeads: 4, headDim: 256 },
  { name: 'GPT-OSS 20B', nHeads: 64, nKvHeads: 8, headDim: 64 },
] as const;

/** Batches by what an engine does with them; `software` is the like for adapters that run shaders on the CPU. */
export const BATCHES = [
  { name: 'Ragged mix', lengths: '512, 31, 200', software: '128, 31, 80' },
  { name: 'One long prompt', lengths: '2048', software: '256' },
  { name: 'Prefill and decode', lengths: '384, 1/900, 1/77, 1/1500', software: '96, 1/300, 1/77' },
  { name: 'Prompt after a cached prefix', lengths: '256/1280', software: '64/256' },
  { name: 'Decode, 16 sequences', lengths: '16 x 1/1024', software: '8 x 1/256' },
] as const;
