import { attnVarlen, attnWithKvCache, createRuntime, requestDevice, type Runtime } from '../../src/index.js';
import type { PagedKvCache } from '../../src/cache/pagedKvCache.js';
import type { Step } from '../../src/paging/planner/step.js';
import { upload } from '../../tools/deviceTensor.js';
import { draw, place, type VarlenCase } from '../attention/varlenCase.js';
import { makeCache, MAX_TOKENS, POOL, ServingEngine } from '../model/servingEngine.js';
import { TinyLlama } from '../model/tinyLlama.js';
import { tinyLlamaReference } from '../model/tinyLlamaReference.js';
import { drawLlama, TINY_LLAMA } from '../model/tinyLlamaWeights.js';
import { checkOut } from '../reference/tolerance.js';
import { LiveObjects } from './liveObjects.js';
import type { PageSample } from './samples.js';

// The page of the soak test: the program outside calls `soak` for some steps at a time.

declare global {
  /** Serve so many steps more. */
  var soak: (nSteps: number) => Promise<PageSample>;
}

const { hiddenSize, nHeads, headDim } = TINY_LLAMA;
const N_POSITIONS = 128;
/** Users that are there at a time; there is room for about three of them. */
const N_USERS = 8;

/** Between two saves of a conversation. */
const STEPS_A_SAVE = 10;

/** A call beside those of the model, which is planned, uploaded and submitted by itself. */
const ASIDE: VarlenCase = {
  why: 'beside',
  lengths: [
    [5, 40],
    [1, 17],
  ],
  heads: [4, 1],
  headDim,
  dtype: 'f32',
  causal: true,
};

class Soak {
  readonly #runtime: Runtime;
  readonly #model: TinyLlama;
  readonly #cache: PagedKvCache;
  readonly #engine: ServingEngine;
  readonly #objects: LiveObjects;
  readonly #aside;
  #nSteps = 0;
  #nTokens = 0;
  #nChecked = 0;
  readonly #nTimes = { saved: 0, restored: 0 };

  static async start(): Promise<Soak> {
    const objects = new LiveObjects();
    const device = await requestDevice();
    device.addEventListener('uncapturederror', ({ error }) => console.error(error.message));
    const runtime = createRuntime(device);
    const weights = drawLlama(TINY_LLAMA, { nPositions: N_POSITIONS, seed: 1 });
    const model = new TinyLlama(device, weights, { maxTokens: MAX_TOKENS, maxStates: MAX_TOKENS });
    return new Soak(runtime, model, await makeCache(runtime, POOL), objects);
  }

  private constructor(runtime: Runtime, model: TinyLlama, cache: PagedKvCache, objects: LiveObjects) {
    this.#runtime = runtime;
    this.#model = model;
    this.#cache = cache;
    this.#objects = objects;
    this.#engine = new ServingEngine({ runtime, model }, cache, 'swap');
    this.#aside = place(runtime.device, ASIDE, draw(ASIDE)).args;
  }

  async run(nSteps: number): Promise<PageSample> {
    const start = performance.now();
    for (let i = 0; i < nSteps; i++) await this.#step(i === nSteps - 1);
    await this.#runtime.done();
    const { users, pages, nTimes } = this.#engine;
    return {
      step: this.#nSteps,
      tokens: this.#nTokens,
      checked: this.#nChecked,
      msPerStep: (performance.now() - start) / nSteps,
      runtimeBytes: this.#runtime.memoryBytes,
      ...this.#objects.counts(),
      pagesInUse: pages.usage().nUsed,
      sequences: users.sequences.length,
      events: { ...users.nTimes, ...nTimes, ...this.#nTimes },
    };
  }

  /** One step of the model, and calls beside it; what is checked is compared with the reference in f64. */
  async #step(isChecked: boolean): Promise<void> {
    const { users } = this.#engine;
    users.ask(Math.max(0, N_USERS - users.sequences.length));
    let want: { readonly row: number; readonly states: Float64Array }[] = [];
    await this.#engine.step((step, tokensOf) => {
      this.#nTokens += step.nNewTokens;
      if (isChecked) want = this.#reference(step, tokensOf);
      this.#callAside(step);
    });
    const states = await this.#model.takeStates();
    for (const { row, states: reference } of want) {
      const actual = states.subarray(row * hiddenSize, row * hiddenSize + reference.length);
      checkOut({ actual, reference, dtype: 'f32' });
      this.#nChecked += reference.length / hiddenSize;
    }
    if (this.#nSteps % STEPS_A_SAVE === 0) await this.#saveAndRestore();
    this.#nSteps++;
  }

  /** A conversation is saved, restored if there is room, and left for others to find. */
  async #saveAndRestore(): Promise<void> {
    const { users, pages, planner } = this.#engine;
    const sequence = users.sequences[this.#nTimes.saved % Math.max(1, users.sequences.length)];
    if (sequence === undefined) return;
    const fingerprint = 'tiny llama';
    const source = await new Response(this.#cache.save({ pages, sequence, fingerprint })).blob();
    this.#nTimes.saved++;
    const saved = await this.#cache.readSaved({ source, fingerprint });
    const restored = await this.#cache.restore({ pages, saved, priority: -1 });
    if (restored === 'full') return;
    planner.finish(restored);
    this.#nTimes.restored++;
  }

  /** What is behind the last layer, for the tokens of each sequence of a step. */
  #reference(step: Step, tokensOf: (sequence: number) => readonly number[]) {
    return Array.from(step.sequences, (sequence, b) => {
      const [row, end] = [step.cuSeqlensQ[b]!, step.cuSeqlensQ[b + 1]!];
      const first = step.cacheSeqlens[b]!;
      const tokens = tokensOf(sequence).slice(0, first + end - row);
      const { states } = tinyLlamaReference(this.#model.weights, tokens);
      return { row, states: states.subarray(first * hiddenSize) };
    });
  }

  /** Calls that are not planned: one that makes its output and submits itself, one in a pass of its caller's. */
  #callAside({ cacheSeqlens, blockTable, sequences }: Step): void {
    const { device } = this.#runtime;
    const { out } = attnVarlen(this.#runtime, this.#aside);
    const batch = sequences.length;
    const q = upload(device, 'f32', [batch, 1, nHeads, headDim], new Float32Array(batch * nHeads * headDim));
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    const args = { q, ...this.#cache.layer(0), cacheSeqlens, blockTable, causal: true, pass };
    const recorded = attnWithKvCache(this.#runtime, args);
    pass.end();
    device.queue.submit([encoder.finish()]);
    for (const { buffer } of [out, q, recorded.out]) buffer.destroy();
  }
}

let soak: Promise<Soak> | undefined;
globalThis.soak = async (nSteps) => {
  soak ??= Soak.start();
  return (await soak).run(nSteps);
};
