// A job's phases on one axis of time. Pure.
import type { PipelineProfile, StageProfile, StageTiming } from './shapes';

export type Kind = 'wait' | 'move' | 'load' | 'compute' | 'lost';
export interface Bar {
  name: string;
  kind: Kind;
  begins_us: number;
  us: number;
}
export interface Row {
  name: string;
  begins_us: number;
  us: number;
  bars: Bar[];
  spans: Bar[];
}
export interface Waterfall {
  us: number;
  rows: Row[];
  complete: boolean;
}

const KINDS: Record<string, Kind> = {
  queued: 'wait',
  planned: 'wait',
  fetch: 'move',
  load: 'load',
  compute: 'compute',
  store: 'move',
  commit: 'move',
};

/** A part with its time; parts of a stage follow each other. */
function row(stage: StageProfile): Row {
  const bars: Bar[] = [];
  const spans: Bar[] = [];
  let at = stage.begins_us;
  const lay = (name: string, us: number, kind: Kind) => {
    bars.push({ name, kind, begins_us: at, us });
    at += us;
  };
  for (const part of stage.parts.filter((one) => !one.name.includes('/'))) {
    const begins = at;
    lay(part.name, part.us, KINDS[part.name] ?? 'compute');
    let inner = begins;
    const prefix = `${part.name}/`;
    for (const span of stage.parts.filter((one) => one.name.startsWith(prefix))) {
      const name = span.name.slice(prefix.length);
      if (name.includes('/')) continue;
      spans.push({ name, kind: 'compute', begins_us: inner, us: span.us });
      inner += span.us;
    }
  }
  if (stage.unaccounted_us > 0) lay('unaccounted', stage.unaccounted_us, 'lost');
  return { name: stage.name, begins_us: stage.begins_us, us: stage.wall_us, bars, spans };
}

export function ofProfile(profile: PipelineProfile): Waterfall {
  const origin = Math.min(...profile.stages.map((stage) => stage.begins_us));
  const rows = profile.stages.map((stage) => row({ ...stage, begins_us: stage.begins_us - origin }));
  const end = Math.max(profile.wall_us, ...rows.map((one) => one.begins_us + one.us));
  return { us: end, rows, complete: profile.complete };
}

/** From the coarser times that every server tells: one stage after the other. */
export function ofTimings(timings: StageTiming[]): Waterfall {
  let at = 0;
  const rows = timings.map((timing) => {
    const named: [string, number][] = [
      ['queued', timing.waited_ms],
      ['fetch', timing.fetch_ms],
      ['load', timing.load_ms],
      ['compute', timing.compute_ms],
      ['store', timing.store_ms],
    ];
    const parts = named.map(([name, ms]) => ({ name, us: ms * 1000 }));
    const wall_us = parts.reduce((sum, part) => sum + part.us, 0);
    const one = row({ name: timing.stage, begins_us: at, wall_us, parts, unaccounted_us: 0 });
    at += wall_us;
    return one;
  });
  return { us: at, rows, complete: true };
}

/** Round steps for an axis: at most `most` marks. */
export function ticks(us: number, most = 6): number[] {
  if (us <= 0) return [0];
  const rough = us / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough) ?? rough;
  return Array.from({ length: Math.floor(us / step) + 1 }, (_, n) => n * step);
}
