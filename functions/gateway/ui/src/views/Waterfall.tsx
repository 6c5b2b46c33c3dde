// Where a job's time went: its phases on one axis.
import { duration } from '../format';
import type { PipelineProfile, StageTiming } from '../shapes';
import { type Bar, type Row, ofProfile, ofTimings, ticks } from '../waterfall';

const KINDS = [
  ['wait', 'waiting'],
  ['move', 'fetch, store, commit'],
  ['load', 'load'],
  ['compute', 'compute'],
  ['lost', 'unaccounted'],
] as const;

const ms = (us: number) => duration(us / 1000);
const told = (bars: Bar[]) =>
  bars
    .filter((bar) => bar.us > 0)
    .map((bar) => `${bar.name} ${ms(bar.us)}`)
    .join(', ');

function Lane({ bars, us, thin }: { bars: Bar[]; us: number; thin?: boolean }) {
  return (
    <span class={`lane${thin ? ' thin' : ''}`} aria-hidden="true">
      {bars
        .filter((bar) => bar.us > 0)
        .map((bar, n) => (
          <i
            key={n}
            class={bar.kind}
            title={`${bar.name} · ${ms(bar.us)}`}
            style={{ left: `${(bar.begins_us / us) * 100}%`, width: `${(bar.us / us) * 100}%` }}
          />
        ))}
    </span>
  );
}

function Line({ row, us }: { row: Row; us: number }) {
  return (
    <li>
      <span class="name">{row.name}</span>
      <span class="lanes">
        <Lane bars={row.bars} us={us} />
        {row.spans.length > 0 && <Lane bars={row.spans} us={us} thin />}
        <span class="read">{told(row.bars)}</span>
      </span>
      <span class="time">{ms(row.us)}</span>
    </li>
  );
}

export function Waterfall({ profile, timings }: { profile: PipelineProfile | null; timings: StageTiming[] }) {
  if (!profile?.stages.length && timings.length === 0) return null;
  const { us, rows, complete } = profile?.stages.length ? ofProfile(profile) : ofTimings(timings);
  if (us <= 0) return null;
  // The last ones have no room for their words.
  const marks = ticks(us).filter((at) => at <= us * 0.88);
  const kinds = new Set(rows.flatMap((row) => row.bars.filter((bar) => bar.us > 0).map((bar) => bar.kind)));
  return (
    <section class="panel" aria-labelledby="waterfall-title">
      <h2 id="waterfall-title">
        Where the time went <span class="count">{ms(us)}</span>
      </h2>
      <ol class="waterfall">
        {rows.map((row, n) => (
          <Line key={n} row={row} us={us} />
        ))}
      </ol>
      <div class="axis" aria-hidden="true">
        <span class="lanes">
          {marks.map((at) => (
            <i key={at} style={{ left: `${(at / us) * 100}%` }}>
              {ms(at)}
            </i>
          ))}
        </span>
      </div>
      <ul class="legend">
        {KINDS.filter(([kind]) => kinds.has(kind)).map(([kind, name]) => (
          <li key={kind}>
            <i class={kind} />
            {name}
          </li>
        ))}
      </ul>
      {!complete && <p class="quiet small">Not all of it is there yet, or any more.</p>}
    </section>
  );
}
