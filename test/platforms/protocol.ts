import type { FeatureSet, Platform } from './gpuCase.js';

export interface ProgramOptions {
  readonly platform: Platform;
  readonly features: FeatureSet;
}

export interface Begun {
  readonly adapter: string;
  /** Whether the adapter has the features. */
  readonly isOffered: boolean;
}

/** What came of one case. */
export interface CaseResult {
  /** `suite: title` */
  readonly title: string;
  /** Calls that it has checked. */
  readonly cells: number;
  readonly milliseconds: number;
  readonly failure?: Failure;
  /** Labels of the shader modules that the case made, and of those that the compiler refused. */
  readonly compiled: readonly string[];
  readonly refused: readonly string[];
}

export interface Failure {
  readonly message: string;
  readonly stack: string;
}

/** What the program does when it is told so from outside. */
export interface Program {
  /** Rejects where there is no WebGPU. */
  begin(options: ProgramOptions): Promise<Begun>;
  /** Run one case. Rejects if there is none of that name. */
  run(suite: string, name: string): Promise<CaseResult>;
}

/** Marks the lines by which the program answers in a process, since cases and drivers print, too. */
export const LINE_PREFIX = '@platform ';
