import { kvBytesPerToken } from 'pageflash';
import type { KernelTime } from '../../engine/gpu/kernelTimes.js';
import { modelShape } from '../../engine/model/fits.js';
import { naiveCacheBytes, scoresBytesOf } from '../../engine/naive/naiveSizes.js';
import type { EngineMode, Live, ModeFigures } from '../protocol.js';
import type { Answers } from './answers.js';
import type { LoadedModel } from './engineHost.js';
import { pageOwners } from './pageOwners.js';

type Attention = EngineMode['attention'];

/** Rates are those of so many milliseconds. */
const WINDOW_MS = 1000;
/** The engine's defaults, for what naive attention takes where it does not run. */
const MAX_TOKENS = 512;
const NAIVE_SCORES_BYTES = 256 << 20;

interface Mark {
  readonly ms: number;
  readonly nSampled: number;
  readonly nPrefill: number;
}

/** What a mode has shown when it was used last. */
interface Shown {
  tokensPerSecond: number | undefined;
  attentionMs: number | undefined;
}

/** Measures the engine at moments: rates, pages, kernels, and how both ways of attention compare. */
export class LiveFigures {
  readonly #answers: Answers;
  #loaded: LoadedModel | undefined;
  #marks: Mark[] = [];
  /** When answers began to run, after a pause. */
  #began: Mark | undefined;
  #kernels: readonly KernelTime[] | undefined;
  #nStepsTimed = 0;
  #isTaking = false;
  readonly #shown: Record<Attention, Shown> = {
    paged: { tokensPerSecond: undefined, attentionMs: undefined },
    naive: { tokensPerSecond: undefined, attentionMs: undefined },
  };

  constructor(answers: Answers) {
    this.#answers = answers;
  }

  /** Measures another engine from now on. Another model forgets what modes have shown. */
  watch(loaded: LoadedModel): void {
    if (this.#loaded?.facts.name !== loaded.facts.name || this.#loaded.facts.weights !== loaded.facts.weights)
      for (const shown of Object.values(this.#shown)) shown.tokensPerSecond = shown.attentionMs = undefined;
    this.#loaded = loaded;
    this.#marks = [];
    this.#began = undefined;
    this.#kernels = undefined;
    this.#nStepsTimed = 0;
    // What was timed while it was made is not of any step.
    void loaded.times?.take();
  }

  measure(): Live | undefined {
    const loaded = this.#loaded;
    if (!loaded) return undefined;
    const { engine, facts, mode } = loaded;
    const { nSampled, nPrefill, nSteps } = engine.stats;
    const now: Mark = { ms: performance.now(), nSampled, nPrefill };
    const rates = this.#rates(now, mode.attention);
    void this.#takeTimes(loaded);
    const usage = engine.usage();
    const snapshot = engine.pages.snapshot();
    const bytesPerPage = facts.pageSize * kvBytesPerToken({ ...modelShape(engine.config), dtype: 'f16' });
    const isNaive = mode.attention === 'naive';
    return {
      nRunning: this.#answers.nRunning,
      nWaiting: Math.max(0, this.#answers.nRunning - facts.nSequences),
      ...rates,
      nSteps,
      nSampled,
      hitPercent: usage.hitPercent,
      nRestored: loaded.restored.nTokens,
      nLost: loaded.restored.nLost,
      nUsed: usage.nUsed,
      nShared: usage.nShared,
      nCached: usage.nCached,
      nHostUsed: usage.nHostUsed,
      usedBytes: usage.nUsed * bytesPerPage,
      cacheBytes: facts.nPages * bytesPerPage,
      pages: isNaive
        ? []
        : pageOwners({
            snapshot,
            conversationOf: (sequence) => this.#answers.conversationOf(sequence),
            ended: this.#answers.ended(),
          }),
      kernels: this.#kernels,
      figures: {
        paged: {
          ...this.#shown.paged,
          cacheBytes: facts.nPages * bytesPerPage,
          usedBytes: usage.nUsed * bytesPerPage,
          scoreBytes: 0,
        },
        naive: this.#naiveFigures(loaded),
      },
    };
  }

  #rates(now: Mark, attention: Attention): Pick<Live, 'sampledPerSecond' | 'prefilledPerSecond'> {
    const isRunning = this.#answers.nRunning > 0;
    const shown = this.#shown[attention];
    if (isRunning) this.#began ??= this.#marks.at(-1) ?? now;
    if (this.#began) {
      const seconds = (now.ms - this.#began.ms) / 1000;
      const n = now.nSampled - this.#began.nSampled;
      // A few tokens say little.
      if (n >= 8 && seconds > 0) shown.tokensPerSecond = n / seconds;
    }
    if (!isRunning) this.#began = undefined;
    this.#marks = [...this.#marks.filter(({ ms }) => ms >= now.ms - WINDOW_MS), now];
    const first = this.#marks[0]!;
    const seconds = (now.ms - first.ms) / 1000;
    if (!isRunning || seconds <= 0) return { sampledPerSecond: 0, prefilledPerSecond: 0 };
    return {
      sampledPerSecond: (now.nSampled - first.nSampled) / seconds,
      prefilledPerSecond: (now.nPrefill - first.nPrefill) / seconds,
    };
  }

  /** Reads the times of kernels since the last time, while something runs. */
  async #takeTimes({ times, engine, mode }: LoadedModel): Promise<void> {
    if (!times || this.#isTaking || engine.stats.nSteps === this.#nStepsTimed) return;
    this.#isTaking = true;
    const { nSteps } = engine.stats;
    // On a lost device there is nothing to read.
    const kernels = await times.take().catch(() => []);
    this.#isTaking = false;
    if (kernels.length === 0 || this.#loaded?.engine !== engine) return;
    const isAttention = ({ name }: KernelTime): boolean => name === 'attention' || name.startsWith('naive_');
    const ms = kernels.filter(isAttention).reduce((sum, kernel) => sum + kernel.ms, 0);
    this.#shown[mode.attention].attentionMs = ms / (nSteps - this.#nStepsTimed);
    this.#nStepsTimed = nSteps;
    this.#kernels = kernels;
  }

  #naiveFigures({ engine, facts, device }: LoadedModel): ModeFigures {
    const { nHeads, nKvHeads, headDim, nLayers } = engine.config;
    const sizes = {
      nHeads,
      nKvHeads,
      headDim,
      dtype: 'f16',
      nLayers,
      nSlots: facts.nSequences,
      capacity: facts.context,
    } as const;
    const cacheBytes = naiveCacheBytes(sizes);
    // Where one layer's keys do not fit in a buffer, the engine says so when it is asked to.
    const isBindable = cacheBytes / nLayers / 2 <= device.limits.maxStorageBufferBindingSize;
    const room = { limits: device.limits, budget: NAIVE_SCORES_BYTES, maxRows: MAX_TOKENS };
    return {
      ...this.#shown.naive,
      cacheBytes,
      usedBytes: cacheBytes,
      scoreBytes: isBindable ? scoresBytesOf(sizes, room) : 0,
    };
  }
}
