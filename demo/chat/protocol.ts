import type { Advice } from '../advice.js';
import type { KernelTime } from '../engine/gpu/kernelTimes.js';
import type { EndReason } from '../engine/serving/generation.js';
import type { ChatMessage } from '../engine/text/textCodec.js';
import type { WeightFormat } from '../engine/model/weightFormats.js';

// What the page and its worker say to each other. Everything is plain data. Ids are the page's.

/** Where a model comes from. */
export type ModelSource =
  | { readonly kind: 'shipped' }
  | { readonly kind: 'hub'; readonly id: string }
  /** A folder that the visitor has picked: its files, or nothing if it was kept in the browser's storage before. */
  | { readonly kind: 'folder'; readonly name: string; readonly files?: readonly File[] };

export interface ModelChoice {
  readonly source: ModelSource;
  /** How weights are stored on the GPU; undefined: as in the file. */
  readonly weights: WeightFormat | undefined;
  /** GPU memory that weights and cache may take. */
  readonly budgetBytes: number;
}

/** How the engine attends, and whether it times each kernel. */
export interface EngineMode {
  readonly attention: 'paged' | 'naive';
  readonly isTimed: boolean;
}

export interface AnswerOptions {
  /** Of the new answer. */
  readonly answer: string;
  /** The conversation that it belongs to. */
  readonly conversation: string;
  readonly temperature: number;
  readonly seed: number;
  readonly maxNewTokens: number;
}

/** A layer and head whose attention is looked at. */
export interface PatternChoice {
  readonly conversation: string;
  readonly layer: number;
  readonly head: number;
}

export type Request =
  | { readonly type: 'load'; readonly choice: ModelChoice; readonly mode: EngineMode }
  | { readonly type: 'stopLoading' }
  /** Whether a model fits. Answered by `fit`. */
  | { readonly type: 'measure'; readonly choice: ModelChoice }
  | { readonly type: 'setMode'; readonly mode: EngineMode }
  | { readonly type: 'ask'; readonly options: AnswerOptions; readonly messages: readonly ChatMessage[] }
  /** A second end of an answer that is on its way. Its text so far is that of the first. */
  | { readonly type: 'fork'; readonly from: string; readonly options: AnswerOptions }
  | { readonly type: 'cancel'; readonly answer: string }
  /** A conversation is gone: its pages are nobody's. */
  | { readonly type: 'drop'; readonly conversation: string }
  /** All conversations that there are, of any model: what is kept of others is deleted. */
  | { readonly type: 'keepOnly'; readonly conversations: readonly string[] }
  /** The text of a page. Answered by `pageText`. */
  | { readonly type: 'readPage'; readonly page: number }
  /** What tokens of a conversation look at. `messages` are its turns. Answered by `pattern`. */
  | {
      readonly type: 'readPattern';
      readonly choice: PatternChoice;
      readonly messages: readonly ChatMessage[];
    }
  /** Answered by `kept`, as is `forgetKept`. */
  | { readonly type: 'listKept' }
  | { readonly type: 'forgetKept'; readonly name: string };

/** How a loaded model is run, for people. */
export interface ModelFacts {
  readonly name: string;
  readonly source: ModelSource;
  readonly nParameters: number;
  readonly weights: WeightFormat;
  readonly weightBytes: number;
  /** The most tokens of a conversation. */
  readonly context: number;
  readonly nPages: number;
  readonly pageSize: number;
  /** Conversations that are computed at once. */
  readonly nSequences: number;
  readonly nLayers: number;
  readonly nHeads: number;
  readonly hasChat: boolean;
  readonly gpu: string;
  readonly isSoftware: boolean;
  readonly canTime: boolean;
  /** Why a model is not kept in the browser's storage, if it should be. */
  readonly notKept: string | undefined;
}

export type Status =
  | { readonly kind: 'starting' }
  | {
      readonly kind: 'loading';
      readonly name: string;
      readonly bytes: number;
      readonly totalBytes: number;
      readonly secondsLeft: number | undefined;
    }
  | { readonly kind: 'compiling'; readonly name: string }
  /** The device was lost, and another one is asked for. */
  | { readonly kind: 'recovering'; readonly reason: string }
  | { readonly kind: 'ready'; readonly model: ModelFacts; readonly mode: EngineMode }
  /** Nothing is loaded. */
  | { readonly kind: 'failed'; readonly advice: Advice };

/** Whether a model fits, in a sentence. */
export interface FitReport {
  readonly fits: boolean;
  readonly sentence: string;
}

/** `held` by one sequence, `shared` by several, `cached`: can be found until it is reused, `free`. */
export type PageState = 'held' | 'shared' | 'cached' | 'free';

export interface PageCell {
  readonly state: PageState;
  /** Conversations whose tokens are in it. */
  readonly conversations: readonly string[];
  /** Its place in the order in which pages are reused, from 0; −1 for a page that is held. */
  readonly evictedAs: number;
}

/** Time and memory of attention in one of both ways. */
export interface ModeFigures {
  /** Tokens a second while answering, of the last seconds in which it was used; undefined if it was not. */
  readonly tokensPerSecond: number | undefined;
  /** GPU time of attention for a step, if kernels were timed. */
  readonly attentionMs: number | undefined;
  /** Of keys and values: what is set aside, and what the tokens of now need of it. */
  readonly cacheBytes: number;
  readonly usedBytes: number;
  /** Scores that are written out. */
  readonly scoreBytes: number;
}

export interface Live {
  readonly nRunning: number;
  readonly nWaiting: number;
  /** Tokens a second that were sampled, and that were computed of prompts, in the last moment. */
  readonly sampledPerSecond: number;
  readonly prefilledPerSecond: number;
  readonly nSteps: number;
  readonly nSampled: number;
  readonly hitPercent: number;
  /** Tokens of conversations that the cache has of the browser's storage. */
  readonly nRestored: number;
  /** Conversations whose pages in the browser's storage could not be used. */
  readonly nLost: number;
  readonly nUsed: number;
  readonly nShared: number;
  readonly nCached: number;
  readonly nHostUsed: number;
  readonly usedBytes: number;
  readonly cacheBytes: number;
  readonly pages: readonly PageCell[];
  /** Of the last moment in which something ran; undefined where kernels are not timed. */
  readonly kernels: readonly KernelTime[] | undefined;
  readonly figures: Readonly<Record<EngineMode['attention'], ModeFigures>>;
}

/** How much the last tokens of a conversation look at each of its tokens. */
export interface Pattern {
  /** The text of each token. */
  readonly tokens: readonly string[];
  /** f32 [rows, tokens], a probability each. Row i is of the token at `firstRow` + i. */
  readonly weights: Float32Array;
  readonly firstRow: number;
}

/** A model in the browser's storage. */
export interface KeptModel {
  readonly name: string;
  readonly source: ModelSource;
  readonly bytes: number;
}

export type Reply =
  | { readonly type: 'status'; readonly status: Status }
  | { readonly type: 'fit'; readonly choice: ModelChoice; readonly report: FitReport }
  /** The prompt is computed from here on. */
  | {
      readonly type: 'text';
      readonly answer: string;
      /** What follows the text so far. */
      readonly text: string;
      readonly nTokens: number;
    }
  | {
      readonly type: 'end';
      readonly answer: string;
      readonly end: EndReason;
      readonly nTokens: number;
      readonly nPromptTokens: number;
      readonly seconds: number;
    }
  | { readonly type: 'refused'; readonly answer: string; readonly message: string }
  | { readonly type: 'live'; readonly live: Live }
  | { readonly type: 'pageText'; readonly page: number; readonly text: string }
  /** With the pattern, or why there is none. */
  | {
      readonly type: 'pattern';
      readonly choice: PatternChoice;
      readonly pattern: Pattern | undefined;
      readonly problem: string | undefined;
    }
  | { readonly type: 'kept'; readonly models: readonly KeptModel[]; readonly freeBytes: number | undefined };
