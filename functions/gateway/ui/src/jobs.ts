// All jobs that this page knows: filled page by page from the list, kept up to date by events.
import { Refused, api, call } from './api';
import { begin, fold, hasEnded } from './fold';
import type { JobEvent, JobLine, Page, State } from './shapes';
import { messages } from './sse';
import { Store } from './store';

const PAGE = 200;
const AGAIN_MS_MIN = 500;
const AGAIN_MS_MAX = 15_000;
/** A browser has six connections to a server, for all its tabs: one that nobody sees gives its own back. */
const UNSEEN_MS_MAX = 60_000;

export interface Known {
  rows: Map<string, JobLine>;
  /** Newest first. */
  order: string[];
  next: string | null;
  isLoading: boolean;
  isFilled: boolean;
  filter: State | '';
}

const nothing = (filter: State | ''): Known => ({
  rows: new Map(),
  order: [],
  next: null,
  isLoading: false,
  isFilled: false,
  filter,
});

export const jobs = new Store<Known>(nothing(''));
export const link = new Store<{ state: 'connecting' | 'live' | 'lost' | 'locked'; why: string }>({
  state: 'connecting',
  why: '',
});
const listeners = new Set<(event: JobEvent) => void>();

/** Tells each event as it comes. */
export function hear(act: (event: JobEvent) => void): () => void {
  listeners.add(act);
  return () => listeners.delete(act);
}

const before = (a: JobLine, b: JobLine) => b.seen_at_ms - a.seen_at_ms || (a.id < b.id ? 1 : -1);
const fits = (line: JobLine, filter: State | '') => filter === '' || line.state === filter;

function merge(known: Known, lines: JobLine[]): Known {
  const rows = new Map(known.rows);
  let order = known.order;
  let isNew = false;
  for (const line of lines) {
    const was = rows.get(line.id);
    // An event that came meanwhile is newer than the answer.
    const isOlder =
      was && (was.life > line.life || (was.life === line.life && hasEnded(was) && !hasEnded(line)));
    if (isOlder) continue;
    rows.set(
      line.id,
      was && was.life === line.life && was.fraction > line.fraction ? { ...was, eta: line.eta } : line,
    );
    isNew ||= !was || !fits(was, known.filter);
  }
  const left = order.filter((id) => fits(rows.get(id)!, known.filter));
  if (isNew || left.length !== order.length) {
    order = [...rows.values()]
      .filter((line) => fits(line, known.filter))
      .sort(before)
      .map((line) => line.id);
  }
  return { ...known, rows, order };
}

async function page(filter: State | '', cursor: string | null, limit = PAGE): Promise<Page> {
  const asked = new URLSearchParams({ limit: String(limit) });
  if (cursor) asked.set('cursor', cursor);
  if (filter) asked.set('state', filter);
  return api<Page>(`/api/jobs?${asked}`);
}

export async function more(): Promise<void> {
  const known = jobs.get();
  if (known.isLoading || (known.isFilled && !known.next)) return;
  jobs.set({ ...known, isLoading: true });
  try {
    const got = await page(known.filter, known.next);
    const now = jobs.get();
    if (now.filter !== known.filter) return;
    jobs.set({ ...merge(now, got.jobs), next: got.next ?? null, isLoading: false, isFilled: true });
  } catch (error) {
    jobs.set({ ...jobs.get(), isLoading: false });
    throw error;
  }
}

/** Forgets all and asks again. */
export async function fill(filter = jobs.get().filter): Promise<void> {
  jobs.set(nothing(filter));
  await more();
}

export async function show(id: string): Promise<void> {
  const line = await api<JobLine>(`/api/jobs/${id}`);
  jobs.set(merge(jobs.get(), [line]));
}

/** What only the list tells of jobs on their way: how long they will take. */
export async function outlook(): Promise<void> {
  const known = jobs.get();
  const isOpen = known.order.slice(0, PAGE).some((id) => !hasEnded(known.rows.get(id)!));
  if (document.hidden || !known.isFilled || known.isLoading || !isOpen) return;
  const got = await page(known.filter, null, 50);
  if (jobs.get().filter === known.filter) jobs.set(merge(jobs.get(), got.jobs));
}

function take(event: JobEvent): void {
  listeners.forEach((listener) => listener(event));
  const known = jobs.get();
  const was = known.rows.get(event.job);
  if (!was && event.kind !== 'accepted') {
    // A job from before the pages that were read: it is begun again, or ends.
    show(event.job).catch(() => {});
    return;
  }
  const now = fold(was ?? begin(event), event);
  if (now === was) return;
  if (was && fits(was, known.filter) && fits(now, known.filter)) {
    // The usual case costs nothing that grows with the list.
    known.rows.set(event.job, now);
    jobs.set({ ...known });
  } else {
    known.rows.set(event.job, now);
    const order = [
      ...known.order.filter((id) => id !== event.job),
      ...(fits(now, known.filter) ? [event.job] : []),
    ];
    order.sort((a, b) => before(known.rows.get(a)!, known.rows.get(b)!));
    jobs.set({ ...known, order });
  }
}

/** Until somebody sees this tab. */
function seen(): Promise<void> {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    document.addEventListener('visibilitychange', () => resolve(), { once: true });
  });
}

/** Ends once this tab was hidden for long. */
function untilUnseen(): { signal: AbortSignal; forget: () => void } {
  const end = new AbortController();
  let timer = 0;
  const change = () => {
    clearTimeout(timer);
    if (document.hidden) timer = window.setTimeout(() => end.abort(), UNSEEN_MS_MAX);
  };
  document.addEventListener('visibilitychange', change);
  change();
  const forget = () => {
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', change);
  };
  return { signal: end.signal, forget };
}

/** Follows everything until this tab is locked; begins again where it was cut off. */
export async function follow(): Promise<void> {
  let last: string | undefined;
  let pause = AGAIN_MS_MIN;
  for (;;) {
    await seen();
    const { signal, forget } = untilUnseen();
    try {
      const headers: HeadersInit = last === undefined ? {} : { 'Last-Event-ID': last };
      const response = await call('/api/events', { headers, signal });
      if (!jobs.get().isFilled) await fill();
      link.set({ state: 'live', why: '' });
      for await (const { id, kind, data } of messages(response)) {
        pause = AGAIN_MS_MIN;
        if (id !== undefined) last = id;
        if (kind === 'reload') await fill();
        else if (data) take(JSON.parse(data) as JobEvent);
      }
      link.set({ state: 'lost', why: 'the server closed the stream' });
    } catch (error) {
      if (error instanceof Refused && error.status === 401) return;
      link.set({ state: 'lost', why: (error as Error).message });
    } finally {
      forget();
    }
    await new Promise((resolve) => {
      setTimeout(resolve, pause);
    });
    pause = Math.min(pause * 2, AGAIN_MS_MAX);
  }
}
