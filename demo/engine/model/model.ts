import { UNIFORM, type Gpu } from '../gpu/gpu.js';
import type { Recorder } from '../gpu/recorder.js';
import { embedOp } from '../kernels/embed.js';
import { gateOp } from '../kernels/gate.js';
import { headNormOp } from '../kernels/headNorm.js';
import type { ActivationType, Layer } from '../kernels/layer.js';
import { linearOp } from '../kernels/linear.js';
import { rmsNormOp } from '../kernels/rmsNorm.js';
import { softcapLogitsOp } from '../kernels/softcapLogits.js';
import type { ModelConfig } from './config.js';
import type { LayerRole } from './tensorNames.js';
import type { ModelWeights, Weights } from './weights.js';

export interface ModelOptions {
  readonly config: ModelConfig;
  readonly weights: ModelWeights;
  /** Of q, k, v and what attention gives. All other activations are f32. */
  readonly qkvType: ActivationType;
  /** The most tokens of a step. */
  readonly maxTokens: number;
  /** The most rows of a step whose logits are computed. */
  readonly maxLogits: number;
  /** u32: what the step before has sampled. */
  readonly sampled: GPUBuffer;
}

/** The activations of a step, which all layers share. */
export interface Activations {
  /** i32 [tokens]: tokens, or −1 − i for the i-th of `sampled` */
  readonly tokens: GPUBuffer;
  /** u32 [tokens]: the tokens, all known */
  readonly ids: GPUBuffer;
  /** [tokens, (nHeads + 2 · nKvHeads) · headDim] of `qkvType`: q, k and v of a token are neighbours */
  readonly qkv: GPUBuffer;
  /** [tokens, nHeads · headDim] of `qkvType` */
  readonly attended: GPUBuffer;
  /** u32 [rows]: of which tokens logits are computed */
  readonly logitRows: GPUBuffer;
  /** f32 [rows, vocabSize] */
  readonly logits: GPUBuffer;
}

/** What a step computes. */
export interface StepRows {
  readonly nTokens: number;
  readonly nLogits: number;
}

/** A Llama-like model: all of a step but attention, which is somebody else's. */
export class Model {
  readonly activations: Activations;
  readonly vocabSize: number;
  /** The most rows of a step whose logits are computed. */
  readonly maxLogits: number;
  readonly #gpu: Gpu;
  readonly #counts: Counts;
  readonly #embed: Layer;
  readonly #blocks: readonly Block[];
  readonly #head: readonly Layer[];

  private constructor(gpu: Gpu, parts: ModelParts) {
    this.#gpu = gpu;
    this.activations = parts.activations;
    this.vocabSize = parts.vocabSize;
    this.maxLogits = parts.maxLogits;
    this.#counts = parts.counts;
    this.#embed = parts.embed;
    this.#blocks = parts.blocks;
    this.#head = parts.head;
  }

  /** Makes the buffers of a model's steps, and compiles and binds all kernels. */
  static async create(gpu: Gpu, options: ModelOptions): Promise<Model> {
    const { config, weights, sampled } = options;
    const { vectors, matrices } = weights.model;
    const counts = { tokens: countOf(gpu, 'tokens'), logits: countOf(gpu, 'logits') };
    const buffers = await makeBuffers(gpu, options);
    const { tokens, ids, residual, logitRows, chosen, logits } = buffers;
    const embedding = matrices.embedding!;
    const { rmsNormEpsilon: epsilon, embeddingScale: scale, logitSoftcap: cap } = config;
    const weightOffset = weightOffsetOf(config);
    const [embed, blocks, head] = await Promise.all([
      embedOp(gpu, { matrix: embedding, tokens, sampled, ids, y: residual, scale, rowCount: counts.tokens }),
      Promise.all(
        weights.layers.map((layer) => blockOf(gpu, { layer, buffers, options, rowCount: counts.tokens })),
      ),
      Promise.all([
        rmsNormOp(gpu, {
          x: residual,
          y: chosen,
          rows: logitRows,
          weight: vectors.finalNorm!,
          size: config.hiddenSize,
          epsilon,
          weightOffset,
          rowCount: counts.logits,
        }),
        linearOp(gpu, {
          matrix: matrices.outputHead ?? embedding,
          x: chosen,
          y: logits,
          rowCount: counts.logits,
        }),
        ...(cap > 0
          ? [softcapLogitsOp(gpu, { logits, size: config.vocabSize, cap, rowCount: counts.logits })]
          : []),
      ]),
    ]);
    const { vocabSize } = config;
    const { maxLogits } = options;
    return new Model(gpu, { activations: buffers, vocabSize, maxLogits, counts, embed, blocks, head });
  }

  /** Writes what the next step computes: call it before the step is submitted, and after the last one was. */
  prepare(tokens: Int32Array<ArrayBuffer>, logitRows: Uint32Array<ArrayBuffer>): StepRows {
    const { queue } = this.#gpu.device;
    queue.writeBuffer(this.activations.tokens, 0, tokens);
    queue.writeBuffer(this.#counts.tokens, 0, Uint32Array.of(tokens.length));
    return { nTokens: tokens.length, nLogits: this.prepareHead(logitRows) };
  }

  /** Writes which rows of the step that was computed last are to have logits. Returns how many they are. */
  prepareHead(logitRows: Uint32Array<ArrayBuffer>): number {
    const { queue } = this.#gpu.device;
    if (logitRows.length > 0) queue.writeBuffer(this.activations.logitRows, 0, logitRows);
    queue.writeBuffer(this.#counts.logits, 0, Uint32Array.of(logitRows.length));
    return logitRows.length;
  }

  /** Records a step. `attend` records a layer's attention, from `qkv` to `attended`. */
  record(recorder: Recorder, { nTokens, nLogits }: StepRows, attend: (layer: number) => void): void {
    this.#embed.record(recorder, nTokens);
    this.#blocks.forEach(({ before, after }, layer) => {
      for (const each of before) each.record(recorder, nTokens);
      attend(layer);
      for (const each of after) each.record(recorder, nTokens);
    });
    this.recordHead(recorder, nLogits);
  }

  /** Records the logits alone, for rows of the step that was computed last. */
  recordHead(recorder: Recorder, nLogits: number): void {
    for (const each of this.#head) each.record(recorder, nLogits);
  }

  /** Records what steps of every size run, so that a recorder meets each kernel. Layers have the same ones. */
  recordAllSizes(recorder: Recorder): void {
    const [{ before, after }] = this.#blocks as readonly [Block];
    for (const each of [this.#embed, ...before, ...after])
      for (const nRows of sizesUpTo(each.maxRows)) each.record(recorder, nRows);
    for (const each of this.#head)
      for (const nRows of sizesUpTo(this.maxLogits)) each.record(recorder, nRows);
  }
}

/** Powers of two, and the number itself: kernels that are chosen by the number of rows are all met. */
function sizesUpTo(most: number): readonly number[] {
  const powers = Array.from({ length: 32 }, (_, i) => 2 ** i).filter((size) => size < most);
  return [...powers, most];
}

/** Uniforms: the rows of a step. */
interface Counts {
  readonly tokens: GPUBuffer;
  readonly logits: GPUBuffer;
}

/** A layer: what comes before its attention, and after it. */
interface Block {
  readonly before: readonly Layer[];
  readonly after: readonly Layer[];
}

interface ModelParts {
  readonly vocabSize: number;
  readonly maxLogits: number;
  readonly activations: Activations;
  readonly counts: Counts;
  readonly embed: Layer;
  readonly blocks: readonly Block[];
  readonly head: readonly Layer[];
}

/** What decides how large the buffers of a step are. */
export type StepSizes = Pick<ModelOptions, 'config' | 'qkvType' | 'maxTokens' | 'maxLogits'>;

/** Returns the bytes of all buffers of a step. */
export function activationBytes(sizes: StepSizes): number {
  return Object.values(bufferSizes(sizes)).reduce((sum, { bytes }) => sum + bytes, 0);
}

function bufferSizes({ config, qkvType, maxTokens, maxLogits }: StepSizes) {
  const { hiddenSize, nHeads, nKvHeads, headDim, feedForwardSize, vocabSize } = config;
  const heads = (label: string, n: number) => ({
    label,
    bytes: maxTokens * n * headDim * (qkvType === 'f16' ? 2 : 4),
  });
  const words = (label: string, rows: number, size: number) => ({ label, bytes: rows * size * 4 });
  return {
    tokens: words('tokens', maxTokens, 1),
    ids: words('ids', maxTokens, 1),
    /** What layers add to, f32 [tokens, hiddenSize]. */
    residual: words('residual', maxTokens, hiddenSize),
    normed: words('normed', maxTokens, hiddenSize),
    qkv: heads('qkv', nHeads + 2 * nKvHeads),
    attended: heads('attended', nHeads),
    gateUp: words('gate and up', maxTokens, 2 * feedForwardSize),
    gated: words('gated', maxTokens, feedForwardSize),
    logitRows: words('logit rows', maxLogits, 1),
    chosen: words('chosen', maxLogits, hiddenSize),
    logits: words('logits', maxLogits, vocabSize),
  };
}

type Buffers = Readonly<Record<keyof ReturnType<typeof bufferSizes>, GPUBuffer>>;

async function makeBuffers(gpu: Gpu, sizes: StepSizes): Promise<Buffers> {
  const entries = Object.entries(bufferSizes(sizes));
  const made = entries.map(([name, { label, bytes }]) => [name, gpu.buffer(label, bytes)] as const);
  await gpu.check();
  return Object.fromEntries(made) as Buffers;
}

/** What norms add to their weights. */
function weightOffsetOf({ normAddsOne }: ModelConfig): number {
  return normAddsOne ? 1 : 0;
}

function countOf(gpu: Gpu, what: string): GPUBuffer {
  return gpu.buffer(`number of ${what}`, 16, UNIFORM);
}

interface BlockArgs {
  readonly layer: Weights<LayerRole>;
  readonly buffers: Buffers;
  readonly options: ModelOptions;
  readonly rowCount: GPUBuffer;
}

async function blockOf(gpu: Gpu, { layer, buffers, options, rowCount }: BlockArgs): Promise<Block> {
  const { config, qkvType } = options;
  const { nHeads, nKvHeads, headDim, hiddenSize, rmsNormEpsilon: epsilon } = config;
  const weightOffset = weightOffsetOf(config);
  const { matrices, vectors } = layer;
  const { residual, normed, qkv, attended, gateUp, gated } = buffers;
  const norm = (role: LayerRole, x: GPUBuffer, y: GPUBuffer, adds = false): Promise<Layer> =>
    rmsNormOp(gpu, { x, y, weight: vectors[role]!, size: hiddenSize, epsilon, weightOffset, adds, rowCount });
  /** Adds a block's result to the residual, normalised first where the model does so. */
  const closing = (work: Parameters<typeof linearOp>[1], role: LayerRole): Promise<Layer>[] =>
    config.hasPostNorms
      ? [linearOp(gpu, { ...work, y: normed }), norm(role, normed, residual, true)]
      : [linearOp(gpu, { ...work, y: residual, adds: true })];

  const before = [
    norm('attentionNorm', residual, normed),
    linearOp(gpu, {
      matrix: matrices.qkv!,
      bias: vectors.qkvBias,
      x: normed,
      y: qkv,
      yType: qkvType,
      rowCount,
    }),
    ...(config.hasQkNorm
      ? [
          headNormOp(gpu, {
            qkv,
            type: qkvType,
            nHeads,
            nKvHeads,
            headDim,
            qWeight: vectors.qNorm!,
            kWeight: vectors.kNorm!,
            epsilon,
            weightOffset,
            rowCount,
          }),
        ]
      : []),
  ];
  const out = {
    matrix: matrices.out!,
    bias: vectors.outBias,
    x: attended,
    xType: qkvType,
    y: residual,
    rowCount,
  };
  const down = { matrix: matrices.down!, x: gated, y: residual, rowCount };
  const { feedForwardSize: size, activation } = config;
  const after = [
    ...closing(out, 'postAttentionNorm'),
    norm('feedForwardNorm', residual, normed),
    linearOp(gpu, { matrix: matrices.gateUp!, x: normed, y: gateUp, rowCount }),
    gateOp(gpu, { gateUp, y: gated, size, activation, rowCount }),
    ...closing(down, 'postFeedForwardNorm'),
  ];
  return { before: await Promise.all(before), after: await Promise.all(after) };
}
