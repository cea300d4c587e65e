"""Names of an exported graph's outputs."""

LOGITS = "logits"  # float, n x classes
OOD_SCORE = "ood_score"  # float, n; only if a score could be fitted
FEATURES = "features"  # float, n x d: what the last layer sees; only if that is linear
