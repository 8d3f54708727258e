import { describe } from './describe.js';
import { fail } from './errors.js';

interface Beside {
  /** Names that are accepted as well, without being offered. */
  readonly alsoTaken?: readonly string[];
  /** What to do with others, in a sentence. */
  readonly hint?: string;
}

/** Refuses names that no argument has: most are typing errors, and none would be obeyed. */
export function checkNames(
  caller: string,
  args: object,
  names: readonly string[],
  { alsoTaken = [], hint }: Beside = {},
): void {
  if (typeof args !== 'object' || args === null || Array.isArray(args) || ArrayBuffer.isView(args))
    fail('argument', caller, `the arguments must be one object, not ${describe(args)}.`);
  const unknown = Object.keys(args).find((name) => !names.includes(name) && !alsoTaken.includes(name));
  if (unknown === undefined) return;
  const remedy = hint === undefined ? '' : ` ${hint}`;
  fail('argument', caller, `there is no argument ${shown(unknown)}. There are ${names.join(', ')}.${remedy}`);
}

/** A name as short as messages are to be. */
function shown(name: string): string {
  return name.length > MOST_LETTERS ? `${name.slice(0, MOST_LETTERS)}…` : name;
}

const MOST_LETTERS = 60;

/** All names of an object's type. The list is a record, so that the compiler asks for a name that was forgotten. */
/* @__NO_SIDE_EFFECTS__ */
export function namesOf<T extends object>(
  names: Readonly<Record<keyof T, true>>,
): readonly (keyof T & string)[] {
  return Object.keys(names) as (keyof T & string)[];
}
