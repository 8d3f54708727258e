import type { Tensor } from '../../src/index.js';
import { downloadBuffer } from '../../tools/deviceTensor.js';
import code from './tinyLlama.wgsl?raw';
import type { LayerWeights, LlamaWeights } from './tinyLlamaWeights.js';

export interface TinyLlamaOptions {
  /** The most tokens of a step. */
  readonly maxTokens: number;
  /** The most tokens of all steps until their states are taken. */
  readonly maxStates: number;
}

/** What the attention of a layer reads and writes. */
export interface LayerTensors {
  /** [tokens, nHeads, headDim] */
  readonly q: Tensor;
  /** [tokens, nKvHeads, headDim] */
  readonly k: Tensor;
  readonly v: Tensor;
  /** [tokens, nHeads, headDim] */
  readonly out: Tensor;
}

/** Records the attention of a layer, over the tensors of the step, into its pass. */
export type Attend = (layer: number, pass: GPUComputePassEncoder) => void;

/**
 * A Llama on the GPU that leaves attention, and so the cache, to its caller. A step is one submission of one pass, and
 * nothing is read back before it is asked for.
 */
export class TinyLlama {
  readonly weights: LlamaWeights;
  readonly rotaryCos: Tensor;
  readonly rotarySin: Tensor;
  readonly #device: GPUDevice;
  readonly #options: TinyLlamaOptions;
  readonly #tensors = new Map<number, LayerTensors>();
  readonly #buffers: GPUBuffer[] = [];
  readonly #tokens: GPUBuffer;
  readonly #qkv: GPUBuffer;
  readonly #attended: GPUBuffer;
  readonly #hidden: GPUBuffer;
  readonly #gated: GPUBuffer;
  readonly #logits: GPUBuffer;
  readonly #states: GPUBuffer;
  readonly #embed: Stage;
  readonly #layers: readonly LayerStages[];
  readonly #head: Stage;
  #nStates = 0;

  constructor(device: GPUDevice, weights: LlamaWeights, options: TinyLlamaOptions) {
    const { maxTokens, maxStates } = options;
    const { hiddenSize, nHeads, nKvHeads, headDim, feedForwardSize, vocabSize } = weights.shape;
    this.weights = weights;
    this.#device = device;
    this.#options = options;
    this.#tokens = this.#buffer(maxTokens);
    this.#qkv = this.#buffer(maxTokens * (nHeads + 2 * nKvHeads) * headDim);
    this.#attended = this.#buffer(maxTokens * nHeads * headDim);
    this.#hidden = this.#buffer(maxTokens * hiddenSize);
    this.#gated = this.#buffer(maxTokens * feedForwardSize);
    this.#logits = this.#buffer(maxTokens * vocabSize);
    this.#states = this.#buffer(maxStates * hiddenSize);
    const angles = (values: Float32Array<ArrayBuffer>): Tensor => ({
      buffer: this.#upload(values),
      dtype: 'f32',
      shape: [values.length / (headDim / 2), headDim / 2],
    });
    this.rotaryCos = angles(weights.rotaryCos);
    this.rotarySin = angles(weights.rotarySin);

    const pipelines = new Pipelines(device);
    this.#embed = pipelines.stage('embed', [vocabSize, hiddenSize], {
      tokens: this.#tokens,
      matrix: this.#upload(weights.embedding),
      out: this.#hidden,
    });
    this.#layers = weights.layers.map((layer) => this.#stagesOf(layer, pipelines));
    this.#head = pipelines.stage('norm_linear', [hiddenSize, vocabSize], {
      x: this.#hidden,
      gain: this.#upload(weights.gain),
      matrix: this.#upload(weights.head),
      out: this.#logits,
    });
  }

  /** Tensors of a step with so many tokens, the same objects each time. All layers share them. */
  tensors(nTokens: number): LayerTensors {
    let tensors = this.#tensors.get(nTokens);
    if (!tensors) {
      tensors = this.#makeTensors(nTokens);
      this.#tensors.set(nTokens, tensors);
    }
    return tensors;
  }

  step(tokens: ArrayLike<number>, attend: Attend): void {
    const nTokens = tokens.length;
    this.#checkRoom(nTokens);
    const { queue } = this.#device;
    queue.writeBuffer(this.#tokens, 0, Uint32Array.from(tokens));
    const encoder = this.#device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    encode(this.#embed, nTokens, pass);
    this.#layers.forEach(({ qkv, output, gated, down }, layer) => {
      encode(qkv, nTokens, pass);
      attend(layer, pass);
      encode(output, nTokens, pass);
      encode(gated, nTokens, pass);
      encode(down, nTokens, pass);
    });
    encode(this.#head, nTokens, pass);
    pass.end();
    const rowBytes = 4 * this.weights.shape.hiddenSize;
    encoder.copyBufferToBuffer(this.#hidden, 0, this.#states, this.#nStates * rowBytes, nTokens * rowBytes);
    this.#nStates += nTokens;
    queue.submit([encoder.finish()]);
  }

  /** [tokens, hiddenSize]: what is behind the last layer, of all tokens of all steps since the last call. */
  async takeStates(): Promise<Float32Array<ArrayBuffer>> {
    const states = new Float32Array(await downloadBuffer(this.#device, this.#states));
    const taken = states.subarray(0, this.#nStates * this.weights.shape.hiddenSize);
    this.#nStates = 0;
    return taken;
  }

  /** [tokens, vocabSize]: logits of the last step. */
  async logits(): Promise<Float32Array<ArrayBuffer>> {
    return new Float32Array(await downloadBuffer(this.#device, this.#logits));
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
  }

  #checkRoom(nTokens: number): void {
    const { maxTokens, maxStates } = this.#options;
    if (nTokens > maxTokens || this.#nStates + nTokens > maxStates)
      throw new Error(`TinyLlama has room for ${maxTokens} tokens a step, and for ${maxStates} in all.`);
  }

  #stagesOf(layer: LayerWeights, pipelines: Pipelines): LayerStages {
    const { hiddenSize, nHeads, nKvHeads, headDim, feedForwardSize } = this.weights.shape;
    const hidden = this.#hidden;
    return {
      qkv: pipelines.stage('norm_linear', [hiddenSize, (nHeads + 2 * nKvHeads) * headDim], {
        x: hidden,
        gain: this.#upload(layer.attentionGain),
        matrix: this.#upload(layer.qkv),
        out: this.#qkv,
      }),
      output: pipelines.stage('add_linear', [nHeads * headDim, hiddenSize], {
        x: this.#attended,
        matrix: this.#upload(layer.output),
        out: hidden,
      }),
      gated: pipelines.stage('norm_gated', [hiddenSize, feedForwardSize], {
        x: hidden,
        gain: this.#upload(layer.feedForwardGain),
        gate: this.#upload(layer.gate),
        matrix: this.#upload(layer.up),
        out: this.#gated,
      }),
      down: pipelines.stage('add_linear', [feedForwardSize, hiddenSize], {
        x: this.#gated,
        matrix: this.#upload(layer.down),
        out: hidden,
      }),
    };
  }

  #makeTensors(nTokens: number): LayerTensors {
    const { nHeads, nKvHeads, headDim } = this.weights.shape;
    const heads = (first: number, n: number): Tensor => ({
      buffer: this.#qkv,
      dtype: 'f32',
      shape: [nTokens, n, headDim],
      offset: first * headDim,
      strides: [(nHeads + 2 * nKvHeads) * headDim, headDim, 1],
    });
    return {
      q: heads(0, nHeads),
      k: heads(nHeads, nKvHeads),
      v: heads(nHeads + nKvHeads, nKvHeads),
      out: { buffer: this.#attended, dtype: 'f32', shape: [nTokens, nHeads, headDim] },
    };
  }

  #buffer(words: number): GPUBuffer {
    const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
    const buffer = this.#device.createBuffer({ size: 4 * words, usage: STORAGE | COPY_SRC | COPY_DST });
    this.#buffers.push(buffer);
    return buffer;
  }

  #upload(values: Float32Array<ArrayBuffer>): GPUBuffer {
    const buffer = this.#buffer(values.length);
    this.#device.queue.writeBuffer(buffer, 0, values);
    return buffer;
  }
}

interface LayerStages {
  readonly qkv: Stage;
  readonly output: Stage;
  readonly gated: Stage;
  readonly down: Stage;
}

/** An entry point on its buffers. */
interface Stage {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly nOut: number;
}

/** Numbers of a token that a workgroup computes. */
const WORKGROUP_NUMBERS = 64;

function encode({ pipeline, group, nOut }: Stage, nTokens: number, pass: GPUComputePassEncoder): void {
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(Math.ceil(nOut / WORKGROUP_NUMBERS), nTokens);
}

const BINDINGS = ['tokens', 'x', 'gain', 'matrix', 'gate', 'out'] as const;

type Buffers = { readonly [Name in (typeof BINDINGS)[number]]?: GPUBuffer };

/** Each entry point once for each pair of sizes. */
class Pipelines {
  readonly #device: GPUDevice;
  readonly #module: GPUShaderModule;
  readonly #pipelines = new Map<string, GPUComputePipeline>();

  constructor(device: GPUDevice) {
    this.#device = device;
    this.#module = device.createShaderModule({ label: 'tinyLlama', code });
  }

  stage(entryPoint: string, [nIn, nOut]: readonly [number, number], buffers: Buffers): Stage {
    const pipeline = this.#get(entryPoint, nIn, nOut);
    const entries = BINDINGS.flatMap((name, binding) => {
      const buffer = buffers[name];
      return buffer ? [{ binding, resource: { buffer } }] : [];
    });
    const group = this.#device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
    return { pipeline, group, nOut };
  }

  #get(entryPoint: string, nIn: number, nOut: number): GPUComputePipeline {
    const name = `${entryPoint} ${nIn} ${nOut}`;
    let pipeline = this.#pipelines.get(name);
    if (!pipeline) {
      const compute = { module: this.#module, entryPoint, constants: { N_IN: nIn, N_OUT: nOut } };
      pipeline = this.#device.createComputePipeline({ label: name, layout: 'auto', compute });
      this.#pipelines.set(name, pipeline);
    }
    return pipeline;
  }
}
