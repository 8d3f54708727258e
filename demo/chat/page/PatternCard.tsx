import { useEffect, useState } from 'preact/hooks';
import type { Pattern, PatternChoice } from '../protocol.js';
import { letterOf, runningAnswer, type Conversation } from './conversations.js';
import type { PatternCell } from './drawPattern.js';
import type { LiveCardProps } from './LivePanel.js';
import { PatternMap } from './PatternMap.js';

/** What the tokens of a conversation look at, in a layer and head. */
export function PatternCard({ chat, state }: LiveCardProps) {
  const { shown, status, mode, pattern: reply } = state;
  const [isOpen, setOpen] = useState(false);
  const [wanted, setWanted] = useState<Partial<PatternChoice>>({});
  const [cell, setCell] = useState<PatternCell | undefined>(undefined);
  const conversations = state.conversations.filter(({ turns }) => turns.length > 0);
  const find = (id: string | undefined): Conversation | undefined =>
    conversations.find((conversation) => conversation.id === id);
  // Unless another one was chosen: the one that was opened last.
  const conversation = find(wanted.conversation) ?? find(shown.findLast(find));
  const model = status.kind === 'ready' ? status.model : undefined;
  const choice: PatternChoice | undefined = model &&
    conversation && {
      conversation: conversation.id,
      layer: Math.min(wanted.layer ?? 0, model.nLayers - 1),
      head: Math.min(wanted.head ?? 0, model.nHeads - 1),
    };
  const isNaive = mode.attention === 'naive';
  // When an answer ends, its tokens are looked at, too.
  const isAnswering = conversation !== undefined && runningAnswer(conversation) !== undefined;
  const key =
    isOpen && choice && !isNaive && !isAnswering
      ? JSON.stringify([choice, conversation?.turns.at(-1)?.id])
      : undefined;
  useEffect(() => {
    if (choice && key !== undefined) chat.readPattern(choice);
  }, [key]);
  const ofThis = reply && reply.choice.conversation === choice?.conversation ? reply : undefined;
  const isStale = ofThis?.choice.layer !== choice?.layer || ofThis?.choice.head !== choice?.head;
  const waiting = !conversation
    ? 'Ask something to see it.'
    : isAnswering || !model
      ? 'It is computed when the answer is complete.'
      : 'Computing it.';
  return (
    <section class="card" aria-labelledby="pattern-title">
      <h2 id="pattern-title">What tokens look at</h2>
      {isNaive ? (
        <p class="hint">Naive attention does not tell it. Choose pageflash above.</p>
      ) : !isOpen ? (
        <>
          <p class="hint">The attention of a layer and head, from each token of a conversation to each.</p>
          <div class="buttons">
            <button type="button" disabled={!choice} onClick={() => setOpen(true)}>
              Show the pattern
            </button>
          </div>
        </>
      ) : (
        <>
          <div class="choices">
            <Choice
              name="Conversation"
              value={conversation?.id}
              options={conversations.map((one) => ({ value: one.id, text: letterOf(one) }))}
              onChoose={(id) => setWanted({ ...wanted, conversation: id })}
            />
            <Choice
              name="Layer"
              value={String(choice?.layer ?? 0)}
              options={numbers(model?.nLayers)}
              onChoose={(layer) => setWanted({ ...wanted, layer: Number(layer) })}
            />
            <Choice
              name="Head"
              value={String(choice?.head ?? 0)}
              options={numbers(model?.nHeads)}
              onChoose={(head) => setWanted({ ...wanted, head: Number(head) })}
            />
          </div>
          {ofThis?.pattern && (
            <PatternView pattern={ofThis.pattern} isStale={isStale} cell={cell} onChoose={setCell} />
          )}
          {ofThis?.problem !== undefined && <p class="error">{ofThis.problem}</p>}
          {ofThis === undefined && <p class="hint">{waiting}</p>}
          <div class="buttons">
            <button type="button" disabled={!choice} onClick={() => choice && chat.readPattern(choice)}>
              Compute it now
            </button>
            <button type="button" onClick={() => setOpen(false)}>
              Hide the pattern
            </button>
          </div>
        </>
      )}
    </section>
  );
}

interface PatternViewProps {
  readonly pattern: Pattern;
  readonly isStale: boolean;
  readonly cell: PatternCell | undefined;
  readonly onChoose: (cell: PatternCell | undefined) => void;
}

function PatternView({ pattern, isStale, cell, onChoose }: PatternViewProps) {
  const nTokens = pattern.tokens.length;
  const nRows = pattern.weights.length / nTokens;
  const chosen = cell && cell.row < nRows && cell.column < nTokens ? cell : undefined;
  const about = chosen && describePair(pattern, chosen);
  const rows = nRows === nTokens ? `${nTokens} tokens` : `the last ${nRows} of ${nTokens} tokens`;
  return (
    <>
      <PatternMap
        pattern={pattern}
        chosen={chosen}
        description={about}
        isStale={isStale}
        onChoose={onChoose}
      />
      <p class="pattern-text hint">
        {about ??
          `A row for each of ${rows}, a column for each token that it may look at. Point at a pair, or go through them with the arrow keys.`}
      </p>
    </>
  );
}

interface ChoiceProps {
  readonly name: string;
  readonly value: string | undefined;
  readonly options: readonly { readonly value: string; readonly text: string }[];
  readonly onChoose: (value: string) => void;
}

function Choice({ name, value, options, onChoose }: ChoiceProps) {
  return (
    <label class="field">
      <span>{name}</span>
      <select value={value} onChange={(event) => onChoose(event.currentTarget.value)}>
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.text}
          </option>
        ))}
      </select>
    </label>
  );
}

function numbers(n = 0): ChoiceProps['options'] {
  return Array.from({ length: n }, (_, i) => ({ value: String(i), text: String(i) }));
}

/** `Token 12, “cache”, looks at token 3, “KV”: 23 %. Most at …` */
function describePair({ tokens, weights, firstRow }: Pattern, { row, column }: PatternCell): string {
  const position = firstRow + row;
  const nameOf = (token: number): string => `token ${token}, “${tokens[token]!.replaceAll('\n', '⏎')}”`;
  const looking = `T${nameOf(position).slice(1)},`;
  if (column > position) return `${looking} does not see ${nameOf(column)}, which comes later.`;
  const seen = weights.subarray(row * tokens.length, row * tokens.length + position + 1);
  const most = seen.reduce((best, weight, i) => (weight > seen[best]! ? i : best), 0);
  const pair = `${looking} looks at ${nameOf(column)}: ${percent(seen[column]!)}.`;
  return most === column
    ? `${pair} That is its most.`
    : `${pair} Most at ${nameOf(most)}: ${percent(seen[most]!)}.`;
}

function percent(share: number): string {
  return share < 0.01 ? 'below 1 %' : `${Math.round(100 * share)} %`;
}
