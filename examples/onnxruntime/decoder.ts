// Attention with a paged cache between sessions of onnxruntime-web: its GPU tensors go in and come out.
import { BlockAllocator, createRuntime, PagedKvCache, planAttnWithKvCache } from 'pageflash';
import { rotaryTables, tensorFrom } from 'pageflash';
import type { AttentionPlan, AttnWithKvCacheArgs, Runtime } from 'pageflash';
import * as ort from 'onnxruntime-web/webgpu';

export interface DecoderShape {
  readonly nLayers: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly nPositions: number;
}

export interface DecoderOptions {
  /** Both compute on it. */
  readonly device: GPUDevice;
  /** nLayers + 1 models: up to the queries, keys and values of the first layer, from its attention to those of the next, … */
  readonly parts: readonly Uint8Array[];
  readonly shape: DecoderShape;
  readonly nChats: number;
  /** Tokens of a step, of all chats together. */
  readonly maxTokens: number;
}

export interface Decoder {
  readonly runtime: Runtime;
  /** Takes the new tokens of each chat. Returns the logits of all of them [tokens, vocab] on the GPU, to be disposed. */
  step(tokens: readonly (readonly number[])[]): Promise<ort.Tensor>;
  /** Forgets the tokens of a chat. */
  restart(chat: number): void;
  destroy(): Promise<void>;
}

export async function createDecoder(options: DecoderOptions): Promise<Decoder> {
  const { device, parts, shape, nChats, maxTokens } = options;
  const { nLayers, nHeads, nKvHeads, headDim, nPositions: maxPositions } = shape;
  const rowSize = (nHeads + 2 * nKvHeads) * headDim;

  const sessions: ort.InferenceSession[] = [];
  // One after another: it takes a device for one session at a time.
  for (const part of parts) {
    const session = await ort.InferenceSession.create(part, {
      executionProviders: [{ name: 'webgpu', device }],
      preferredOutputLocation: 'gpu-buffer',
    });
    sessions.push(session);
  }

  const runtime = createRuntime(device);
  const model = { nLayers, nKvHeads, headDim, dtype: 'f32' } as const;
  const cache = await PagedKvCache.create(runtime, { ...model, pageSize: 8, tokens: nChats * maxPositions });
  const pages = new BlockAllocator(cache);
  const chats = Array.from({ length: nChats }, () => pages.create());
  const attended = runtime.createTensor([maxTokens, nHeads, headDim], 'f32');
  const tables = rotaryTables({ headDim, maxPositions });
  const upload = (table: Float32Array) =>
    tensorFrom(runtime, table, { shape: [maxPositions, headDim / 2], dtype: 'f32' });
  const [rotaryCos, rotarySin] = [upload(tables.rotaryCos), upload(tables.rotarySin)];
  const always = { rotaryCos, rotarySin, rotaryInterleaved: false, causal: true };
  let plan: AttentionPlan<AttnWithKvCacheArgs> | undefined;

  /** Views of the rows of a tensor of onnxruntime. */
  function views({ gpuBuffer, dims: [n = 0] }: ort.Tensor) {
    const part = (firstHead: number, heads: number) =>
      ({
        buffer: gpuBuffer,
        dtype: 'f32',
        shape: [n, heads, headDim],
        offset: firstHead * headDim,
        strides: [rowSize, headDim, 1],
      }) as const;
    return {
      q: part(0, nHeads),
      k: part(nHeads, nKvHeads),
      v: part(nHeads + nKvHeads, nKvHeads),
      out: { ...attended, shape: [n, nHeads, headDim] },
    };
  }

  return {
    runtime,
    async step(tokens) {
      const nNew = tokens.map(({ length }) => length);
      if (chats.some((chat, b) => pages.append(chat, nNew[b]!) === 'full'))
        throw new Error('The cache is full.');
      const batch = pages.batch(chats, nNew);
      const n = batch.nNewTokens;

      const ids = new ort.Tensor('int32', Int32Array.from(tokens.flat()), [n]);
      let outputs = await sessions[0]!.run({ ids });
      for (let layer = 0; layer < nLayers; layer++) {
        const { next_hidden: hidden, next_qkv: qkv } = outputs as Record<string, ort.Tensor>;
        const tensors = { ...views(qkv!), ...cache.layer(layer) };
        if (!plan) plan = planAttnWithKvCache(runtime, { ...batch, ...tensors, ...always });
        else if (layer === 0) plan.update({ ...batch, ...tensors });
        // `run` resolves once its work is submitted, and without a pass ours is at once: so they run in this order.
        plan.record(tensors);
        const dims = [n, nHeads * headDim];
        outputs = await sessions[layer + 1]!.run({
          hidden: hidden!,
          attended: ort.Tensor.fromGpuBuffer(attended.buffer, { dataType: 'float32', dims }),
        });
        // Only now: the buffers may be given to the next outputs.
        hidden!.dispose();
        qkv!.dispose();
      }
      return outputs['logits']!;
    },
    restart(chat) {
      pages.release(chats[chat]!);
      chats[chat] = pages.create();
    },
    async destroy() {
      for (const session of sessions) await session.release();
      plan?.destroy();
      cache.destroy();
      for (const { buffer } of [attended, rotaryCos, rotarySin]) buffer.destroy();
      runtime.destroy();
    },
  };
}
