// Name and help of each entry of a recipe, for people. Entries that are not here have the schema's words.

/** @type {Record<string, [label: string, about?: string]>} */
const LABELS = {
  dataset: ["Data set", "Built in, or one of your own: see Data sets."],
  network: ["Network"],
  weights: ["Start from", "Weights that know photos already, none, or those of one of your models."],
  epochs: ["Epochs", "How often every image is seen; 1 to 10,000."],
  train_samples: ["Training images", "Train on so many, the same number of each class; all if left empty."],
  seed: ["Seed", "Of all chance: with the same one, the same training again."],
  image_size: ["Image size"],
  augmentation: ["Random changes of images"],
  validation_fraction: ["Held back", "Share of the training images that is kept aside, to choose the best epoch."],
  class_weights: ["Weight of classes", "balanced: each class counts the same, however many images it has."],
  freeze: ["Freeze", "What keeps its weights: nothing, all but the last layer (backbone), or all up to a stage."],
  unfreeze_after: ["Unfreeze after", "Train the frozen part too after so many epochs; never if left empty."],
  batch_size: ["Batch size", "Images in a step; 2 to 65,536."],
  optimizer: ["Optimizer"],
  learning_rate: ["Learning rate", "How far a step goes, at most; above 0, up to 100."],
  schedule: ["Schedule of the rate"],
  warmup_fraction: ["Warm-up"],
  momentum: ["Momentum"],
  weight_decay: ["Weight decay", "How strongly large weights are pulled back; 0 to 1."],
  gradient_clipping: ["Gradient clipping", "Longest step that a gradient may ask for; no limit if left empty."],
  label_smoothing: ["Label smoothing"],
  ema: ["Mean of the weights", "How slowly a running mean follows the weights; it is what gets published. 0: no mean."],
  name: ["Name"],
  priority: ["Priority"],
  time_limit_s: ["Time limit in seconds", "A job that runs for longer fails; waiting and pauses do not count."],
  max_attempts: ["Attempts"],
  precision: ["Precision"],
  device: ["Device"],
  devices: ["Number of devices"],
  compile: ["Compile the network", "Takes a while at first, and makes each step quicker."],
  early_stopping: ["Stop early"],
  "early_stopping.patience": ["Patience"],
  "early_stopping.min_delta": ["Smallest gain"],
  publish: [
    "Let it answer",
    "Whether the new model serves at once: always, only if it is better on the same data set than the one that serves, " +
      "or never until you say so under Models.",
  ],
  metadata: ["Notes"],
  webhook: ["Webhook"],
  "webhook.url": ["Address"],
  "webhook.events": ["Events that it is sent"],
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
