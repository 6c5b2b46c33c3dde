// What the dashboard computes, without a browser.
import { describe, expect, it } from 'vitest';
import { begin, fold, hasEnded } from './fold';
import { ago, bytes, duration, left, nameOf, rate } from './format';
import { KEPT_MS, type Seen, remember, shares } from './history';
import { fitsEngine, fitsFormats, label, query, say, unfit, usual, value, wrong } from './recipe';
import type { Capabilities, Device, JobEvent, PipelineProfile, RecipeOption } from './shapes';
import { Parser } from './sse';
import { visible } from './virtual';
import { ofProfile, ofTimings, ticks } from './waterfall';

const event = (kind: JobEvent['kind'], more: Partial<JobEvent> = {}): JobEvent => ({
  job: 'a',
  life: 0,
  at: 1,
  kind,
  ...more,
});
const after = (...events: JobEvent[]) => events.slice(1).reduce(fold, begin(events[0]!));

describe('format', () => {
  it('bytes', () => {
    const cases: [number, string][] = [
      [0, '0 B'],
      [999, '999 B'],
      [1000, '1.0 kB'],
      [88_280, '88.3 kB'],
      [999_600, '1.0 MB'],
      [25e6, '25.0 MB'],
      [150e6, '150 MB'],
      [3e15, '3000 TB'],
    ];
    for (const [count, text] of cases) expect(bytes(count)).toBe(text);
  });
  it('durations never read sixty seconds', () => {
    const cases: [number, string][] = [
      [0, '0 ms'],
      [0.5, '0.5 ms'],
      [850, '850 ms'],
      [999.6, '1.0 s'],
      [59_940, '59.9 s'],
      [59_960, '1 min 00 s'],
      [125_000, '2 min 05 s'],
      [4_800_000, '1 h 20 min'],
    ];
    for (const [ms, text] of cases) expect(duration(ms)).toBe(text);
  });
  it('a server whose clock is ahead says just now', () => {
    expect(ago(5_000, 0)).toBe('just now');
    expect(ago(0, 61_000)).toBe('1 min ago');
    expect([left(400), left(57_200), left(90_000)]).toEqual(['1 s left', '57 s left', '1 min 30 s left']);
    expect(rate(1234.5)).toBe('1,235');
    expect([nameOf('web/x/größe.png', 'i'), nameOf(null, '0123456789abcdef')]).toEqual([
      'größe.png',
      '0123456789ab',
    ]);
  });
});

describe('events', () => {
  it('messages are whole however the bytes were cut', () => {
    const text = 'id: 7\n\nevent: progress\ndata: {"a":1}\nid: 8\n\n: still here\n\ndata: x\ndata: y\r\n\r\n';
    const whole = new Parser().feed(text);
    expect(whole).toEqual([{ id: '7' }, { kind: 'progress', data: '{"a":1}', id: '8' }, { data: 'x\ny' }]);
    const parser = new Parser();
    expect([...text.replaceAll('\r', '')].flatMap((letter) => parser.feed(letter))).toEqual(whole);
  });
  it('a job goes its way, and the end tops it', () => {
    const half = after(
      event('accepted', { key: 'u/k.png' }),
      event('started', { stage: 'preprocess' }),
      event('stage_done', { stage: 'preprocess' }),
      event('progress', { stage: 'shape', fraction: 0.5, phase: 'decimate' }),
    );
    expect([half.state, half.phase, half.fraction, half.key]).toEqual([
      'running',
      'shape: decimate',
      0.375,
      'u/k.png',
    ]);
    const done = fold(half, event('finished'));
    expect([done.state, done.fraction, done.stages.every((one) => one.state === 'done')]).toEqual([
      'done',
      1,
      true,
    ]);
    expect(fold(done, event('progress', { stage: 'export', fraction: 0.1, phase: 'x' }))).toBe(done);
  });
  it('what comes late moves nothing back', () => {
    const on = after(event('accepted'), event('progress', { stage: 'shape', fraction: 0.9, phase: 'x' }));
    expect(fold(on, event('started', { stage: 'shape' })).stages[1]!.fraction).toBe(0.9);
    const next = fold(on, event('stage_done', { stage: 'shape' }));
    expect(fold(next, event('progress', { stage: 'shape', fraction: 0.2, phase: 'x' }))).toBe(next);
  });
  it('another life keeps what is done, and an older one says nothing', () => {
    const dead = after(
      event('accepted', { key: 'k' }),
      event('stage_done', { stage: 'preprocess' }),
      event('started', { stage: 'shape' }),
      event('dead', { stage: 'shape', error: 'no memory' }),
    );
    expect([dead.state, dead.reason, hasEnded(dead)]).toEqual(['dead', 'no memory', true]);
    const again = fold(dead, event('started', { stage: 'shape', life: 1 }));
    expect([again.state, again.life, again.key, again.reason]).toEqual(['running', 1, 'k', null]);
    expect(again.stages.map((one) => one.state)).toEqual(['done', 'running', 'waiting', 'waiting']);
    expect(fold(again, event('dead', { stage: 'shape', error: 'old' }))).toBe(again);
  });
});

it('of ten thousand rows only those near the screen are drawn', () => {
  expect(visible(200, 800, 64, 10_000)).toEqual({ from: 0, to: 16 });
  expect(visible(-320_000, 800, 64, 10_000)).toEqual({ from: 4994, to: 5019 });
  expect(visible(-639_500, 800, 64, 10_000)).toEqual({ from: 9986, to: 10_000 });
  expect(visible(0, 800, 64, 0)).toEqual({ from: 0, to: 0 });
});

describe('waterfall', () => {
  const profile: PipelineProfile = {
    wall_us: 1000,
    unaccounted_us: 0,
    complete: true,
    stages: [
      {
        name: 'shape',
        begins_us: 5_000,
        wall_us: 400,
        unaccounted_us: 20,
        parts: [
          { name: 'queued', us: 100 },
          { name: 'compute', us: 280 },
          { name: 'compute/a', us: 200 },
          { name: 'compute/a/b', us: 50 },
          { name: 'compute/c', us: 30 },
        ],
      },
      {
        name: 'texture',
        begins_us: 5_400,
        wall_us: 600,
        unaccounted_us: 0,
        parts: [{ name: 'fetch', us: 600 }],
      },
    ],
  };
  it('parts follow each other, spans lie in theirs, and what is lost is shown', () => {
    const { us, rows } = ofProfile(profile);
    expect(us).toBe(1000);
    expect(rows[0]!.bars.map((bar) => [bar.name, bar.kind, bar.begins_us, bar.us])).toEqual([
      ['queued', 'wait', 0, 100],
      ['compute', 'compute', 100, 280],
      ['unaccounted', 'lost', 380, 20],
    ]);
    expect(rows[0]!.spans.map((bar) => [bar.name, bar.begins_us])).toEqual([
      ['a', 100],
      ['c', 300],
    ]);
    expect(rows[1]!.begins_us).toBe(400);
  });
  it('coarse timings make the same picture', () => {
    const timing = { waited_ms: 1, fetch_ms: 2, load_ms: 3, compute_ms: 4, store_ms: 5 };
    const { us, rows } = ofTimings([
      { stage: 'preprocess', ...timing },
      { stage: 'shape', ...timing },
    ]);
    expect([us, rows[1]!.begins_us]).toEqual([30_000, 15_000]);
  });
  it('ticks are round and few', () => {
    expect(ticks(1_000_000)).toEqual([0, 200_000, 400_000, 600_000, 800_000, 1_000_000]);
    expect(ticks(0)).toEqual([0]);
    for (const us of [7, 1234, 99_999, 3.2e9]) expect(ticks(us).length).toBeLessThanOrEqual(7);
  });
});

describe('devices', () => {
  const device = (running: Device['running'], used = 50): Device => ({
    worker: 'w',
    device: 'cpu',
    device_class: 'host',
    stages: ['shape'],
    lanes: 2,
    reserved_bytes: 70,
    resident_bytes: 0,
    running,
    reading: { total_bytes: 100, used_bytes: used, own_bytes: used, free_bytes: 100 - used, read_at: 0 },
  });
  const batch = (id: string, since: number) => ({
    id,
    stage: 'shape' as const,
    jobs: ['j'],
    bytes: 1,
    since,
    until: null,
    waits: false,
  });
  it('batches that run together lie on lanes of their own, and a freed lane is used again', () => {
    let seen = new Map<string, Seen>();
    seen = remember(seen, [device([batch('a', 0), batch('b', 500)])], 1_000);
    const next = { ...batch('c', 2_500), waits: true };
    seen = remember(seen, [device([batch('b', 500), next])], 3_000);
    seen = remember(seen, [device([batch('b', 500), batch('c', 3_500)])], 5_000);
    const blocks = seen.get('w/cpu')!.blocks.map(({ id, lane, to, runs }) => [id, lane, to, runs]);
    expect(blocks).toEqual([
      ['a', 0, 1_000, false],
      ['b', 1, 5_000, true],
      ['c', 0, 5_000, true],
    ]);
  });
  it('nothing is kept for longer than it is shown', () => {
    let seen = remember(new Map(), [device([batch('a', 0)])], 0);
    for (let n = 1; n < 1_000; n += 1) seen = remember(seen, [device([])], n * 2_000);
    const { samples, blocks } = seen.get('w/cpu')!;
    expect([samples.length, blocks.length]).toEqual([KEPT_MS / 2_000, 0]);
    expect(remember(seen, [], 2_000_000 + KEPT_MS).size).toBe(0);
  });
  it('shares of the memory sum to one', () => {
    const at = (used: number, reserved: number) =>
      Object.values(shares({ at: 0, used, reserved, total: 100 }));
    expect(at(50, 70)).toEqual([0.5, expect.closeTo(0.2), expect.closeTo(0.3)]);
    expect(at(50, 20)).toEqual([0.5, 0, 0.5]);
    expect(at(120, 200)).toEqual([1, 0, 0]);
    expect(shares({ at: 0, used: 1, reserved: 1, total: 0 }).free).toBe(1);
  });
});

describe('recipe', () => {
  const option = (name: string, more: Partial<RecipeOption>): RecipeOption => ({
    name,
    what: name,
    takes: 'word',
    default: null,
    engines: ['inflate', 'relief'],
    rare: false,
    ...more,
  });
  const number = { takes: 'number', unit: 'mm', rare: true } as const;
  const relief = { engines: ['relief'], rare: true };
  const able: Capabilities = {
    engines: [],
    input_types: ['image/png'],
    upload_bytes_max: 1_000,
    matting: false,
    recipe: [
      option('engine', { words: ['inflate', 'relief'], default: 'inflate' }),
      option('formats', { takes: 'words', words: ['glb', 'stl', 'obj'], default: 'glb,stl' }),
      option('size-mm', { ...number, minimum: 1, maximum: 10_000, step: 1, default: '100', formats: ['stl'] }),
      option('mask', { words: ['alpha', 'whole'], rare: true }),
      option('curve', { ...relief, words: ['raised', 'lithophane'], default: 'raised' }),
      option('depth-mm', {
        ...number,
        ...relief,
        minimum: 0.1,
        maximum: 100,
        step: 0.001,
        default: '3',
        default_with_curve: { raised: '3', lithophane: '2.2' },
      }),
    ],
  };
  const [engine, formats, size, mask, , depth] = able.recipe as [
    RecipeOption,
    RecipeOption,
    RecipeOption,
    RecipeOption,
    RecipeOption,
    RecipeOption,
  ];
  it('what nobody touched and what has no meaning is not said', () => {
    expect(query({}, able, 'a b.png').toString()).toBe('name=a+b.png');
    const sized = say({}, size, '20');
    expect(query(sized, able, '').toString()).toBe('size-mm=20');
    expect(query(say(sized, formats, 'glb,obj'), able, '').toString()).toBe('formats=glb%2Cobj');
    const deep = say(say({}, engine, 'relief'), depth, '2.5');
    expect(query(deep, able, '').toString()).toBe('engine=relief&depth-mm=2.5');
    expect(query(say(deep, engine, 'inflate'), able, '').toString()).toBe('engine=inflate');
    expect(say(say({}, mask, 'whole'), mask, '')).toEqual({});
  });
  it('fields are named by their options and show what is done without a word', () => {
    expect([label(size), label(option('thickness-percent', {})), label(mask)]).toEqual([
      'Size, mm',
      'Thickness, %',
      'Mask',
    ]);
    expect([usual(depth, {}), usual(depth, { curve: 'lithophane' }), usual(mask, {})]).toEqual([
      '3',
      '2.2',
      '',
    ]);
    expect([value(size, {}), value(size, { 'size-mm': '7' })]).toEqual(['100', '7']);
    expect([fitsEngine(depth, {}, able), fitsEngine(depth, { engine: 'relief' }, able)]).toEqual([false, true]);
    expect([fitsFormats(size, {}, able), fitsFormats(size, { formats: 'obj' }, able)]).toEqual([true, false]);
  });
  it('nonsense is told before anything is sent', () => {
    expect(wrong({}, able)).toBeNull();
    expect(wrong({ formats: '' }, able)).toContain('at least one');
    for (const text of ['0', '10001', '1.5', 'x', ' '])
      expect(wrong({ 'size-mm': text }, able)).toContain('10,000 mm');
    expect(wrong({ formats: 'glb', 'size-mm': '0' }, able)).toBeNull();
    expect(wrong({ engine: 'relief', 'depth-mm': '2.45' }, able)).toBeNull();
    expect(wrong({ engine: 'relief', 'depth-mm': '0' }, able)).toContain('0.1 to 100 mm');
    expect(unfit({ type: 'text/plain', size: 1 }, able)).toContain('text/plain');
    expect(unfit({ type: 'image/png', size: 1_001 }, able)).toContain('larger');
    expect(unfit({ type: '', size: 1_000 }, able)).toBeNull();
  });
});
