import { refuse } from '../engineError.js';
import { isJson, type Json } from '../files/modelFiles.js';
import { NEUTRAL, type Family } from './families.js';

/** Fields of a model that sees images, too, which concern its text model but are outside of its text_config. */
const OF_BOTH: ReadonlySet<string> = new Set([
  'tie_word_embeddings',
  'torch_dtype',
  'dtype',
  'quantization_config',
  'eos_token_id',
]);

/** Reads and checks fields of a config.json. A missing one is the default's, and null is Python's None. */
export class ConfigFields {
  readonly name: string;
  /** The config, of the text model alone, with defaults filled in. */
  readonly values: Json;
  /** The fields that config.json itself has. */
  readonly given: Json;

  constructor(name: string, config: Json, defaults: Json) {
    this.name = name;
    const { text_config: text, ...whole } = config;
    const outer = Object.fromEntries(
      Object.entries(whole).filter(([key, value]) => OF_BOTH.has(key) && value !== null),
    );
    this.given = isJson(text) ? { ...text, ...outer } : whole;
    this.values = { ...defaults, ...this.given };
  }

  refuse(problem: string): never {
    return refuse(`${this.name} cannot be run: ${problem}.`);
  }

  /** Returns a field; undefined if it is missing or null. */
  value(key: string): unknown {
    return (Object.hasOwn(this.values, key) ? this.values[key] : undefined) ?? undefined;
  }

  count(key: string): number {
    return this.countOr(key, undefined);
  }

  /** Returns an integer above 0. */
  countOr(key: string, fallback: number | undefined): number {
    const value = this.value(key) ?? fallback;
    if (Number.isSafeInteger(value) && (value as number) > 0) return value as number;
    return this.refuse(`${key} of its config.json must be a whole number above 0, not ${shown(value)}`);
  }

  amount(key: string): number {
    return this.amountOr(key, undefined);
  }

  /** Returns a number above 0, or the fallback. */
  amountOr(key: string, fallback: number | undefined): number {
    const value = this.value(key);
    if (value === undefined && fallback !== undefined) return fallback;
    if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
    return this.refuse(`${key} of its config.json must be a number above 0, not ${shown(value)}`);
  }

  flag(key: string): boolean {
    const value = this.value(key) ?? false;
    if (typeof value === 'boolean') return value;
    return this.refuse(`${key} of its config.json must be true or false, not ${shown(value)}`);
  }

  /** Returns token ids, of which a config has one, several or none. */
  tokens(key: string): readonly number[] {
    const value = this.value(key) ?? [];
    const ids: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (ids.every((id) => Number.isSafeInteger(id) && (id as number) >= 0)) return ids as readonly number[];
    return this.refuse(`${key} of its config.json must be token ids, not ${shown(value)}`);
  }
}

/** A value for a message. */
export function shown(value: unknown): string {
  return value === undefined ? 'missing' : JSON.stringify(value);
}

/** Refuses what would change results and is not computed. */
export function checkNeutral(fields: ConfigFields, family: Family): void {
  for (const { key, only, except = [], why } of NEUTRAL) {
    const value = fields.value(key);
    if (value === undefined || value === only || except.includes(family)) continue;
    fields.refuse(`its config.json has ${key} ${JSON.stringify(value)?.slice(0, 60)}, ${why}`);
  }
}
