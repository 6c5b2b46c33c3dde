// Devices: memory over the last minutes, and batches as blocks on the same axis.
import { useEffect } from 'preact/hooks';
import { apiIfThere } from '../api';
import { bytes, duration } from '../format';
import { KEPT_MS, type Seen, remember, shares } from '../history';
import type { Device, DeviceList, Stage, StageQueue } from '../shapes';
import { Store, usePolled, useStore } from '../store';

const EVERY_MS = 2_000;
/** Kept while other views are shown. */
const seen = new Store<Map<string, Seen>>(new Map());

const at = (time: number, now: number) => ((time - (now - KEPT_MS)) / KEPT_MS) * 100;
const percent = (share: number) => `${share * 100}%`;

function Memory({ one, now }: { one: Seen; now: number }) {
  return (
    <svg class="memory" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
      {one.samples.map((sample, n) => {
        const { used, reserved } = shares(sample);
        // From the sample before it, unless nobody looked for a while.
        const since = Math.max(one.samples[n - 1]?.at ?? 0, sample.at - 3 * EVERY_MS);
        const x = at(since, now);
        const width = at(sample.at, now) - x + 0.05;
        return (
          <g key={sample.at}>
            <rect class="used" x={x} width={width} y={100 - used * 100} height={used * 100} />
            <rect
              class="reserved"
              x={x}
              width={width}
              y={100 - (used + reserved) * 100}
              height={reserved * 100}
            />
          </g>
        );
      })}
    </svg>
  );
}

function Blocks({ one, now }: { one: Seen; now: number }) {
  const lanes = Math.max(one.device.lanes, 1, ...one.blocks.map((block) => block.lane + 1));
  return (
    <div class="blocks" style={{ height: `${lanes * 18}px` }} aria-hidden="true">
      {one.blocks.map((block) => {
        const left = Math.max(at(block.from, now), 0);
        const right = Math.min(at(block.runs ? now : block.to, now), 100);
        return (
          <i
            key={block.id}
            class={`stage-${block.stage}${block.runs ? ' runs' : ''}`}
            title={`${block.stage}, ${block.jobs} jobs, ${bytes(block.bytes)}, ${duration(block.to - block.from)}`}
            style={{
              left: `${left}%`,
              width: `${Math.max(right - left, 0.3)}%`,
              top: `${block.lane * 18}px`,
            }}
          />
        );
      })}
    </div>
  );
}

function Running({ device, now }: { device: Device; now: number }) {
  if (device.running.length === 0) return <p class="quiet small">Nothing runs.</p>;
  return (
    <ul class="batches">
      {device.running.map((batch) => (
        <li key={batch.id}>
          <i class={`stage-${batch.stage}`} />
          <b>{batch.stage}</b>
          <span>
            {batch.jobs.length} {batch.jobs.length === 1 ? 'job' : 'jobs'}, {bytes(batch.bytes)}
          </span>
          <span class="quiet">
            since {duration(Math.max(0, now - batch.since))}
            {batch.until !== null && batch.until > now ? `, about ${duration(batch.until - now)} left` : ''}
          </span>
        </li>
      ))}
    </ul>
  );
}

/** Why a device is not used, and what slows it down; nothing of one that is well. */
function Health({ device, now }: { device: Device; now: number }) {
  const { health, activity } = device;
  const throttled = activity?.throttled ?? [];
  return (
    <>
      {health && health.state !== 'healthy' && (
        <p class="banner bad" role="status">
          <b>{health.state}</b> for {duration(Math.max(0, now - health.since))}: {health.reason}
        </p>
      )}
      {throttled.length > 0 && (
        <p class="banner" role="status">
          Slowed down: {throttled.map((reason) => reason.replaceAll('_', ' ')).join(', ')}
        </p>
      )}
    </>
  );
}

function Card({ one }: { one: Seen }) {
  const { device, at: now } = one;
  const { reading } = device;
  const share = shares({
    at: now,
    used: reading.used_bytes,
    reserved: device.reserved_bytes,
    total: reading.total_bytes,
  });
  return (
    <section class="panel device" aria-label={`${device.worker} ${device.device}`}>
      <h2>
        {device.device} <span class="count">{device.device_class}</span>
        <span class="quiet">{device.worker}</span>
      </h2>
      <Health device={device} now={now} />
      <div class="meter" aria-hidden="true">
        <i class="used" style={{ width: percent(share.used) }} />
        <i class="reserved" style={{ width: percent(share.reserved) }} />
      </div>
      <dl class="figures">
        <div>
          <dt>
            <i class="used" />
            Used
          </dt>
          <dd>{bytes(reading.used_bytes)}</dd>
        </div>
        <div>
          <dt>
            <i class="reserved" />
            Reserved
          </dt>
          <dd>{bytes(device.reserved_bytes)}</dd>
        </div>
        <div>
          <dt>
            <i class="free" />
            Free
          </dt>
          <dd>{bytes(reading.free_bytes)}</dd>
        </div>
        <div>
          <dt>Total</dt>
          <dd>{bytes(reading.total_bytes)}</dd>
        </div>
        <div>
          <dt>Resident</dt>
          <dd>{bytes(device.resident_bytes)}</dd>
        </div>
        <div>
          <dt>Lanes</dt>
          <dd>
            {device.running.length} of {device.lanes}
          </dd>
        </div>
        {device.activity?.compute_percent !== undefined && (
          <div>
            <dt>Busy</dt>
            <dd>{device.activity.compute_percent} %</dd>
          </div>
        )}
      </dl>
      <div class="time">
        <Memory one={one} now={now} />
        <Blocks one={one} now={now} />
        <p class="ends quiet small">
          <span>{duration(KEPT_MS)} ago</span>
          <span>now</span>
        </p>
      </div>
      <Running device={device} now={now} />
    </section>
  );
}

function Queue({ queue }: { queue: StageQueue[] }) {
  const most = Math.max(1, ...queue.map((one) => one.waiting + one.running));
  return (
    <section class="panel queue" aria-label="Queue">
      <h2>Queue</h2>
      <ul>
        {queue.map((one) => (
          <li key={one.stage}>
            <b>{one.stage}</b>
            <span class="bar" aria-hidden="true">
              <i class={`stage-${one.stage} runs`} style={{ width: percent(one.running / most) }} />
              <i class={`stage-${one.stage}`} style={{ width: percent(one.waiting / most) }} />
            </span>
            <span>
              {one.running} running, {one.waiting} waiting
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

const STAGE_NAMES: Stage[] = ['preprocess', 'shape', 'texture', 'export'];

export function Devices() {
  const known = useStore(seen);
  const { value, error, isAsked } = usePolled<DeviceList>(
    (signal) => apiIfThere<DeviceList>('/api/devices', signal),
    EVERY_MS,
    [],
  );
  useEffect(() => {
    if (value) seen.set(remember(seen.get(), value.devices, Date.now()));
  }, [value]);
  const newest = Math.max(0, ...[...known.values()].map((one) => one.at));
  const here = [...known].filter(([, one]) => one.at === newest);
  return (
    <div class="view">
      <div class="head">
        <h1>Devices {value && <span class="count">{here.length}</span>}</h1>
        {here.length > 0 && (
          <ul class="legend">
            {STAGE_NAMES.map((one) => (
              <li key={one}>
                <i class={`stage-${one}`} />
                {one}
              </li>
            ))}
          </ul>
        )}
      </div>
      {error && (
        <p class="banner bad" role="alert">
          {error}
        </p>
      )}
      {isAsked && !value && !error && <p class="empty">This server does not tell of its devices.</p>}
      {value && here.length === 0 && <p class="empty">No worker has told of a device yet.</p>}
      {value?.queue && <Queue queue={value.queue} />}
      <div class="cards">{value && here.map(([key, one]) => <Card key={key} one={one} />)}</div>
    </div>
  );
}
