import type { ModelShape } from '../../src/sizing/modelShape.js';
import { Random } from '../../tools/random.js';

type Numbers = Float32Array<ArrayBuffer>;

/** Small enough for the CPU, with everything that a Llama has. */
export const TINY_LLAMA = {
  nLayers: 2,
  hiddenSize: 64,
  nHeads: 4,
  nKvHeads: 1,
  headDim: 32,
  feedForwardSize: 96,
  vocabSize: 60,
} as const satisfies ModelShape;

/** A Llama with random weights. Matrices are [in, out]. */
export interface LlamaWeights {
  readonly shape: ModelShape;
  /** [vocabSize, hiddenSize] */
  readonly embedding: Numbers;
  readonly layers: readonly LayerWeights[];
  /** [hiddenSize], before the logits */
  readonly gain: Numbers;
  /** [hiddenSize, vocabSize] */
  readonly head: Numbers;
  /** [nPositions, headDim / 2]: pair t of a head is its elements t and t + headDim / 2. */
  readonly rotaryCos: Numbers;
  readonly rotarySin: Numbers;
  /** What is added to mean squares. Default 1e-5. */
  readonly normEpsilon?: number;
}

export interface LayerWeights {
  readonly attentionGain: Numbers;
  /** [hiddenSize, (nHeads + 2 nKvHeads) headDim]: q, k and v side by side */
  readonly qkv: Numbers;
  readonly output: Numbers;
  readonly feedForwardGain: Numbers;
  readonly gate: Numbers;
  readonly up: Numbers;
  readonly down: Numbers;
}

/** Layers add more than there is of the embedding, so that what comes next depends on more than the last token. */
export function drawLlama(shape: ModelShape, { nPositions, seed }: LlamaOptions): LlamaWeights {
  const { nLayers, hiddenSize, nHeads, nKvHeads, headDim, feedForwardSize, vocabSize } = shape;
  const random = new Random(seed);
  const matrix = (nIn: number, nOut: number): Numbers =>
    random.normals(nIn * nOut).map((x) => x / Math.sqrt(nIn));
  const gain = (): Numbers => random.uniforms(hiddenSize, 0.5, 2);
  const angles = Array.from({ length: nPositions }, (_, position) =>
    Array.from({ length: headDim / 2 }, (__, t) => position * 10_000 ** (-2 * (t / headDim))),
  ).flat();
  return {
    shape,
    embedding: random.normals(vocabSize * hiddenSize).map((x) => 0.3 * x),
    layers: Array.from({ length: nLayers }, () => ({
      attentionGain: gain(),
      qkv: matrix(hiddenSize, (nHeads + 2 * nKvHeads) * headDim),
      output: matrix(nHeads * headDim, hiddenSize),
      feedForwardGain: gain(),
      gate: matrix(hiddenSize, feedForwardSize),
      up: matrix(hiddenSize, feedForwardSize),
      down: matrix(feedForwardSize, hiddenSize),
    })),
    gain: gain(),
    head: matrix(hiddenSize, vocabSize),
    rotaryCos: Float32Array.from(angles, (angle) => Math.cos(angle)),
    rotarySin: Float32Array.from(angles, (angle) => Math.sin(angle)),
  };
}

export interface LlamaOptions {
  /** The longest sequence. */
  readonly nPositions: number;
  readonly seed: number;
}
