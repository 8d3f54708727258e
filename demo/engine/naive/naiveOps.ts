import type { Gpu, KernelSource, Op } from '../gpu/gpu.js';
import f16Bits from '../kernels/elements/f16_bits.wgsl?raw';
import appendCode from './naive_append.wgsl?raw';
import scoresCode from './naive_scores.wgsl?raw';
import shapeCode from './naive_shape.wgsl?raw';
import softmaxCode from './naive_softmax.wgsl?raw';
import sumCode from './naive_weighted_sum.wgsl?raw';
import type { NaiveSizes } from './naiveSizes.js';
import pairF16 from './pair_f16.wgsl?raw';
import pairF32 from './pair_f32.wgsl?raw';

/** Tables of angles on the GPU: those of `rotaryTables`. */
export interface NaiveRotary {
  /** f32 [positions, rotaryDim / 2] */
  readonly cos: GPUBuffer;
  /** f32 [positions, rotaryDim / 2] */
  readonly sin: GPUBuffer;
  readonly rotaryDim: number;
  readonly rotaryInterleaved: boolean;
}

export interface NaiveLayer {
  /** Keys that a query sees, its own included; null: all before it. */
  readonly window: number | null;
  readonly rotary: NaiveRotary;
}

export interface NaiveScores {
  readonly softmaxScale: number;
  /** 0: none. */
  readonly softcap: number;
}

/** The kernels of a layer. */
export interface LayerKernels {
  readonly append: KernelSource;
  readonly scores: KernelSource;
  readonly softmax: KernelSource;
  readonly sum: KernelSource;
}

export function kernelsOf(sizes: NaiveSizes & NaiveScores, { window, rotary }: NaiveLayer): LayerKernels {
  const { nHeads, nKvHeads, headDim, capacity, dtype, softmaxScale, softcap } = sizes;
  const shape = {
    N_HEADS: nHeads,
    N_KV_HEADS: nKvHeads,
    HEAD_DIM: headDim,
    CAPACITY: capacity,
    WINDOW: window ?? 0,
  };
  const pairs = dtype === 'f32' ? pairF32 : `${f16Bits}${pairF16}`;
  const kernel = (
    name: string,
    code: string,
    constants: Readonly<Record<string, number>> = {},
  ): KernelSource => ({
    name,
    code: `${shapeCode}${pairs}${code}`,
    constants: { ...shape, ...constants },
  });
  const { rotaryDim, rotaryInterleaved } = rotary;
  return {
    append: kernel('naive_append', appendCode, {
      ROTARY_DIM: rotaryDim,
      INTERLEAVED: rotaryInterleaved ? 1 : 0,
    }),
    scores: kernel('naive_scores', scoresCode, { SCALE: softmaxScale, SOFTCAP: softcap }),
    softmax: kernel('naive_softmax', softmaxCode),
    sum: kernel('naive_weighted_sum', sumCode),
  };
}

/** A kernel that works on the chunks of a wave, whose first one is in the uniform buffer of its first binding. */
export class WaveOp {
  readonly #gpu: Gpu;
  readonly #buffers: readonly GPUBuffer[];
  readonly #ofWaves: Op[];

  private constructor(gpu: Gpu, buffers: readonly GPUBuffer[], first: Op) {
    this.#gpu = gpu;
    this.#buffers = buffers;
    this.#ofWaves = [first];
  }

  static async create(
    gpu: Gpu,
    kernel: KernelSource,
    { firstChunk, buffers }: { firstChunk: GPUBuffer; buffers: readonly GPUBuffer[] },
  ): Promise<WaveOp> {
    return new WaveOp(gpu, buffers, await gpu.op(kernel, [firstChunk, ...buffers]));
  }

  /** The kernel for the given wave. Most steps have one; for others it is bound when they first come. */
  at(wave: number, firstChunk: GPUBuffer): Op {
    const [{ name, pipeline }] = this.#ofWaves as [Op];
    this.#ofWaves[wave] ??= {
      name,
      pipeline,
      bindings: this.#gpu.device.createBindGroup({
        label: name,
        layout: pipeline.getBindGroupLayout(0),
        entries: [firstChunk, ...this.#buffers].map((buffer, binding) => ({ binding, resource: { buffer } })),
      }),
    };
    return this.#ofWaves[wave];
  }
}
