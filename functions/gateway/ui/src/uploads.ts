// Files on their way to the server, a few at a time.
import { api } from './api';
import { type Wanted, query, unfit, wrong } from './recipe';
import { show } from './jobs';
import type { Capabilities } from './shapes';
import { Store } from './store';

const AT_ONCE = 3;
const TOLD_MAX = 50;

export interface Upload {
  n: number;
  name: string;
  state: 'waits' | 'goes' | 'there' | 'failed';
  job?: string;
  why?: string;
}

export const uploads = new Store<Upload[]>([]);
export const able = new Store<Capabilities | null>(null);
export const wanted = new Store<Wanted>({});
const waiting: { n: number; file: File; said: URLSearchParams }[] = [];
let running = 0;
let counted = 0;

function tell(n: number, change: Partial<Upload>): void {
  uploads.set(uploads.get().map((one) => (one.n === n ? { ...one, ...change } : one)));
}

async function turn(): Promise<void> {
  if (running >= AT_ONCE) return;
  const next = waiting.shift();
  if (!next) return;
  running += 1;
  const { n, file, said } = next;
  tell(n, { state: 'goes' });
  try {
    const headers = { 'Content-Type': 'application/octet-stream' };
    const path = `/api/jobs?${said}`;
    const { id } = await api<{ id: string }>(path, { method: 'POST', headers, body: file });
    tell(n, { state: 'there', job: id });
    await show(id).catch(() => {});
  } catch (error) {
    tell(n, { state: 'failed', why: (error as Error).message });
  }
  running -= 1;
  turn();
}

export function send(files: Iterable<File>): void {
  const recipe = wanted.get();
  const can = able.get();
  if (!can) return;
  const nonsense = wrong(recipe, can);
  for (const file of files) {
    counted += 1;
    const why = nonsense ?? unfit(file, can);
    const name = file.name || 'pasted picture';
    const one: Upload = { n: counted, name, state: why ? 'failed' : 'waits', why: why ?? undefined };
    uploads.set([one, ...uploads.get()].slice(0, TOLD_MAX));
    if (!why) waiting.push({ n: counted, file, said: query(recipe, can, file.name) });
  }
  for (let n = 0; n < AT_ONCE; n += 1) turn();
}
