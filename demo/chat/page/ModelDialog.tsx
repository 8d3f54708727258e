import type { RefObject } from 'preact';
import { useState } from 'preact/hooks';
import { formatBytes } from '../../engine/engineError.js';
import type { WeightFormat } from '../../engine/model/weightFormats.js';
import type { ModelChoice, ModelSource } from '../protocol.js';
import type { LiveCardProps } from './LivePanel.js';

const FORMATS: readonly { readonly format: WeightFormat | 'stored'; readonly label: string }[] = [
  { format: 'stored', label: 'as in the file' },
  { format: 'f16', label: 'f16' },
  { format: 'i8', label: '8 bits' },
  { format: 'i4', label: '4 bits' },
];
const BUDGETS_GB = [1, 2, 4, 8, 16, 32] as const;
const SUGGESTED = [
  'HuggingFaceTB/SmolLM2-135M-Instruct',
  'HuggingFaceTB/SmolLM2-360M-Instruct',
  'Qwen/Qwen3-0.6B',
];

type Kind = ModelSource['kind'];

export interface ModelDialogProps extends LiveCardProps {
  readonly dialog: RefObject<HTMLDialogElement | null>;
}

/** Chooses a model, and says beforehand whether it fits. */
export function ModelDialog({ chat, state, dialog }: ModelDialogProps) {
  const { kept, freeBytes, fit, choice } = state;
  const [kind, setKind] = useState<Kind>('shipped');
  const [id, setId] = useState('');
  const [folder, setFolder] = useState<Extract<ModelSource, { kind: 'folder' }> | undefined>(undefined);
  const [format, setFormat] = useState<WeightFormat | 'stored'>('stored');
  const [budgetGb, setBudget] = useState(choice.budgetBytes / 1e9);
  const source: ModelSource | undefined =
    kind === 'shipped'
      ? { kind }
      : kind === 'folder'
        ? folder
        : id.trim() === ''
          ? undefined
          : { kind, id: id.trim() };
  const next: ModelChoice | undefined = source && {
    source,
    weights: format === 'stored' ? undefined : format,
    budgetBytes: budgetGb * 1e9,
  };
  const report = next && fit && isSame(fit.choice, next) ? fit.report : undefined;
  const close = (): void => dialog.current?.close();
  const load = (wanted: ModelChoice): void => {
    chat.load(wanted);
    close();
  };
  return (
    <dialog ref={dialog} class="card" aria-labelledby="model-title">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (next) load(next);
        }}
      >
        <h2 id="model-title">Model</h2>
        <div class="segments" role="radiogroup" aria-label="Where it comes from">
          {(['shipped', 'hub', 'folder'] as const).map((one) => (
            <label key={one}>
              <input
                type="radio"
                name="source"
                value={one}
                checked={kind === one}
                onChange={() => setKind(one)}
              />
              <span>{{ shipped: 'Tiny', hub: 'Hub', folder: 'Folder' }[one]}</span>
            </label>
          ))}
        </div>
        {kind === 'shipped' && (
          <p class="hint">
            1.8 MB, part of this page. It was taught to explain attention, and knows nothing else.
          </p>
        )}
        {kind === 'hub' && (
          <>
            <label class="field">
              <span>Id on the Hugging Face Hub, owner/name</span>
              <input
                type="text"
                list="suggested"
                value={id}
                placeholder={SUGGESTED[0]}
                autocomplete="off"
                spellcheck={false}
                onInput={(event) => setId(event.currentTarget.value)}
              />
              <datalist id="suggested">
                {SUGGESTED.map((one) => (
                  <option key={one} value={one} />
                ))}
              </datalist>
            </label>
            <p class="hint">
              Loaded from huggingface.co, and kept in this browser. Llama, SmolLM, Mistral, Qwen, Gemma and
              Phi-3.
            </p>
          </>
        )}
        {kind === 'folder' && (
          <>
            <label class="field">
              <span>Folder with config.json, tokenizer.json and safetensors</span>
              <input
                type="file"
                multiple
                {...{ webkitdirectory: true }}
                onChange={(event) => setFolder(folderOf(event.currentTarget.files))}
              />
            </label>
            <p class="hint">Nothing is sent anywhere. It is copied into this browser’s storage.</p>
          </>
        )}
        <div class="pair">
          <label class="field">
            <span>Weights</span>
            <select
              value={format}
              onChange={(event) => setFormat(event.currentTarget.value as WeightFormat | 'stored')}
            >
              {FORMATS.map(({ format: value, label }) => (
                <option key={value} value={value}>
                  {label}
                </option>
              ))}
            </select>
          </label>
          <label class="field">
            <span>Memory it may take</span>
            <select value={budgetGb} onChange={(event) => setBudget(Number(event.currentTarget.value))}>
              {BUDGETS_GB.map((gb) => (
                <option key={gb} value={gb}>
                  {gb} GB
                </option>
              ))}
            </select>
          </label>
        </div>
        <p class={report?.fits === false ? 'error' : 'hint'} role="status" id="fit">
          {report?.sentence ?? 'Browsers do not say how much memory the GPU has: allow what yours can spare.'}
        </p>
        <div class="buttons">
          <button type="submit" class="primary" disabled={!next}>
            Load
          </button>
          <button type="button" disabled={!next} onClick={() => next && chat.measure(next)}>
            Does it fit?
          </button>
          <button type="button" onClick={close}>
            Close
          </button>
        </div>
      </form>
      {kept.length > 0 && (
        <section aria-labelledby="kept-title">
          <h3 id="kept-title">Kept in this browser</h3>
          <ul class="kept">
            {kept.map((model) => (
              <li key={model.name}>
                <span>
                  {model.name} <span class="hint">{formatBytes(model.bytes)}</span>
                </span>
                <button
                  type="button"
                  aria-label={`Load ${model.name}`}
                  onClick={() =>
                    load({
                      source: model.source,
                      weights: format === 'stored' ? undefined : format,
                      budgetBytes: budgetGb * 1e9,
                    })
                  }
                >
                  Load
                </button>
                <button
                  type="button"
                  class="quiet"
                  aria-label={`Delete ${model.name}`}
                  onClick={() => chat.forgetKept(model.name)}
                >
                  Delete
                </button>
              </li>
            ))}
          </ul>
          {freeBytes !== undefined && <p class="hint">Room for {formatBytes(freeBytes)} more.</p>}
        </section>
      )}
    </dialog>
  );
}

function folderOf(files: FileList | null): Extract<ModelSource, { kind: 'folder' }> | undefined {
  if (!files || files.length === 0) return undefined;
  // Only what lies in the folder itself; its path begins with the folder's name.
  const own = [...files].filter((file) => file.webkitRelativePath.split('/').length <= 2);
  const name = files[0]!.webkitRelativePath.split('/')[0] || 'the folder';
  return { kind: 'folder', name, files: own };
}

/** The worker's copy of a choice is another object. */
function isSame(one: ModelChoice, other: ModelChoice): boolean {
  const key = ({ source, weights, budgetBytes }: ModelChoice): string =>
    JSON.stringify([
      source.kind,
      source.kind === 'hub' ? source.id : source.kind === 'folder' ? source.name : '',
      weights,
      budgetBytes,
    ]);
  return key(one) === key(other);
}
