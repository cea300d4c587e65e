// The types that the page's scripts name in their JSDoc. An interface with the name of one of the API's schemas holds
// what the page reads of it; tests/test_page_types.py compares them.

// -- the API

type JobStatus = "queued" | "running" | "paused" | "cancelling" | "succeeded" | "failed" | "cancelled";

type Phase = "starting" | "preparing_data" | "training" | "evaluating" | "publishing";

interface JobView {
  id: string;
  name: string | null;
  status: JobStatus;
  pausing: boolean;
  phase: Phase | null;
  recipe: Record<string, string>;
  resolved_recipe: ResolvedRecipe | null;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  estimated_finish: string | null;
  progress: Progress;
  metrics: JobMetrics;
  timing: Timing;
  device: Device;
  phases: PhaseView[];
  attempt: number;
  model_id: string | null;
  error: JobError | null;
}

interface PhaseView {
  phase: Phase;
  started_at: string;
  ended_at: string | null;
  message: string;
}

interface JobError {
  code: string;
  message: string;
  hint: string;
  traceback_tail: string;
}

interface JobPage {
  data: JobView[];
  has_more: boolean;
  next: string | null;
}

interface TestResult {
  correct: number;
  images: number;
  low: number;
  high: number;
}

interface ModelView {
  id: string;
  name: string;
  version: number;
  job_id: string;
  aliases: string[];
  created_at: string;
  network: string;
  dataset: string;
  classes: string[];
  recipe: Record<string, string>;
  preparation: { style?: string };
  test: TestResult;
  timing: Timing;
  per_class: ClassScores[];
  confusion_matrix: number[][];
  calibration: { ece_after: number | null } | null;
  serving: Serving | null;
  device: Device;
  files: Record<string, { size_bytes: number }>;
  files_deleted_at: string | null;
  served_at: string | null;
  links: Record<string, string>;
}

interface ModelPage {
  data: ModelView[];
  has_more: boolean;
  next: string | null;
}

interface NetworkView {
  name: string;
  parameters: number;
  weights: WeightsView;
}

interface WeightsView {
  status: "available" | "downloadable" | "missing";
}

interface ImageView {
  id: number;
  part: "train" | "val" | "test";
  file: string;
  thumbnail: string;
}

interface ImagePage {
  data: ImageView[];
  has_more: boolean;
  next: number | null;
}

interface DatasetSummary {
  name: string;
  kind: "built_in" | "uploaded" | "folder";
  available: boolean;
  version: number | null;
  images: number | null;
  classes: number | null;
}

interface DatasetCard {
  name: string;
  version: number;
  created_at: string;
  layout: "folders" | "table" | "idx";
  digest: string;
  images: number;
  classes: Record<string, Record<string, number>>;
  problems: FileProblem[];
  problem_count: number;
  group_pattern: string;
}

interface CheckupView {
  state: "waiting" | "running" | "done" | "failed";
  images: number;
  error: string | null;
  findings: Findings | null;
}

interface Findings {
  near_duplicates: { image: SeenImage; like: SeenImage; leak: boolean }[];
  near_duplicate_count: number;
  leak_count: number;
  wrong_labels: { image: SeenImage; suggested: string }[];
  unusual_images: { image: SeenImage }[];
  unusual_image_count: number;
  rare_classes: { class: string; images: number }[];
}

interface SeenImage {
  id: number | null;
  class: string;
  file: string;
}

interface Predictions {
  model: { id: string; name: string; version: number };
  predictions: Prediction[];
  timing_ms: Record<string, number>;
}

interface Prediction {
  label?: string;
  top_k?: Candidate[];
  abstained: boolean;
  reason?: string;
  preprocessing?: Record<string, unknown>;
  model_input?: string;
  saliency_map?: string;
}

interface Candidate {
  label: string;
  probability: number;
}

interface ProblemDetails {
  title: string;
  detail: string;
  errors?: FieldError[];
}

interface FieldError {
  pointer: string;
  detail: string;
  severity?: "warning" | "error";
}

// -- what the API's description calls an object

interface ClassScores {
  label: string;
  images: number;
  precision: number | null;
  recall: number | null;
  f1: number | null;
}

interface FileProblem {
  file: string;
  reason: string;
  severity?: "warning" | "error";
}

interface Progress {
  epoch?: number;
  epochs?: number;
  step?: number;
  steps?: number;
  percent?: number;
}

interface Metrics {
  train_loss?: number | null;
  train_accuracy?: number | null;
  validation_loss?: number | null;
  validation_accuracy?: number | null;
}

interface JobMetrics extends Metrics {
  test?: TestResult;
}

interface Timing {
  images_per_s?: number;
  queued_s?: number;
  train_s?: number;
}

interface Device {
  type?: string;
  name?: string;
  peak_memory_bytes?: number;
}

interface ResolvedRecipe {
  batch_size: number;
  learning_rate: number;
  precision: string;
}

interface Serving {
  file: string;
  precision: string;
  reason?: string;
  latency_ms?: Record<string, Record<string, number>>;
}

/** A model's evaluation report. */
interface Report {
  mistakes: { png: string; truth: Candidate; answer: Candidate }[];
}

interface Readiness {
  checks: {
    model: { ok: boolean; name?: string; model_id?: string; version?: number };
    target: { ok: boolean; refused?: { name: string; model_id: string; detail: string }[] };
    worker: { ok: boolean; live?: number };
  };
}

/** An epoch, or a part of one, in the order of the training. */
interface TrainingRecord extends Progress, Metrics {}

interface JobEvent {
  id: string;
  event: string;
  data: TrainingRecord & {
    at?: string;
    status?: string;
    phase?: string;
    message?: string;
    attempt?: number;
    reason?: string;
  };
}

/** A JSON Schema, as far as a recipe's needs one. */
interface Schema {
  type?: string;
  description?: string;
  default?: unknown;
  const?: unknown;
  enum?: string[];
  writeOnly?: boolean;
  anyOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  $ref?: string;
  $defs?: Record<string, Schema>;
  "x-auto"?: unknown;
}

type RecipeSchema = Schema & Required<Pick<Schema, "properties" | "$defs">>;

// -- the page

type Child = Node | string | number | false | null | undefined | Child[];

type Listeners = { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => unknown };

interface Attributes {
  on?: Listeners;
  [name: string]: string | number | boolean | null | undefined | Listeners;
}

/** A name and its value; a null value is left out. */
type Fact = [string, Child];

/** A value of a select and its text. */
type Choice = [string, string];

type Entry = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

interface RequestOptions extends RequestInit {
  headers?: Record<string, string>;
}

interface KeySource {
  current(): string;
  request(refused: string, why: string): Promise<boolean>;
}

interface ApiClient {
  keys: KeySource;
  fetch(path: string, options?: RequestOptions): Promise<Response>;
  get<T>(path: string, signal?: AbortSignal): Promise<T>;
  send<T>(method: string, path: string, value?: unknown): Promise<T>;
}

/** Where each step leads; a step that is not there yet has no address. */
type Steps = Record<"photos" | "train" | "try", { href?: string; note?: string }>;

type Fail = (error: unknown) => void;

/** What a view is given. */
interface ViewContext {
  main: HTMLElement;
  api: ApiClient;
  signal: AbortSignal;
  fail: Fail;
  query: URLSearchParams;
  /** Photos that were given and not sent yet. */
  draft: import("../../service/ui/home/collection.js").Collection;
  /** Show the steps of what shares a name. */
  steps(name: string, current: "photos" | "train" | "try", steps: Steps): void;
  /** What the address names; empty in a list. */
  id: string;
}

/** Path and content of a file that was chosen or dropped. */
type GivenFile = [string, File];
