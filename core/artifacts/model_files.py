"""File names inside the folder of a model or a checkpoint, in one place."""

CARD = "model.json"  # what the model's row says, for people who only have the folder
WEIGHTS = "weights.safetensors"  # of a checkpoint too
TRAINING_STATE = "state.safetensors"  # of a checkpoint: optimizer, running mean, place within the epoch
FP32_GRAPH = "model.onnx"
INT8_GRAPH = "int8.onnx"  # only where it answers on a CPU
OOD_SCORE = "ood_score.safetensors"  # only where the model has such a score
SELF_TEST_SAMPLES = "self_test_samples.safetensors"  # images, and what the graph that serves answers to them
REPORT = "report.json"  # the evaluation report
TORCH_EXPORT = "program.pt2"  # made on request
