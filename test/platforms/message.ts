import type { FeatureSet, Lane } from './gpuCase.js';

/** What a lane is asked to run. */
export interface LaneOptions {
  readonly lane: Lane;
  readonly features: FeatureSet;
  /** Names of suites. */
  readonly suites: readonly string[];
  /** Part of a case's title. */
  readonly filter?: string | undefined;
  /** The first case to run, of those that suites and filter leave. */
  readonly from: number;
}

/** What a lane tells, one line of JSON each. */
export type Message = Begin | Start | End | Done | Broken;

interface Begin {
  readonly kind: 'begin';
  readonly adapter: string;
  /** Whether the adapter has the features; if not, nothing follows. */
  readonly isOffered: boolean;
  readonly nCases: number;
}

interface Start {
  readonly kind: 'start';
  readonly index: number;
  readonly title: string;
}

export interface End {
  readonly kind: 'end';
  readonly index: number;
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

interface Done {
  readonly kind: 'done';
}

/** The lane cannot run at all. */
interface Broken {
  readonly kind: 'broken';
  readonly message: string;
}
