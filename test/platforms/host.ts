import type { LaneOptions, Message } from './message.js';

/** Where a lane runs: a process or a browser, started anew for each set of features and after each crash. */
export interface Host {
  start(options: LaneOptions, receive: (message: Message) => void): Promise<Running>;
}

export interface Running {
  /** Fulfilled with the reason once the lane can tell nothing any more. */
  readonly ended: Promise<string>;
  stop(): Promise<void>;
}
