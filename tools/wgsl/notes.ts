import type { WgslNotes } from '../../src/wgsl/kernel.js';

/**
 * What the comments of a kernel say.
 *
 * @param own the text of its file
 * @param texts those of all files that it consists of, its own included
 */
export function notesOf(own: string, texts: readonly string[]): WgslNotes {
  const header = headerOf(own);
  return {
    header,
    bindings: bindingNotes(header),
    contents: Object.fromEntries(texts.flatMap((text) => [...contents(text)])),
    fields: Object.fromEntries(texts.flatMap((text) => [...structNotes(text)])),
  };
}

/** The comment that a file begins with. */
function headerOf(text: string): string {
  const lines = text.split('\n');
  const end = lines.findIndex((line) => !line.startsWith('//'));
  return lines
    .slice(0, end)
    .map((line) => line.replace(/^\/\/ ?/, ''))
    .join('\n');
}

/** `in  name  note`, which may go on in lines that are indented further. */
function bindingNotes(header: string): Record<string, string> {
  const notes: Record<string, string> = {};
  let name: string | undefined;
  for (const line of header.split('\n')) {
    const [, found, note] = /^ {2}(?:in|out|in-out) +(\w+) +(\S.*)$/.exec(line) ?? [];
    if (found) notes[(name = found)] = tidy(note!);
    else if (name && /^ {8}/.test(line)) notes[name] += `; ${tidy(line)}`;
    else name = undefined;
  }
  return notes;
}

const BINDING = /@binding\(\d+\) var<[^>]+> (\w+): ([^;]+);(.*)$/gm;

/** The structs that bindings hold: each binding's type names one, or else the comment behind it. */
function* contents(text: string): Generator<[binding: string, struct: string]> {
  for (const [, binding, type, comment] of text.matchAll(BINDING)) {
    const struct = /^array<([A-Z]\w+)>$/.exec(type!)?.[1] ?? /\/\/ *([A-Z]\w+) \[/.exec(comment!)?.[1];
    if (struct) yield [binding!, struct];
  }
}

/** Comments behind the fields of structs. */
function* structNotes(text: string): Generator<[struct: string, notes: Record<string, string>]> {
  for (const [, struct, body] of text.matchAll(/^struct (\w+) \{\n(.*?)^\}/gms)) {
    const fields = [...body!.matchAll(/^ *(\w+): \w+, *\/\/ *(.+)$/gm)];
    yield [struct!, Object.fromEntries(fields.map(([, field, note]) => [field!, note!]))];
  }
}

function tidy(text: string): string {
  return text.trim().replace(/\s+/g, ' ');
}
