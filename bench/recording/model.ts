import type { Tensor } from '../../src/core/tensor.js';
import type { AttnWithKvCacheArgs, LayerTensors, Runtime } from '../../src/index.js';

const N_LAYERS = 16;
const N_HEADS = 8;
const N_KV_HEADS = 2;
const HEAD_DIM = 64;
const PAGE_SIZE = 16;
/** Room for the steps that are recorded. */
const N_PAGES = 128;
const FIRST_LENGTH = 1900;

/** A small model that decodes one sequence: what it passes to plans. What the tensors hold does not matter here. */
export interface Model {
  readonly args: Omit<AttnWithKvCacheArgs, 'out'> & { readonly out: Tensor };
  /** Tables of cosines and sines. */
  readonly rotary: Pick<AttnWithKvCacheArgs, 'rotaryCos' | 'rotarySin'>;
  readonly layers: readonly LayerTensors[];
  /** Tokens in the cache before a step. */
  lengthAt(step: number): number;
  destroy(): void;
}

export function createModel(runtime: Runtime): Model {
  const made: Tensor[] = [];
  const create = (...shape: number[]): Tensor => {
    const tensor = runtime.createTensor(shape, 'f32');
    made.push(tensor);
    return tensor;
  };
  // As in an engine, all layers share what lives no longer than a layer.
  const shared = {
    q: create(1, 1, N_HEADS, HEAD_DIM),
    k: create(1, 1, N_KV_HEADS, HEAD_DIM),
    v: create(1, 1, N_KV_HEADS, HEAD_DIM),
    out: create(1, 1, N_HEADS, HEAD_DIM),
  };
  const layers = Array.from({ length: N_LAYERS }, () => ({
    ...shared,
    kCache: create(N_PAGES, PAGE_SIZE, N_KV_HEADS, HEAD_DIM),
    vCache: create(N_PAGES, PAGE_SIZE, N_KV_HEADS, HEAD_DIM),
  }));
  const angles = create(N_PAGES * PAGE_SIZE, HEAD_DIM / 2);
  return {
    args: {
      ...layers[0]!,
      cacheSeqlens: FIRST_LENGTH,
      blockTable: Int32Array.from({ length: N_PAGES }, (_, page) => page),
      causal: true,
    },
    rotary: { rotaryCos: angles, rotarySin: angles },
    layers,
    lengthAt: (step) => FIRST_LENGTH + step,
    destroy() {
      for (const { buffer } of made) buffer.destroy();
    },
  };
}
