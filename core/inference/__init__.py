"""The network, the ONNX predictor, the out-of-distribution score, the prediction."""
