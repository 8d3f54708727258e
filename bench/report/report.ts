import { adapterName } from '../adapterName.js';
import { isMeasured, type BenchResults } from '../results.js';
import { about } from './about.js';
import { escape } from './escape.js';
import { kindSections } from './kindSections.js';
import { recordingSection } from './recordingSection.js';
import { STYLE } from './style.js';
import { tiles } from './tiles.js';

/** The results as a page of HTML that needs nothing else. */
export function report(results: BenchResults): string {
  const { adapter, environment, date, rows, options, recording } = results;
  const subtitle = `${adapterName(adapter)} · ${environment} · ${options.dtype} · ${date.slice(0, 10)}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<title>pageflash against naive attention · ${escape(adapterName(adapter))}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>pageflash against naive attention</h1>
<p class="subtitle soft">${escape(subtitle)}</p>
${failures(results)}
<div class="tiles">${tiles(rows.filter(isMeasured), recording)}</div>
${kindSections('prefill', rows)}
${kindSections('decode', rows)}
${recordingSection(recording)}
${about(results)}
</main>
</body>
</html>
`;
}

function failures({ rows }: BenchResults): string {
  const failed = rows.filter((row) => !isMeasured(row)).length;
  if (failed === 0) return '';
  return `<p class="failed">${failed} of ${rows.length} rows failed; the table says why.</p>`;
}
