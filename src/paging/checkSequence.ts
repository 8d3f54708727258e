import { checkNames, namesOf } from '../core/checkNames.js';
import { fail } from '../core/errors.js';
import { checkBoolean, checkInt32, checkTokens } from './check.js';
import type { SequenceView } from './managedSequence.js';
import type { AddOptions, ResetOptions } from './pageManager.js';

// What a page manager and a planner check alike, each in its own name.

const RESET_NAMES = namesOf<ResetOptions>({ keepSwapped: true });

/** Checks what a sequence starts with, but for the names of options. */
export function checkStart(
  caller: string,
  tokens: ArrayLike<number>,
  { salt = 0, isPrivate = false }: AddOptions,
): void {
  checkTokens(caller, tokens);
  checkInt32(caller, 'salt', salt);
  checkBoolean(caller, 'isPrivate', isPrivate);
}

export function checkReset(caller: string, options: ResetOptions): void {
  checkNames(caller, options, RESET_NAMES);
  const { keepSwapped = false } = options;
  checkBoolean(caller, 'keepSwapped', keepSwapped);
}

export function refuseInFlight(caller: string, { id, nInFlight }: SequenceView): void {
  if (nInFlight === 0) return;
  fail('argument', caller, `sequence ${id} has ${nInFlight} tokens in flight. Commit them first.`);
}
