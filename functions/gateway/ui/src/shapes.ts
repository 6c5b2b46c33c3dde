// Answers of the API as far as the dashboard reads them. The names are those of /api/openapi.json.

export const STAGES = ['preprocess', 'shape', 'texture', 'export'] as const;
export type Stage = (typeof STAGES)[number];
export type State = 'queued' | 'running' | 'done' | 'rejected' | 'dead' | 'cancelled' | 'unreadable';

export interface StageLine {
  stage: Stage;
  state: 'waiting' | 'running' | 'done';
  fraction: number;
}
export interface Eta {
  p50_ms: number;
  p90_ms: number;
}

export interface JobLine {
  id: string;
  state: State;
  life: number;
  key: string | null;
  reason: string | null;
  phase: string | null;
  fraction: number;
  seen_at_ms: number;
  stages: StageLine[];
  queue_position?: number | null;
  eta?: Eta | null;
}

export interface JobFile {
  name: string;
  stage: Stage;
  size_bytes: number;
  content_type: string;
  url: string;
}

export interface Recipe {
  engine: string;
  quality: string;
  formats: string[];
  size_mm: number;
  texture_px: number;
}

export interface StageTiming {
  stage: Stage;
  waited_ms: number;
  fetch_ms: number;
  load_ms: number;
  compute_ms: number;
  store_ms: number;
}

export interface Job extends JobLine {
  bucket: string;
  upload_bytes: number;
  recipe: Recipe;
  accepted_at_ms: number;
  decided_at_ms: number | null;
  jobs_ahead: number | null;
  eta_p50_ms: number | null;
  timings: StageTiming[];
  artifacts: JobFile[];
  published: string[];
  notes: string[];
}

export interface Page {
  jobs: JobLine[];
  next?: string | null;
}

export interface JobEvent {
  job: string;
  life: number;
  at: number;
  kind: 'accepted' | 'started' | 'progress' | 'stage_done' | 'finished' | 'rejected' | 'dead' | 'cancelled';
  key?: string;
  stage?: Stage;
  fraction?: number;
  phase?: string;
  reason?: string;
  error?: string;
}

export interface Part {
  name: string;
  us: number;
}
export interface StageProfile {
  name: string;
  begins_us: number;
  wall_us: number;
  parts: Part[];
  unaccounted_us: number;
}
export interface PipelineProfile {
  wall_us: number;
  stages: StageProfile[];
  unaccounted_us: number;
  complete: boolean;
}

export interface BatchOf {
  stage: Stage;
  worker: string;
  items: number;
  bytes: number;
  why: string;
}
export interface Explained {
  text: string;
  batches: BatchOf[];
}

export interface DeviceBatch {
  id: string;
  stage: Stage;
  jobs: string[];
  bytes: number;
  since: number;
  until: number | null;
  /** It waits for a lane. */
  waits: boolean;
}
export interface DeviceHealth {
  state: 'healthy' | 'draining' | 'testing' | 'dead';
  reason?: string;
  since: number;
}
/** What a device is busy with, as far as it tells. */
export interface Activity {
  compute_percent?: number;
  memory_percent?: number;
  throttled?: string[];
}
export interface Device {
  worker: string;
  device: string;
  device_class: string;
  stages: Stage[];
  lanes: number;
  reading: {
    total_bytes: number;
    used_bytes: number;
    own_bytes: number;
    free_bytes: number;
    read_at: number;
  };
  reserved_bytes: number;
  resident_bytes: number;
  running: DeviceBatch[];
  /** Not told by older servers. */
  health?: DeviceHealth;
  activity?: Activity | null;
}

export interface StageQueue {
  stage: Stage;
  waiting: number;
  running: number;
}
export interface DeviceList {
  devices: Device[];
  queue?: StageQueue[];
}

export interface StageCapacity {
  stage: Stage;
  lanes: number;
  batch_items: number;
  items_per_hour: number;
  at_least: boolean;
  busy_percent: number;
  waited_ms: number;
}
export interface Prediction {
  change: string;
  stage: Stage;
  jobs_per_hour: number;
  gain_percent: number;
  limits_then: Stage;
  at_least: boolean;
  text: string;
}
export interface Limit {
  stage: Stage;
  together_with: Stage[];
  jobs_per_hour: number;
  observed_per_hour: number;
  saturated: boolean;
  stages: StageCapacity[];
  unknown: Stage[];
  predictions: Prediction[];
  text: string;
}
export type Severity = 'medium' | 'high' | 'critical';
export interface Bottleneck {
  stage: string;
  share_percent: number;
  severity: Severity;
  wall_ms: number;
  evidence: string;
}
export interface Bottlenecks {
  bottlenecks: Bottleneck[];
  limit: Limit | null;
}
export interface Recommendation {
  stage: string;
  lever: string;
  text: string;
  setting: string;
  saves_at_most_percent: number;
  severity: string;
}

export interface DeadLetter {
  task: { job: string; stage?: Stage | null; upload?: string | null };
  key?: string | null;
  life: number;
  attempts?: number | null;
  error: string;
  at: number;
}

export interface Capabilities {
  engines: { name: string; what: string }[];
  input_types: string[];
  upload_bytes_max: number;
  matting: boolean;
  recipe: RecipeOption[];
}
/** An option of a recipe; values are texts, as a call says them. */
export interface RecipeOption {
  name: string;
  what: string;
  takes: 'word' | 'words' | 'number';
  words?: string[];
  minimum?: number;
  maximum?: number;
  step?: number;
  unit?: string;
  /** Null where it depends on the picture. */
  default: string | null;
  default_with_curve?: Record<string, string | null>;
  engines: string[];
  formats?: string[];
  rare: boolean;
}
