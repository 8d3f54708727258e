// What can be read out of WGSL without parsing all of it. Comments must be gone.

/** Text up to a `;`, `{` or `}` outside of parentheses, and which of these it is; empty at the end of the code. */
export interface Statement {
  readonly text: string;
  readonly end: string;
}

export function statementsOf(code: string): Statement[] {
  const found: Statement[] = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at < code.length; at++) {
    const sign = code[at]!;
    if ('(['.includes(sign)) depth++;
    else if (')]'.includes(sign)) depth--;
    else if (depth === 0 && ';{}'.includes(sign)) {
      found.push({ text: code.slice(start, at), end: sign });
      start = at + 1;
    }
  }
  return [...found, { text: code.slice(start), end: '' }];
}

/** Where the bracket is closed that was opened before a place. */
export function closingOf(code: string, start: number): number {
  let depth = 0;
  for (let at = start; at < code.length; at++) {
    if ('([{'.includes(code[at]!)) depth++;
    else if (')]}'.includes(code[at]!) && depth-- === 0) return at;
  }
  throw new Error('A bracket of the code is not closed.');
}

/** The arguments or parameters from a place to the closing bracket. */
export function argumentsFrom(code: string, start: number): string[] {
  const found: string[] = [''];
  let depth = 0;
  for (const sign of code.slice(start, closingOf(code, start))) {
    if ('([{'.includes(sign)) depth++;
    else if (')]}'.includes(sign)) depth--;
    if (sign === ',' && depth === 0) found.push('');
    else found[found.length - 1] += sign;
  }
  // A comma may end the list.
  return found.filter((argument) => argument.trim());
}

/** A type behind its aliases. */
export function typeBehind(code: string, name: string): string {
  const alias = new RegExp(`\\balias\\s+${name}\\s*=\\s*(\\w+)\\s*;`).exec(code);
  return alias ? typeBehind(code, alias[1]!) : name;
}

/** The value of a literal or of a constant that is one. */
export function constantOf(code: string, text: string): number {
  const literal = /^(\d+)[ui]?$/.exec(text);
  if (literal) return Number(literal[1]);
  const constant = new RegExp(`\\bconst\\s+${text}\\s*(?::\\s*\\w+\\s*)?=\\s*(\\w+)\\s*;`).exec(code);
  if (!constant) throw new Error(`${text} is no constant of the code with a number for a value.`);
  return constantOf(code, constant[1]!);
}
