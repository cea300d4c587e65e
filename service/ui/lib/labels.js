// Name and help of each entry of a recipe. Entries that are not here have the schema's description.

/** @type {Record<string, [label: string, about?: string]>} */
const LABELS = {
  dataset: ["Data set", "Built in, or one of your own: see Data sets."],
  preset: ["Aim", "quick: in seconds, from few photos. accurate: as good as it gets. Other fields still count."],
  network: ["Network", "A classification network; the weights of efficientnet_lite0 need no download."],
  model: ["Model name", "The name to serve under; that of the data set if left empty."],
  weights: ["Start from", "Weights trained on photos (imagenet), none (random), or those of one of your models."],
  epochs: ["Epochs", "Number of passes over the training images, 1 to 10,000."],
  train_samples: ["Training images", "Number of images to train on, the same number of each class; all if left empty."],
  seed: ["Seed", "The same seed repeats the same training."],
  image_size: ["Image size"],
  image_fit: [
    "Shape",
    "How photos become square: their middle (crop), the whole with grey borders (pad), or the whole distorted (squash).",
  ],
  augmentation: ["Augmentation"],
  validation_fraction: ["Held back", "Share of the training images held back to select the best epoch, 0 to 0.5."],
  class_weights: ["Class weights", "balanced: every class has equal weight, whatever its number of images."],
  freeze: ["Freeze", "Part that is not trained: none, all but the last layer (backbone), or all up to a stage."],
  unfreeze_after: ["Unfreeze after", "Epochs after which the frozen part is trained too; never if left empty."],
  batch_size: ["Batch size", "Images per training step, 2 to 65,536."],
  optimizer: ["Optimizer"],
  learning_rate: ["Learning rate", "Largest step of the weights; above 0, at most 100."],
  schedule: ["Learning rate schedule"],
  warmup_fraction: ["Warm-up"],
  momentum: ["Momentum"],
  weight_decay: ["Weight decay", "Pull of large weights towards 0, from 0 to 1."],
  gradient_clipping: ["Gradient clipping", "Maximum norm of a gradient; no limit if left empty."],
  label_smoothing: ["Label smoothing"],
  ema: ["Mean of the weights", "How slowly a running mean follows the weights; the mean is published. 0: no mean."],
  rerun: ["Train again", "One of your models, such as pets/3: its recipe, but for the fields that you fill in."],
  name: ["Name"],
  priority: ["Priority"],
  time_limit_s: ["Time limit in seconds", "A job that runs longer fails; waiting and pauses do not count."],
  max_attempts: ["Attempts"],
  precision: ["Precision"],
  device: ["Device"],
  devices: ["Number of devices"],
  compile: ["Compile the network", "Takes about a minute at the start; each step is then faster."],
  early_stopping: ["Stop early"],
  "early_stopping.patience": ["Patience"],
  "early_stopping.min_delta": ["Smallest improvement"],
  publish: [
    "Let it serve",
    "When the new model serves: at once (always), only if it is more accurate than the serving one on the same test " +
      "images (if_better), or after you promote it under Models (manual).",
  ],
  metadata: ["Notes"],
  webhook: ["Webhook"],
  "webhook.url": ["Address"],
  "webhook.events": ["Events to send"],
  "webhook.secret": ["Secret"],
};

/** @param {string} name */
const words = (name) => {
  const text = name.slice(name.lastIndexOf(".") + 1).replaceAll("_", " ");
  return text[0].toUpperCase() + text.slice(1);
};

/** @param {string} name */
export const label = (name) => LABELS[name]?.[0] ?? words(name);

/**
 * @param {string} name
 * @param {Schema} schema
 */
export const about = (name, schema) => LABELS[name]?.[1] ?? schema.description?.replaceAll("`", "") ?? "";
