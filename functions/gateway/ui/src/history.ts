// What devices said in the last minutes: memory by time, and batches on lanes. Pure; nobody else keeps it.
import type { Device, DeviceBatch, Stage } from './shapes';

export const KEPT_MS = 300_000;
/** A batch that is no longer told of ended about when it was told of last. */
export interface Block {
  id: string;
  stage: Stage;
  jobs: number;
  bytes: number;
  from: number;
  to: number;
  lane: number;
  runs: boolean;
}
export interface Sample {
  at: number;
  used: number;
  reserved: number;
  total: number;
}
export interface Seen {
  device: Device;
  samples: Sample[];
  blocks: Block[];
  at: number;
}

export const keyOf = (device: Device): string => `${device.worker}/${device.device}`;

/** The lowest lane on which nothing else runs at that time. */
function freeLane(blocks: Block[], from: number): number {
  const taken = new Set(blocks.filter((one) => one.runs || one.to > from).map((one) => one.lane));
  let lane = 0;
  while (taken.has(lane)) lane += 1;
  return lane;
}

function block(blocks: Block[], batch: DeviceBatch, now: number): Block {
  const { id, stage, bytes, since } = batch;
  return {
    id,
    stage,
    jobs: batch.jobs.length,
    bytes,
    from: since,
    to: now,
    lane: freeLane(blocks, since),
    runs: true,
  };
}

/** What was known, and what is told now. Devices that are gone stay until their last sample is too old. */
export function remember(seen: Map<string, Seen>, devices: Device[], now: number): Map<string, Seen> {
  const next = new Map<string, Seen>();
  for (const [key, one] of seen) {
    if (now - one.at < KEPT_MS)
      next.set(key, { ...one, blocks: one.blocks.map((block) => ({ ...block, runs: false })) });
  }
  for (const device of devices) {
    const before = next.get(keyOf(device));
    const { used_bytes: used, total_bytes: total } = device.reading;
    const samples = (before?.samples ?? []).filter((one) => now - one.at < KEPT_MS);
    samples.push({ at: now, used, reserved: device.reserved_bytes, total });
    const blocks = (before?.blocks ?? []).filter((one) => now - one.to < KEPT_MS);
    for (const batch of device.running.filter((one) => !one.waits)) {
      const at = blocks.findIndex((one) => one.id === batch.id);
      const known = blocks[at];
      if (known) blocks[at] = { ...known, to: now, runs: true };
      else blocks.push(block(blocks, batch, now));
    }
    next.set(keyOf(device), { device, samples, blocks, at: now });
  }
  return next;
}

/** Shares of the memory: what is used, what is promised beyond that, what is free. They sum to 1. */
export function shares(sample: Sample): { used: number; reserved: number; free: number } {
  if (sample.total <= 0) return { used: 0, reserved: 0, free: 1 };
  const used = Math.min(sample.used / sample.total, 1);
  const reserved = Math.min(Math.max(sample.reserved / sample.total - used, 0), 1 - used);
  return { used, reserved, free: 1 - used - reserved };
}
