import { useEffect, useState } from 'preact/hooks';
import { formatBytes } from '../../engine/engineError.js';
import { formatCount } from '../formatCount.js';
import type { PageCell } from '../protocol.js';
import { letterOf, type Conversation } from './conversations.js';
import type { LiveCardProps } from './LivePanel.js';
import { PageMap } from './PageMap.js';

/** The pool of pages: whose each is, what is in it, and what caching saves. */
export function PagesCard({ chat, state }: LiveCardProps) {
  const { live, conversations, status, pageText, mode } = state;
  const [chosen, setChosen] = useState<number | undefined>(undefined);
  const cells = live?.pages ?? [];
  const cell = chosen === undefined ? undefined : cells[chosen];
  const key = cell && `${chosen} ${cell.state} ${cell.conversations.join()}`;
  useEffect(() => {
    if (chosen !== undefined && key !== undefined) chat.readPage(chosen);
  }, [key, live?.nSampled]);
  const pageSize = status.kind === 'ready' ? status.model.pageSize : 16;
  const letters = new Map(conversations.map((conversation) => [conversation.id, letterOf(conversation)]));
  const about = chosen !== undefined && cell ? describeCell(chosen, cell, letters) : undefined;
  const text = about && pageText?.page === chosen ? pageText?.text : undefined;
  return (
    <section class="card" aria-labelledby="pages-title">
      <h2 id="pages-title">Pages of the cache</h2>
      {mode.attention === 'naive' ? (
        <p class="hint">
          Naive attention has no pages: each conversation has rows of its own, as long as the context.
        </p>
      ) : (
        <>
          <PageMap
            cells={cells}
            numbers={new Map(conversations.map(({ id, number }: Conversation) => [id, number]))}
            letters={letters}
            chosen={chosen}
            description={about && `${about}${text ? `: ${text}` : ''}`}
            onChoose={setChosen}
          />
          <div class="page-text">
            {cells.length === 0 ? (
              <p class="hint">They are there once the model is.</p>
            ) : about === undefined ? (
              <p class="hint">
                {formatCount(cells.length)} pages of {pageSize} tokens. Point at one, or go through them with
                the arrow keys, to read its tokens.
              </p>
            ) : (
              <>
                <p class="hint">{about}</p>
                {text !== undefined && text !== '' && <code>{text}</code>}
              </>
            )}
          </div>
          <ul class="legend">
            <li>
              <span class="swatch held" />
              held
            </li>
            <li>
              <span class="swatch shared" />
              shared
            </li>
            <li>
              <span class="swatch cached" />
              cached, paler if reused sooner
            </li>
            <li>
              <span class="swatch free" />
              free
            </li>
            <li>
              <span class="swatch evicted">×</span>
              just evicted
            </li>
          </ul>
          <dl class="facts">
            <Fact name="Found in the cache" value={live ? `${Math.round(live.hitPercent)} %` : '–'} />
            <Fact
              name="In use"
              value={live ? `${formatBytes(live.usedBytes)} of ${formatBytes(live.cacheBytes)}` : '–'}
            />
            <Fact
              name="Held, shared, cached"
              value={live ? `${live.nUsed}, ${live.nShared}, ${live.nCached}` : '–'}
            />
            {live !== undefined && live.nRestored > 0 && (
              <Fact name="Restored" value={`${formatCount(live.nRestored)} tokens`} />
            )}
            {live !== undefined && live.nLost > 0 && (
              <Fact name="Could not be restored" value={`${live.nLost}, computed anew`} />
            )}
            {live !== undefined && live.nHostUsed > 0 && (
              <Fact name="Swapped to the host" value={`${live.nHostUsed} pages`} />
            )}
          </dl>
        </>
      )}
    </section>
  );
}

function Fact({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function describeCell(page: number, cell: PageCell, letters: ReadonlyMap<string, string>): string {
  const { state, conversations, evictedAs } = cell;
  const names = conversations.map((id) => letters.get(id)).filter((name) => name !== undefined);
  const whose = names.length === 0 ? '' : ` by ${names.join(' and ')}`;
  const order = state === 'cached' ? `, reused after ${evictedAs} others` : '';
  const what = {
    held: `held${whose}`,
    shared: `shared${whose}`,
    cached: names.length === 0 ? 'cached' : `cached, found again${whose}`,
    free: 'free',
  }[state];
  return `Page ${page}: ${what}${order}`;
}
