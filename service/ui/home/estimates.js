// What a preset takes on this machine, from the jobs that it has done; and what it needs.

/** @typedef {{ seconds: number | null, network: string, here: boolean }} Outlook */

export const QUICK_NETWORK = "efficientnet_lite0";
// in the order in which the service looks for one whose weights are here
const ACCURATE_NETWORKS = ["resnet50", "efficientnet_v2_s", "convnext_tiny", "resnet18", "mobilenet_v2", QUICK_NETWORK];
const LIKE = 5; // times as many photos, or as few, as a past job had: farther off, its time is no estimate
const GROWING = ["preparing_data", "training", "evaluating"]; // phases that take longer with more photos

/**
 * Say how long so many photos take: the median of past jobs of that preset, each scaled to that number of photos.
 *
 * @param {JobView[]} jobs
 * @param {DatasetSummary[]} datasets
 * @param {string} preset
 * @param {number} photos
 */
export function secondsOf(jobs, datasets, preset, photos) {
  const images = new Map(datasets.map((one) => [one.name, one.images]));
  const times = jobs.flatMap((job) => {
    const then = images.get(job.recipe.dataset.split("/")[0]);
    const factor = then ? photos / then : Infinity;
    if (job.recipe.preset !== preset || job.recipe.train_samples || factor > LIKE || factor < 1 / LIKE) return [];
    return [scaled(job, factor)];
  });
  return times.sort((a, b) => a - b).at(Math.floor(times.length / 2)) ?? null;
}

/**
 * @param {JobView} job
 * @param {number} factor
 */
function scaled({ phases }, factor) {
  const times = phases.map(({ phase, started_at: from, ended_at: to }) => {
    const took = to ? (Date.parse(to) - Date.parse(from)) / 1000 : 0;
    return GROWING.includes(phase) ? took * factor : took;
  });
  return times.reduce((sum, one) => sum + one, 0);
}

/**
 * Name the network that the preset takes, and say whether its ready-made weights are here.
 *
 * @param {NetworkView[]} networks
 * @param {string} preset
 */
export function networkOf(networks, preset) {
  const here = new Set(networks.filter((one) => one.weights.status === "available").map((one) => one.name));
  const network = preset === "quick" ? QUICK_NETWORK : (ACCURATE_NETWORKS.find((name) => here.has(name)) ?? QUICK_NETWORK);
  return { network, here: here.has(network) };
}
