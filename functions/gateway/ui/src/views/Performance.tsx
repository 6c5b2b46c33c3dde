// What bounds the throughput, what would change it, and what to try.
import { useState } from 'preact/hooks';
import { apiIfThere } from '../api';
import { duration, rate } from '../format';
import type { Bottlenecks, Limit, Recommendation } from '../shapes';
import { usePolled } from '../store';

const EVERY_MS = 5_000;
const WINDOWS: [number, string][] = [
  [900, '15 min'],
  [3600, '1 h'],
  [86_400, '24 h'],
];

function Capacity({ limit }: { limit: Limit }) {
  const most = Math.max(...limit.stages.map((one) => one.items_per_hour), 1);
  const bounds = (stage: string) => stage === limit.stage || limit.together_with.some((one) => one === stage);
  return (
    <ol class="capacity">
      {limit.stages.map((one) => (
        <li key={one.stage} class={bounds(one.stage) ? 'bounds' : ''}>
          <span class="name">{one.stage}</span>
          <span class="meter" aria-hidden="true">
            <i style={{ width: `${(one.items_per_hour / most) * 100}%` }} />
          </span>
          <span class="much">
            {one.at_least ? '≥ ' : ''}
            {rate(one.items_per_hour)} <small>jobs/h</small>
          </span>
          <span class="quiet">
            {one.lanes} {one.lanes === 1 ? 'lane' : 'lanes'}, {one.busy_percent.toFixed(0)} % busy, batches of{' '}
            {one.batch_items.toFixed(1)}, waits {duration(one.waited_ms)}
          </span>
        </li>
      ))}
    </ol>
  );
}

function Predictions({ limit }: { limit: Limit }) {
  if (limit.predictions.length === 0) return null;
  const most = Math.max(...limit.predictions.map((one) => one.gain_percent), 1);
  return (
    <section class="panel" aria-labelledby="predictions-title">
      <h2 id="predictions-title">What would change it</h2>
      <ol class="gains">
        {limit.predictions.map((one, n) => (
          <li key={n}>
            <span class="gain">
              <b>
                {one.gain_percent >= 0 ? '+' : ''}
                {one.gain_percent.toFixed(0)} %
              </b>
              <span class="meter" aria-hidden="true">
                <i style={{ width: `${(Math.max(one.gain_percent, 0) / most) * 100}%` }} />
              </span>
            </span>
            <p>{one.text}</p>
          </li>
        ))}
      </ol>
    </section>
  );
}

function Shares({ found }: { found: Bottlenecks }) {
  if (found.bottlenecks.length === 0) return null;
  return (
    <section class="panel" aria-labelledby="shares-title">
      <h2 id="shares-title">Where the time goes</h2>
      <ol class="findings">
        {found.bottlenecks.map((one) => (
          <li key={one.stage}>
            <span class={`chip ${one.severity}`}>{one.severity}</span>
            <p>{one.evidence}</p>
          </li>
        ))}
      </ol>
    </section>
  );
}

function Advice({ all }: { all: Recommendation[] }) {
  if (all.length === 0) return null;
  return (
    <section class="panel" aria-labelledby="advice-title">
      <h2 id="advice-title">What to try</h2>
      <ol class="findings">
        {all.map((one, n) => (
          <li key={n}>
            <span class="gain">
              <b>≤ {one.saves_at_most_percent.toFixed(0)} %</b>
            </span>
            <p>
              <b>
                {one.stage}: {one.lever}
              </b>{' '}
              {one.text}
              {one.setting && <code>{one.setting}</code>}
            </p>
          </li>
        ))}
      </ol>
    </section>
  );
}

export function Performance() {
  const [span, setSpan] = useState(3600);
  const {
    value: found,
    error,
    isAsked,
  } = usePolled<Bottlenecks>(
    (signal) => apiIfThere<Bottlenecks>(`/api/performance/bottlenecks?window_s=${span}`, signal),
    EVERY_MS,
    [span],
  );
  const { value: advice } = usePolled<{ recommendations: Recommendation[] }>(
    (signal) =>
      apiIfThere<{ recommendations: Recommendation[] }>(
        `/api/performance/recommendations?window_s=${span}`,
        signal,
      ),
    EVERY_MS * 3,
    [span],
  );
  const limit = found?.limit;
  return (
    <div class="view">
      <div class="head">
        <h1>Performance</h1>
        <div class="filters" role="group" aria-label="Window">
          {WINDOWS.map(([seconds, name]) => (
            <button
              key={seconds}
              type="button"
              aria-pressed={seconds === span}
              onClick={() => setSpan(seconds)}
            >
              {name}
            </button>
          ))}
        </div>
      </div>
      {error && (
        <p class="banner bad" role="alert">
          {error}
        </p>
      )}
      {isAsked && !found && !error && <p class="empty">This server does not tell of its performance.</p>}
      {found && !limit && (
        <p class="empty">Nothing was measured in this window. Make a model, and look again.</p>
      )}
      {limit && (
        <section class="panel limit" aria-labelledby="limit-title">
          <h2 id="limit-title">{limit.saturated ? 'The limit' : 'The limit, once there is enough to do'}</h2>
          <p class="headline">
            <b>{limit.stage}</b>
            <span>
              {rate(limit.jobs_per_hour)} <small>jobs/h at most</small>
            </span>
            <span>
              {rate(limit.observed_per_hour)} <small>jobs/h seen</small>
            </span>
          </p>
          <p>{limit.text}</p>
          <Capacity limit={limit} />
        </section>
      )}
      {limit && <Predictions limit={limit} />}
      <div class="halves">
        {found && <Shares found={found} />}
        {advice && <Advice all={advice.recommendations} />}
      </div>
    </div>
  );
}
