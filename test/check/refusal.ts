import { PageflashError } from '../../src/core/errors.js';

/** The code and the message of the error that a call throws. */
export function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return sentence(error);
  }
  throw new Error('Nothing was refused.');
}

/** Likewise of the error that a promise rejects with. */
export async function rejection(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => {
    throw new Error('Nothing was refused.');
  }, sentence);
}

function sentence(error: unknown): string {
  if (error instanceof PageflashError) return `${error.code}: ${error.message}`;
  throw error;
}
