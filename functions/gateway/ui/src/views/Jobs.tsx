// The list of jobs; of ten thousand, those rows are in the document that are seen.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { isBad } from '../fold';
import { ago, left, nameOf } from '../format';
import { fill, jobs, link, more } from '../jobs';
import { go } from '../route';
import type { JobLine, State } from '../shapes';
import { useStore } from '../store';
import { type Range, visible } from '../virtual';
import { Icon } from './Icon';
import { NewJob } from './NewJob';
import { Picture } from './Picture';
import { Stages } from './Stages';

const FILTERS: { state: State | ''; name: string }[] = [
  { state: '', name: 'All' },
  { state: 'running', name: 'Running' },
  { state: 'queued', name: 'Queued' },
  { state: 'done', name: 'Done' },
  { state: 'rejected', name: 'Rejected' },
  { state: 'dead', name: 'Dead' },
  { state: 'cancelled', name: 'Cancelled' },
];
/** Rows left below the screen when the next page is asked for. */
const AHEAD = 60;
const AGO_MS = 10_000;

function said(job: JobLine): string {
  if (isBad(job) || job.state === 'cancelled') return job.reason ?? '';
  if (job.state === 'queued' && job.queue_position) return `place ${job.queue_position}`;
  return job.state === 'running' ? (job.phase ?? '') : '';
}

function Row({
  job,
  top,
  isHere,
  n,
  of,
}: {
  job: JobLine;
  top: number;
  isHere: boolean;
  n: number;
  of: number;
}) {
  const name = nameOf(job.key, job.id);
  const eta = job.eta && ['queued', 'running'].includes(job.state) ? left(job.eta.p50_ms) : null;
  return (
    <li
      class={`row ${job.state}${isHere ? ' here' : ''}`}
      style={{ top: `${top}px` }}
      aria-setsize={of}
      aria-posinset={n + 1}
    >
      <a href={`#/jobs/${job.id}`} data-n={n} data-job={job.id}>
        <span class="thumb">
          {job.state === 'done' ? (
            <Picture url={`/api/jobs/${job.id}/artifacts/preview.png`} alt="" />
          ) : (
            <Icon name="logo" />
          )}
        </span>
        <span class="who">
          <b title={job.key ?? job.id}>{name}</b>
          <span class="quiet">{said(job) || job.id.slice(0, 8)}</span>
        </span>
        <Stages job={job} />
        <span class="when">
          <span class={`chip ${job.state}`}>{job.state}</span>
          <span class="quiet">{eta ?? ago(job.seen_at_ms, Date.now())}</span>
        </span>
      </a>
    </li>
  );
}

/** Which rows are seen, and how high one is. */
function useWindow(count: number): {
  list: preact.RefObject<HTMLUListElement | null>;
  range: Range;
  height: number;
} {
  const list = useRef<HTMLUListElement>(null);
  const [seen, setSeen] = useState({ from: 0, to: 20, height: 64 });
  useLayoutEffect(() => {
    const look = () => {
      if (!list.current) return;
      const height = parseFloat(getComputedStyle(list.current).getPropertyValue('--row')) || 64;
      const { top } = list.current.getBoundingClientRect();
      const { from, to } = visible(top, innerHeight, height, count);
      setSeen((was) =>
        was.from === from && was.to === to && was.height === height ? was : { from, to, height },
      );
    };
    look();
    window.addEventListener('scroll', look, { passive: true });
    window.addEventListener('resize', look);
    return () => {
      window.removeEventListener('scroll', look);
      window.removeEventListener('resize', look);
    };
  }, [count]);
  return { list, range: seen, height: seen.height };
}

/** The row with the focus moves by arrows or j and k. */
function useSteps(count: number, height: number, list: preact.RefObject<HTMLUListElement | null>): number {
  const [here, setHere] = useState(-1);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || target.closest('input, select, dialog')) return;
      const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
      if (event.key === 'Enter' && here >= 0 && target === document.body) {
        const id = jobs.get().order[here];
        if (id) go(`#/jobs/${id}`);
      }
      if (!step || count === 0) return;
      event.preventDefault();
      const next = Math.min(Math.max(here + step, 0), count - 1);
      setHere(next);
      const top = (list.current?.getBoundingClientRect().top ?? 0) + next * height;
      if (top < 120) window.scrollBy(0, top - 120);
      if (top + height > innerHeight - 20) window.scrollBy(0, top + height - innerHeight + 20);
      requestAnimationFrame(() =>
        list.current?.querySelector<HTMLElement>(`a[data-n="${next}"]`)?.focus({ preventScroll: true }),
      );
    };
    window.addEventListener('keydown', press);
    return () => window.removeEventListener('keydown', press);
  }, [here, count, height]);
  return here;
}

export function Jobs() {
  const known = useStore(jobs);
  const { state } = useStore(link);
  const { order, rows, filter } = known;
  const { list, range, height } = useWindow(order.length);
  const here = useSteps(order.length, height, list);
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), AGO_MS);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => {
    if (known.isFilled && known.next && !known.isLoading && range.to + AHEAD > order.length)
      more().catch(() => {});
  }, [range.to, known]);
  const count = `${order.length.toLocaleString('en')}${known.next ? '+' : ''}`;
  return (
    <div class="columns">
      <section class="list" aria-labelledby="jobs-title">
        <div class="head">
          <h1 id="jobs-title">
            Jobs <span class="count">{count}</span>
          </h1>
          <div class="filters" role="group" aria-label="Show">
            {FILTERS.map((one) => (
              <button
                key={one.state}
                type="button"
                aria-pressed={one.state === filter}
                onClick={() => fill(one.state).catch(() => {})}
              >
                {one.name}
              </button>
            ))}
          </div>
        </div>
        {order.length > 0 && (
          <ul ref={list} class="rows" style={{ height: `${order.length * height}px` }} aria-label="jobs">
            {order.slice(range.from, range.to).map((id, at) => {
              const n = range.from + at;
              return (
                <Row
                  key={id}
                  job={rows.get(id)!}
                  top={n * height}
                  isHere={n === here}
                  n={n}
                  of={order.length}
                />
              );
            })}
          </ul>
        )}
        {order.length === 0 && (
          <p class="empty">
            {!known.isFilled && state !== 'lost'
              ? 'Loading …'
              : filter
                ? `No job is ${filter}.`
                : 'No jobs yet. Drop a picture to begin.'}
          </p>
        )}
      </section>
      <aside>
        <NewJob />
      </aside>
    </div>
  );
}
