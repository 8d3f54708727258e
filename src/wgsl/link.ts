import type { Kernel, Spec } from './kernel.js';
import type { Condition, Index, Size, Template } from './template.js';

/**
 * The WGSL of one variant of a kernel: conditions decided, constants declared, marked loops written out, and of all
 * declarations those that the entry point reaches.
 *
 * ```wgsl
 * @registers var acc: array<array<vec4f, COLS>, ROWS>;
 * @unroll for (var r = 0u; r < ROWS; r++) {
 *   @unroll for (var c = 0u; c < COLS; c++) { acc[r][c] *= rescale[r]; }
 * }
 * ```
 *
 * becomes `var acc_0_0: vec4f = vec4f(); …` and `{ { acc_0_0 *= rescale_0; } … }`. Compilers keep a small array in
 * registers only when each index is a constant, and whether a loop is unrolled for that is their choice; written out,
 * there is no choice.
 *
 * @throws RangeError if the spec lacks a constant, or a declaration that the variant needs is not part of it
 */
export function link({ name, modules }: Pick<Kernel, 'name' | 'modules'>, spec: Spec): string {
  const variant = new VariantWriter(name, spec);
  const directives = modules.map((module) => variant.write(module.directives)).join('');
  const needed = new Map<string, string>();
  const constants: string[] = [];
  // Writing a declaration names others, which this loop comes to in turn.
  for (const declaration of variant.named) {
    const home = modules.find(({ declarations }) => declaration in declarations);
    if (!home) {
      constants.push(`\nconst ${declaration} = ${variant.constant(declaration)}u;`);
      continue;
    }
    const text = variant.write(home.declarations[declaration]!);
    if (!text) throw new RangeError(`${variantName({ name }, spec)} lacks ${declaration}, but needs it.`);
    needed.set(declaration, text);
  }
  // In the order of the sources, which explains more than that of use.
  const texts = modules.flatMap(({ declarations }) =>
    Object.keys(declarations).map((declaration) => needed.get(declaration) ?? ''),
  );
  return [directives, ...constants, ...texts, '\n'].join('').trimStart();
}

/** A name for a variant, such as `attn_prefill{PAGED Q_F16 ROWS=4}`. */
export function variantName({ name }: Pick<Kernel, 'name'>, spec: Spec): string {
  const parts = Object.entries(spec)
    .filter(([, value]) => value !== false)
    .map(([part, value]) => (value === true ? part : `${part}=${value}`));
  return `${name}{${parts.toSorted().join(' ')}}`;
}

/** Writes templates for one spec. */
class VariantWriter {
  /** Declarations and constants that what was written names, the entry point first. */
  readonly named: Set<string>;
  readonly #spec: Spec;
  /** Counters of the loops that are being written out. */
  readonly #turns = new Map<string, number>();

  constructor(entryPoint: string, spec: Spec) {
    this.named = new Set([entryPoint]);
    this.#spec = spec;
  }

  write(template: Template): string {
    let text = '';
    for (const segment of template) {
      if (typeof segment === 'string') {
        text += segment;
      } else if ('name' in segment) {
        this.named.add(segment.name);
        text += segment.name;
      } else if ('if' in segment) {
        if (this.#holds(segment.if)) text += this.write(segment.body);
      } else if ('counter' in segment) {
        const { counter, below, body } = segment;
        const turns = this.#valueOf(below);
        for (let turn = 0; turn < turns; turn++) {
          this.#turns.set(counter, turn);
          text += this.write(body);
        }
        this.#turns.delete(counter);
      } else if ('turn' in segment) {
        text += `${this.#turns.get(segment.turn)}u`;
      } else if ('register' in segment) {
        text += segment.register;
        for (const index of segment.at) text += `_${this.#indexOf(index)}`;
      } else {
        const { registers, space, type, sizes } = segment;
        const element = this.write(type);
        for (const index of indicesBelow(sizes.map((size) => this.#valueOf(size))))
          text += `${space}var ${registers}${index}: ${element} = ${element}();`;
      }
    }
    return text;
  }

  constant(name: string): number {
    const value = this.#spec[name];
    if (typeof value !== 'number') throw new RangeError(`${name} is not among the constants of the kernel`);
    return value;
  }

  #holds(condition: Condition): boolean {
    if (typeof condition === 'string') return this.#spec[condition] === true;
    const [operator, first, second] = condition;
    if (operator === '!') return !this.#holds(first);
    return operator === '&&'
      ? this.#holds(first) && this.#holds(second)
      : this.#holds(first) || this.#holds(second);
  }

  #valueOf(size: Size): number {
    return typeof size === 'number' ? size : (this.#turns.get(size) ?? this.constant(size));
  }

  #indexOf(index: Index): number {
    if (typeof index !== 'object') return this.#valueOf(index);
    const [value, divisor] = [this.#valueOf(index[0]), this.#valueOf(index[2])];
    return index[1] === '/' ? Math.floor(value / divisor) : value % divisor;
  }
}

/** `_0_0`, `_0_1`, … for an array of arrays of these sizes. */
function indicesBelow(sizes: readonly number[]): string[] {
  return sizes.reduce<string[]>(
    (names, size) => names.flatMap((name) => Array.from({ length: size }, (_, i) => `${name}_${i}`)),
    [''],
  );
}
