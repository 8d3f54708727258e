import { checkNames } from '../core/checkArguments.js';
import type { Step } from '../paging/planner/step.js';

/** What a `Batch` or a `Step` has. Each function that takes them whole says of every field whether it is an argument. */
export type BatchField = keyof Step;

/** Those that no function takes as an argument. */
export const NO_ARGUMENTS = {
  nSequences: true,
  nNewTokens: true,
  tableWidth: true,
  tokenPositions: true,
  slotMapping: true,
  sequences: true,
  tokens: true,
  sampled: true,
  sampledRows: true,
  swapsOut: true,
  copies: true,
  swapsIn: true,
} as const;

/** Arguments by name, and what is accepted beside them without being used. */
export interface ArgNames<Args extends object> {
  readonly used: readonly (keyof Args & string)[];
  readonly unused: readonly string[];
}

/**
 * The arguments in an object of any kind, with prototypes and getters or without: they are read by name, each once.
 *
 * @throws PageflashError `argument` for a name that is neither an argument nor accepted beside them
 */
export function readArgs<Args extends object, Given extends Partial<Args>>(
  caller: string,
  given: Given,
  { used, unused }: ArgNames<Args>,
): Given {
  checkNames(caller, given, used, { alsoTaken: unused });
  const args: Partial<Args> = {};
  for (const name of used) if (name in given) args[name] = (given as Partial<Args>)[name];
  return args as Given;
}
