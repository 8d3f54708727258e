/**
 * Unrolls the loops marked `@unroll` and turns the arrays marked `@registers` into one variable per element.
 *
 * Compilers keep a small array in registers only when each index is a constant, and whether a loop is unrolled for that
 * is their choice; written out, there is no choice. A kernel stays readable, since both marks stand before plain WGSL:
 *
 * ```wgsl
 * @registers var acc: array<array<vec4f, COLS>, ROWS>;
 * @unroll for (var r = 0u; r < ROWS; r++) {
 *   @unroll for (var c = 0u; c < COLS; c++) { acc[r][c] *= rescale[r]; }
 * }
 * ```
 *
 * becomes `var acc_0_0: vec4f = vec4f(); …` and `{ { acc_0_0 *= rescale_0; } … }`. Loop bounds and array sizes are names
 * in `constants` or numbers.
 */
export function unroll(source: string, constants: Readonly<Record<string, number>>): string {
  return splitRegisters(unrollLoops(source, constants), constants);
}

const LOOP = /@unroll\s+for\s*\(\s*var\s+(\w+)\s*=\s*0u\s*;\s*\1\s*<\s*(\w+)\s*;\s*\1\+\+\s*\)\s*\{/;

function unrollLoops(source: string, constants: Readonly<Record<string, number>>): string {
  const loop = LOOP.exec(source);
  if (!loop) return source;
  const [head, counter, bound] = loop as unknown as [string, string, string];
  const start = loop.index + head.length;
  const end = closingBrace(source, start);
  const body = source.slice(start, end);
  const name = new RegExp(`\\b${counter}\\b`, 'g');
  const copies = Array.from(
    { length: sizeOf(bound, constants) },
    (_, i) => `{${body.replace(name, `${i}u`)}}`,
  );
  const rest = unrollLoops(`${copies.join('\n')}${source.slice(end + 1)}`, constants);
  return source.slice(0, loop.index) + rest;
}

/** The index of the brace that closes the block whose text begins at `start`. */
function closingBrace(source: string, start: number): number {
  let depth = 1;
  for (let at = start; at < source.length; at++) {
    if (source[at] === '{') depth++;
    if (source[at] === '}' && --depth === 0) return at;
  }
  throw new SyntaxError(`a block is not closed: ${source.slice(start, start + 60)}`);
}

const REGISTERS =
  /(@if\([^)]*\)\s*)?@registers\s+var\s+(\w+)\s*:\s*((?:array<)+)(\w+)\s*((?:,\s*\w+\s*>\s*)+);/g;

function splitRegisters(source: string, constants: Readonly<Record<string, number>>): string {
  const ranks = new Map<string, number>();
  const declare = (
    _mark: string,
    condition = '',
    name = '',
    _open = '',
    element = '',
    sizes = '',
  ): string => {
    // array<array<T, inner>, outer>: the outermost size comes last but is the first index.
    const dims = [...sizes.matchAll(/\w+/g)].map(([size]) => sizeOf(size, constants)).toReversed();
    ranks.set(name, dims.length);
    const indices = dims.reduce<string[]>(
      (names, size) => names.flatMap((prefix) => Array.from({ length: size }, (_, i) => `${prefix}_${i}`)),
      [''],
    );
    return indices.map((suffix) => `${condition}var ${name}${suffix}: ${element} = ${element}();`).join('\n');
  };
  const declared = source.replace(REGISTERS, declare);
  return [...ranks].reduce((text, [name, rank]) => {
    const use = new RegExp(`\\b${name}${`\\[(${INDEX})\\]`.repeat(rank)}`, 'g');
    return text.replace(use, (_, ...indices: string[]) => {
      const numbers = indices.slice(0, rank).map((index) => valueOf(index, constants));
      return `${name}_${numbers.join('_')}`;
    });
  }, declared);
}

/** What an index of registers may be: a number, or a number divided by a size, with the remainder or without. */
const INDEX = '\\d+u(?: [/%] \\w+)?';

function valueOf(index: string, constants: Readonly<Record<string, number>>): number {
  const [number, operator, divisor] = index.split(' ') as [string, string?, string?];
  const value = Number(number.slice(0, -1));
  if (!divisor) return value;
  const size = sizeOf(divisor, constants);
  return operator === '/' ? Math.floor(value / size) : value % size;
}

function sizeOf(size: string, constants: Readonly<Record<string, number>>): number {
  const value = constants[size] ?? Number(size.replace(/u$/, ''));
  if (!Number.isInteger(value)) throw new RangeError(`${size} is not among the constants of the kernel`);
  return value;
}
