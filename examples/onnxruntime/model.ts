// A language model of two layers, in the place of one that an exporter writes, cut where attention belongs.
import { onnxFile, type Node, type Value, type Weight } from '../../tools/onnx/onnxModel.js';

export const MODEL = {
  nLayers: 2,
  vocab: 48,
  hidden: 64,
  ffn: 96,
  nHeads: 4,
  nKvHeads: 2,
  headDim: 16,
  nPositions: 64,
} as const;

const { nLayers, vocab, hidden, ffn, nHeads, nKvHeads, headDim } = MODEL;
const ATTENDED = nHeads * headDim;
const QKV = ATTENDED + 2 * nKvHeads * headDim;

/** The numbers of a matrix [nIn, nOut], or of a norm. */
export type Weights = (name: string, dims: readonly number[]) => Float32Array;

/** Weights that have been learnt from nothing. */
export const waves: Weights = (name, dims) => {
  const length = dims.reduce((product, dim) => product * dim, 1);
  if (dims.length === 1) return new Float32Array(length).fill(1);
  const scale = name === 'embedding' ? 1 : 1 / Math.sqrt(dims[0]!);
  const from = [...name].reduce((sum, letter) => sum + letter.charCodeAt(0), 0);
  return Float32Array.from({ length }, (_, i) => scale * Math.sin((from + i) ** 2));
};

/**
 * The model in nLayers + 1 parts, with attention between each two of them:
 *
 *     first   ids [tokens]                                             → next_hidden, next_qkv
 *     others  hidden [tokens, hidden], attended [tokens, heads · dim]  → next_hidden, next_qkv [tokens, QKV]
 *     last    hidden, attended                                         → logits [tokens, vocab]
 *
 * A row of QKV is all queries of a token, then its keys, then its values.
 */
export function decoderParts(weights: Weights): Uint8Array[] {
  const rows = (name: string, width: number): Value => ({ name, dtype: 'f32', dims: ['tokens', width] });
  const parts: Uint8Array[] = [];
  for (let part = 0; part <= nLayers; part++) {
    const graph = new Graph(weights);
    const isFirst = part === 0;
    const isLast = part === nLayers;
    const state = isFirst
      ? graph.embed('ids', 'next_hidden')
      : graph.afterAttention(part - 1, ['hidden', 'attended'], 'next_hidden');
    if (isLast) graph.head(state, 'logits');
    else graph.beforeAttention(part, state, 'next_qkv');
    parts.push(
      onnxFile({
        name: `part ${part}`,
        inputs: isFirst
          ? [{ name: 'ids', dtype: 'i32', dims: ['tokens'] }]
          : [rows('hidden', hidden), rows('attended', ATTENDED)],
        outputs: isLast ? [rows('logits', vocab)] : [rows('next_hidden', hidden), rows('next_qkv', QKV)],
        nodes: graph.nodes,
        weights: graph.weights,
      }),
    );
  }
  return parts;
}

/** The same model in one piece, with attention by onnxruntime: what the example is compared with. */
export function wholeModel(
  weights: Weights,
  rotary: { readonly cos: Float32Array; readonly sin: Float32Array },
): Uint8Array {
  const graph = new Graph(weights);
  const tables = [rotary.cos, rotary.sin].map((data, i) => {
    const dims = [data.length / (headDim / 2), headDim / 2];
    return { name: i === 0 ? 'rotary_cos' : 'rotary_sin', dims, data };
  });
  let state = graph.embed('ids', 'hidden_0');
  const caches: Value[] = [];
  for (let layer = 0; layer < nLayers; layer++) {
    const names = ['attended', 'present_key', 'present_value'].map((name) => `${name}_${layer}`);
    graph.beforeAttention(layer, state, `qkv_${layer}`);
    graph.nodes.push({
      op: 'GroupQueryAttention',
      isContrib: true,
      // Queries, keys and values in one, and nothing before them.
      inputs: [
        `qkv_${layer}`,
        '',
        '',
        '',
        '',
        'seqlens_k',
        'total_sequence_length',
        'rotary_cos',
        'rotary_sin',
      ],
      outputs: names,
      ints: { num_heads: nHeads, kv_num_heads: nKvHeads, do_rotary: 1 },
    });
    for (const name of names.slice(1))
      caches.push({ name, dtype: 'f32', dims: ['B', nKvHeads, 'total', headDim] });
    state = graph.afterAttention(layer, [state, names[0]!], `hidden_${layer + 1}`);
  }
  graph.head(state, 'logits');
  return onnxFile({
    name: 'whole',
    inputs: [
      { name: 'ids', dtype: 'i32', dims: ['B', 'tokens'] },
      { name: 'seqlens_k', dtype: 'i32', dims: ['B'] },
      { name: 'total_sequence_length', dtype: 'i32', dims: [1] },
    ],
    outputs: [{ name: 'logits', dtype: 'f32', dims: ['B', 'tokens', vocab] }, ...caches],
    nodes: graph.nodes,
    weights: [...graph.weights, ...tables],
  });
}

/** Nodes and weights of a model, or of a part. Each method returns the name of its result. */
class Graph {
  readonly nodes: Node[] = [];
  readonly weights: Weight[] = [];
  readonly #numbers: Weights;

  constructor(numbers: Weights) {
    this.#numbers = numbers;
  }

  embed(ids: string, result: string): string {
    return this.#node('Gather', [this.#weight('embedding', [vocab, hidden]), ids], result);
  }

  beforeAttention(layer: number, state: string, qkv: string): string {
    const x = this.#norm(`attention_norm_${layer}`, state);
    return this.#linear(`qkv_weight_${layer}`, x, [hidden, QKV], qkv);
  }

  afterAttention(layer: number, [state, attended]: readonly [string, string], result: string): string {
    const output = this.#linear(`output_weight_${layer}`, attended, [ATTENDED, hidden]);
    const sum = this.#node('Add', [state, output], `sum_${layer}`);
    const x = this.#norm(`ffn_norm_${layer}`, sum);
    const gate = this.#linear(`gate_weight_${layer}`, x, [hidden, ffn]);
    const up = this.#linear(`up_weight_${layer}`, x, [hidden, ffn]);
    const sigmoid = this.#node('Sigmoid', [gate], `sigmoid_${layer}`);
    const silu = this.#node('Mul', [gate, sigmoid], `silu_${layer}`);
    const product = this.#node('Mul', [silu, up], `product_${layer}`);
    const down = this.#linear(`down_weight_${layer}`, product, [ffn, hidden]);
    return this.#node('Add', [sum, down], result);
  }

  head(state: string, logits: string): string {
    return this.#linear('head_weight', this.#norm('final_norm', state), [hidden, vocab], logits);
  }

  #norm(name: string, x: string): string {
    return this.#node('LayerNormalization', [x, this.#weight(name, [hidden])], `${name}_result`);
  }

  #linear(name: string, x: string, dims: readonly number[], result = `${name}_result`): string {
    return this.#node('MatMul', [x, this.#weight(name, dims)], result);
  }

  #node(op: string, inputs: readonly string[], output: string): string {
    this.nodes.push({ op, inputs, outputs: [output] });
    return output;
  }

  #weight(name: string, dims: readonly number[]): string {
    this.weights.push({ name, dims, data: this.#numbers(name, dims) });
    return name;
  }
}
