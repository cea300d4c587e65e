"""File names inside the folder of a model or a checkpoint."""

CARD = "model.json"  # the model card, for people who only have the folder
WEIGHTS = "weights.safetensors"  # of a checkpoint too
TRAINING_STATE = "state.safetensors"  # of a checkpoint: optimizer, averaged weights, position in the epoch
FP32_GRAPH = "model.onnx"
INT8_GRAPH = "int8.onnx"  # only if it serves on a CPU
OOD_SCORE = "ood_score.safetensors"  # only if the model has an out-of-distribution score
TRAINING_IMAGES = "training_images.safetensors"  # features, classes and numbers of some; only if there are features
SELF_TEST_SAMPLES = "self_test_samples.safetensors"  # images, and the serving graph's outputs for them
REPORT = "report.json"  # the evaluation report
TORCH_EXPORT = "program.pt2"  # made on request
