import type { FloatDType } from '../../src/index.js';
import { BATCHES, parseSequences, SettingError, SHAPES, type Settings } from './settings.js';

const CUSTOM = 'Custom';

/** The form's fields by name, with the presets that fill them. */
export class SettingsForm {
  readonly #form: HTMLFormElement;
  #software = false;

  constructor(form: HTMLFormElement) {
    this.#form = form;
    fillOptions(this.#select('shape'), [...SHAPES.map(({ name }) => name), CUSTOM]);
    fillOptions(this.#select('batch'), [...BATCHES.map(({ name }) => name), CUSTOM]);
    this.#select('shape').addEventListener('change', () => this.#applyShape());
    this.#select('batch').addEventListener('change', () => this.#applyBatch());
    for (const name of ['nHeads', 'nKvHeads', 'headDim'])
      this.#input(name).addEventListener('input', () => (this.#select('shape').value = CUSTOM));
    this.#input('lengths').addEventListener('input', () => (this.#select('batch').value = CUSTOM));
    form.addEventListener('change', () => this.#enableFields());
  }

  /** Fill in the defaults for a device: smaller ones if it runs shaders on the CPU. */
  setDefaults(software: boolean): void {
    this.#software = software;
    this.#select('shape').value = SHAPES[software ? 0 : 1].name;
    this.#select('batch').value = BATCHES[0].name;
    this.#applyShape();
    this.#applyBatch();
    this.#enableFields();
  }

  /** All fields as a query string, for a link that restores them. */
  toLink(): string {
    return new URLSearchParams([...new FormData(this.#form)] as [string, string][]).toString();
  }

  /** Restore fields from a link. A checkbox that the link does not name is unchecked. */
  fromLink(link: string): void {
    const values = new URLSearchParams(link);
    if (values.size === 0) return;
    for (const field of this.#form.elements) {
      if (!(field instanceof HTMLInputElement || field instanceof HTMLSelectElement)) continue;
      const value = values.get(field.name);
      if (field.type === 'checkbox') (field as HTMLInputElement).checked = value !== null;
      else if (value === null) continue;
      else if (field.type === 'radio') (field as HTMLInputElement).checked = value === field.value;
      else field.value = value;
    }
    for (const preset of ['shape', 'batch']) if (!values.has(preset)) this.#select(preset).value = CUSTOM;
    this.#enableFields();
  }

  /**
   * The settings in the form.
   *
   * @throws SettingError
   */
  read(): Settings {
    const data = new FormData(this.#form);
    const sequences = parseSequences(this.#input('lengths').value);
    return {
      nHeads: this.#count('nHeads', 'Query heads', 1),
      nKvHeads: this.#count('nKvHeads', 'KV heads', 1),
      headDim: this.#count('headDim', 'Head size', 1),
      dtype: data.get('dtype') as FloatDType,
      sequences,
      causal: data.has('causal'),
      windowSize: [this.#number('windowLeft', 'Window left'), this.#number('windowRight', 'Window right')],
      softcap: this.#number('softcap', 'Softcap'),
      attentionChunk: this.#number('attentionChunk', 'Chunk'),
      alibi: data.has('alibi'),
      sinks: data.has('sinks'),
      pageSize: data.get('layout') === 'paged' ? this.#count('pageSize', 'Page size', 1) : 0,
      seed: this.#number('seed', 'Seed'),
    };
  }

  #applyShape(): void {
    const shape = SHAPES.find(({ name }) => name === this.#select('shape').value);
    if (!shape) return;
    for (const name of ['nHeads', 'nKvHeads', 'headDim'] as const)
      this.#input(name).value = String(shape[name]);
  }

  #applyBatch(): void {
    const batch = BATCHES.find(({ name }) => name === this.#select('batch').value);
    if (batch) this.#input('lengths').value = this.#software ? batch.software : batch.lengths;
  }

  /** Disable the fields that have no effect. */
  #enableFields(): void {
    const data = new FormData(this.#form);
    this.#input('pageSize').disabled = data.get('layout') !== 'paged';
    this.#input('windowRight').disabled = data.has('causal');
  }

  #count(name: string, label: string, least: number): number {
    const value = this.#number(name, label);
    if (!Number.isInteger(value) || value < least)
      throw new SettingError(`${label} must be a whole number of at least ${least}.`);
    return value;
  }

  #number(name: string, label: string): number {
    const value = this.#input(name).valueAsNumber;
    if (Number.isNaN(value)) throw new SettingError(`${label} must be a number.`);
    return value;
  }

  #input(name: string): HTMLInputElement {
    return this.#form.elements.namedItem(name) as HTMLInputElement;
  }

  #select(name: string): HTMLSelectElement {
    return this.#form.elements.namedItem(name) as HTMLSelectElement;
  }
}

/** Replace the options of a select. */
export function fillOptions(select: HTMLSelectElement, labels: readonly string[]): void {
  select.replaceChildren(...labels.map((label) => new Option(label)));
}
